//! A relay on axum and hyper-util's client, which is reqwest's, too: a task per connection.
//!
//! GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
//! length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
//! resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
//! task of their own), thread (on a blocking thread of the runtime), or after: answers at once with
//! nothing, and then calls $BACKEND/after/ID/1 … K.
//!
//! $BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
//! $BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms. $RUNTIME=current-thread has one thread.

mod backend;
mod redis;

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use backend::Backend;
use redis::Redis;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What all requests share.
struct Relay {
    backend: Backend,
    redis: Redis,
}

fn main() -> Result<()> {
    let mut builder = match env::var("RUNTIME").as_deref() {
        Ok("current-thread") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<()> {
    let relay = Arc::new(Relay { backend: Backend::new()?, redis: Redis::default() });
    if env::var("BACKGROUND").is_ok_and(|value| value == "1") {
        tokio::spawn(background(Arc::clone(&relay)));
    }
    let app = Router::new().route("/relay", get(answer).post(answer)).with_state(relay);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", env::var("PORT")?)).await?;
    Ok(axum::serve(listener, app).await?)
}

async fn background(relay: Arc<Relay>) {
    for n in 1.. {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = relay.backend.call(&format!("/background/{n}")).await;
    }
}

async fn answer(State(relay): State<Arc<Relay>>, uri: Uri, body: Bytes) -> Response {
    drop(body);
    let query: HashMap<&str, &str> =
        uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let number = |name, otherwise| query.get(name).and_then(|value| value.parse().ok()).unwrap_or(otherwise);
    let Some(id) = query.get("id") else { return StatusCode::NOT_FOUND.into_response() };
    let via = query.get("via").copied().unwrap_or("now");
    let place = if via == "after" { "after" } else { "out" };
    let paths: Vec<String> = (1..=number("n", 1)).map(|k| format!("/{place}/{id}/{k}")).collect();
    if via == "after" {
        return Response::new(Body::new(ThenCalls { relay, paths }));
    }
    match relay.call(via, id, number("delay", 0), paths).await {
        Ok(lengths) => lengths.iter().map(|length| format!("{length}\n")).collect::<String>().into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}

impl Relay {
    async fn call(self: Arc<Self>, via: &str, id: &str, delay: u64, paths: Vec<String>) -> Result<Vec<usize>> {
        match via {
            "now" => {}
            "sleep" => tokio::time::sleep(Duration::from_millis(delay)).await,
            "file" => drop(tokio::fs::read("/etc/hosts").await?),
            "resolve" => drop(tokio::net::lookup_host("localhost:0").await?),
            "database" => self.redis.echo(id).await?,
            "fan" => {
                let one = |path| tokio::spawn(Arc::clone(&self).in_order(vec![path]));
                let mut lengths = Vec::new();
                for call in paths.into_iter().map(one).collect::<Vec<_>>() {
                    lengths.extend(call.await??);
                }
                return Ok(lengths);
            }
            "task" => return tokio::spawn(self.in_order(paths)).await?,
            "thread" => {
                let calls = move || paths.iter().map(|path| self.backend.call_blocking(path)).collect();
                return tokio::task::spawn_blocking(calls).await?;
            }
            _ => return Err("there is no such handler".into()),
        }
        self.in_order(paths).await
    }

    async fn in_order(self: Arc<Self>, paths: Vec<String>) -> Result<Vec<usize>> {
        let mut lengths = Vec::new();
        for path in &paths {
            lengths.push(self.backend.call(path).await?);
        }
        Ok(lengths)
    }
}

/// An empty body; hyper drops it once the response is on its way, and the calls begin.
struct ThenCalls {
    relay: Arc<Relay>,
    paths: Vec<String>,
}

impl Drop for ThenCalls {
    fn drop(&mut self) {
        // Nobody waits for these.
        tokio::spawn(Arc::clone(&self.relay).in_order(std::mem::take(&mut self.paths)));
    }
}

impl http_body::Body for ThenCalls {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
