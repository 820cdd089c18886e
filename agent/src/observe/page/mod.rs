//! The page: a map of this node's workloads and the calls between them, in a browser. See `docs/PAGE.md`.

mod assets;
mod board;
mod events;
mod feed;
mod guard;
mod listen;
mod told;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use axum::extract::{Path as Segment, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::board::Board;
use self::guard::Hosts;
use self::listen::{Limited, Local};
pub(crate) use self::{guard::host, listen::address};
use super::say;
use crate::cli::Run;

/// What all connections of browsers share.
#[derive(Debug)]
struct Shared {
    /// This machine's name, for those who look at several.
    node: String,
    board: Mutex<Board>,
    /// How many browsers look.
    viewers: watch::Sender<usize>,
    /// What they are shown, as JSON.
    pictures: watch::Sender<Arc<str>>,
}

impl Shared {
    fn new(node: String) -> Self {
        let shared = Self {
            node,
            board: Mutex::new(Board::new(Instant::now())),
            viewers: watch::Sender::new(0),
            pictures: watch::Sender::new("{}".into()),
        };
        shared.forget();
        shared
    }

    /// The board. Nothing is awaited while it is held.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the browsers what is known now, if that has changed.
    fn publish(&self, is_live: bool) {
        let shown = self.board().shown(Instant::now());
        let picture = serde_json::json!({"node": self.node, "is_live": is_live, "shown": shown}).to_string();
        self.pictures.send_if_modified(|before| {
            let is_new = **before != *picture;
            if is_new {
                *before = picture.into();
            }
            is_new
        });
    }

    /// Forgets what was seen.
    fn forget(&self) {
        *self.board() = Board::new(Instant::now());
        self.publish(false);
    }
}

/// Serves the page, if that is asked for, as long as this process lives.
///
/// # Errors
/// If the address is taken.
pub(crate) async fn begin(arguments: &Run) -> anyhow::Result<()> {
    let Some(wanted) = arguments.listen else { return Ok(()) };
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("failed to listen at {wanted} for the page: choose another --listen"))?;
    let address = listener.local_addr().with_context(|| format!("failed to listen at {wanted}"))?;
    greet(address);
    let shared = Arc::new(Shared::new(node(arguments)));
    tokio::spawn(feed::run(shared.clone(), Arc::from(arguments.socket.as_path())));
    let service = routes(shared, Hosts::new(&arguments.listen_hosts)).into_make_service_with_connect_info::<Local>();
    tokio::spawn(async move {
        // It ends with the process.
        let _ = axum::serve(Limited::new(listener), service).await;
    });
    Ok(())
}

/// Says where the page is, and who else can read it.
fn greet(address: SocketAddr) {
    say(&format!("the page is at http://{address}/"));
    if !address.ip().to_canonical().is_loopback() {
        say(&format!(
            "whoever reaches {address} can read the page, without a password: workloads, paths and the beginnings of header values; use a loopback address, and forward the port"
        ));
    }
}

fn routes(shared: Arc<Shared>, hosts: Hosts) -> Router {
    assets::routes()
        .route("/events", get(events::serve))
        .route("/losses/{id}", get(explain))
        .with_state(shared)
        .layer(middleware::from_fn_with_state(Arc::new(hosts), guard::check))
}

/// The journey of a loss.
async fn explain(State(shared): State<Arc<Shared>>, Segment(id): Segment<u64>) -> Response {
    match shared.board().explain(id, Instant::now()) {
        Some(told) => ([(header::CONTENT_TYPE, "application/json")], told.to_string()).into_response(),
        None => (StatusCode::NOT_FOUND, "This loss is too long ago.\n").into_response(),
    }
}

/// What this machine is called.
fn node(arguments: &Run) -> String {
    let named = arguments.node.clone().or_else(|| std::env::var("NODE_NAME").ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
        name.trim().to_owned()
    })
}
