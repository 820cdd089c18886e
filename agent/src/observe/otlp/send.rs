//! Batches on their way to a collector: one at a time, and again where it was busy (OTLP specification, "Failures").

use std::time::Duration;

use anyhow::Context as _;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::sync::mpsc;

use super::encode;
use super::endpoint::{self, Endpoint};
use super::spans::Span;

/// Batches that wait at most; the newest are dropped beyond that.
const WAITING: usize = 16;

/// How long a collector may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries for one batch, the pause before the second one, which then doubles, and the longest that a collector may ask for.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// Hands batches to the task that sends them.
#[derive(Debug)]
pub(super) struct Sender {
    batches: mpsc::Sender<Vec<Span>>,
    is_behind: bool,
}

impl Sender {
    /// Starts the task for `endpoint`.
    ///
    /// # Errors
    /// If the environment's header fields or the machine's certificates cannot be used.
    pub(super) fn start(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("failed to read this machine's certificates: SSL_CERT_FILE names a file with them")?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let (batches, waiting) = mpsc::channel(WAITING);
        let collector = Collector { client, endpoint: endpoint.clone(), fields: endpoint::fields()?, failed: false };
        tokio::spawn(collector.serve(waiting));
        Ok(Self { batches, is_behind: false })
    }

    /// Sends `batch`, or drops it if too many wait.
    pub(super) fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len();
        let was_behind = std::mem::replace(&mut self.is_behind, self.batches.try_send(batch).is_err());
        if self.is_behind && !was_behind {
            tracing::warn!(count, "spans are dropped: the collector is slow or out of reach");
        }
    }
}

/// The other end.
struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether the last batch was not taken: that is said once.
    failed: bool,
}

/// What a collector says to a batch.
enum Answer {
    Taken,
    /// It wants it later, perhaps after this time.
    Later(Option<Duration>, String),
    Refused(String),
}

impl Collector {
    async fn serve(mut self, mut waiting: mpsc::Receiver<Vec<Span>>) {
        while let Some(batch) = waiting.recv().await {
            let count = batch.len();
            let done = self.deliver(Bytes::from(encode::request(batch).encode_to_vec())).await;
            let failed = done.is_err();
            match done {
                Ok(()) if self.failed => tracing::warn!("spans are sent again to {}", self.endpoint.0),
                Ok(()) => tracing::debug!(count, "spans were sent"),
                Err(why) if !self.failed => tracing::warn!(count, "cannot send spans to {}: {why}", self.endpoint.0),
                Err(why) => tracing::debug!(count, "cannot send spans: {why}"),
            }
            self.failed = failed;
        }
    }

    async fn deliver(&self, body: Bytes) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let (asked, why) = match self.post(body.clone()).await {
                Answer::Taken => return Ok(()),
                Answer::Refused(why) => return Err(why),
                Answer::Later(asked, why) => (asked, why),
            };
            if tried == TRIES {
                return Err(why);
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn post(&self, body: Bytes) -> Answer {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.0.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("baton/", env!("CARGO_PKG_VERSION"))));
        self.fields.iter().for_each(|(name, value)| drop(headers.insert(name.clone(), value.clone())));
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| crate::failure::chain(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, String>((head.status, head.headers, body))
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Err(_) => Answer::Later(None, format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Err(why)) => Answer::Later(None, why),
            Ok(Ok((status, headers, body))) => judge(status, &headers, &body),
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let said = || format!("it answers {status}");
    match status.as_u16() {
        200..=299 => {
            if let Some(partial) =
                ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success)
                && partial.rejected_spans > 0
            {
                tracing::warn!(
                    rejected = partial.rejected_spans,
                    "the collector refuses spans: {}",
                    partial.error_message
                );
            }
            Answer::Taken
        }
        429 | 502..=504 => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Answer::Later(seconds.map(Duration::from_secs), said())
        }
        _ => Answer::Refused(said()),
    }
}
