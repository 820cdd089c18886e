//! `baton run --otlp`: hops as spans in the traces that their `traceparent` names, for a tracing back-end that speaks OTLP
//! (opentelemetry.io/docs/specs/otlp, OTLP/HTTP with protobuf).
//!
//! It is one more watcher of the daemon's own socket: a back-end that is slow or gone costs spans, and nothing else.

mod encode;
mod endpoint;
mod parent;
mod send;
mod service;
mod spans;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

pub(crate) use self::endpoint::Endpoint;
use self::send::Sender;
use self::spans::{Span, Spans};
use super::flow::Record;

/// Time between two batches.
const PAUSE: Duration = Duration::from_secs(1);

/// Most spans in one batch; a full one goes at once.
const BATCH: usize = 512;

/// Sends spans to `endpoint` from now on, as long as the daemon at `socket` lives.
///
/// # Errors
/// If the certificates of this machine cannot be read.
pub(crate) fn follow(socket: &Path, endpoint: &Endpoint) -> anyhow::Result<()> {
    let sender = Sender::start(endpoint)?;
    let socket = PathBuf::from(socket);
    tokio::spawn(async move {
        if let Err(error) = run(&socket, sender).await {
            super::say(&format!("no more spans are sent: {error:#}"));
        }
    });
    Ok(())
}

async fn run(socket: &Path, mut sender: Sender) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await.context("failed to follow the flow events")?;
    let mut lines = BufReader::new(stream).lines();
    let (mut spans, mut batch) = (Spans::default(), Vec::<Span>::new());
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line.context("failed to read the flow events")? else { return Ok(()) };
                match Record::parse(&line)? {
                    Record::Flow(event) => batch.extend(spans.take(*event, Instant::now())),
                    Record::Missed(count) => tracing::info!(count, "requests without spans: there were too many"),
                    Record::Notice(_) | Record::Other => {}
                }
                if batch.len() < BATCH {
                    continue;
                }
            }
            _ = ticks.tick() => spans.forget(Instant::now()),
        }
        if !batch.is_empty() {
            sender.send(std::mem::take(&mut batch));
        }
    }
}
