//! Asks the daemon for its metrics: whoever scrapes does not read BPF maps, but waits for the daemon's loop.

use std::time::Duration;

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{mpsc, oneshot};

use crate::observe::metrics::{Format, Snapshot, encode};

/// How long the daemon's loop may take to answer. Prometheus itself waits for 10 seconds, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that wait. Who comes later waits before it asks.
const WAITING: usize = 4;

/// Somebody waits for what the daemon knows now.
pub(crate) type Question = oneshot::Sender<anyhow::Result<Snapshot>>;

/// Asks questions.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    questions: mpsc::Sender<Question>,
    patience: Duration,
}

/// Gets them, in the daemon's loop.
#[derive(Debug)]
pub(super) struct Asked(mpsc::Receiver<Question>);

/// Both ends.
pub(super) fn channel() -> (Asking, Asked) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asking { questions: sender, patience: PATIENCE }, Asked(receiver))
}

impl Asked {
    /// Waits for a question; for ever if nobody can ask.
    pub(super) async fn next(&mut self) -> Question {
        match self.0.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

impl Asking {
    /// The answer to a request for metrics.
    pub(super) async fn metrics(&self, headers: &HeaderMap) -> Response {
        let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let format = Format::wanted(&accept.join(","));
        match tokio::time::timeout(self.patience, self.ask()).await {
            Ok(Ok(snapshot)) => ([(CONTENT_TYPE, format.content_type())], encode(snapshot, format)).into_response(),
            Ok(Err(error)) => refused(&format!("{error:#}")),
            Err(_) => refused(&format!("baton is busy: no answer within {:?}", self.patience)),
        }
    }

    async fn ask(&self) -> anyhow::Result<Snapshot> {
        let (question, answer) = oneshot::channel();
        let ended = || anyhow::anyhow!("baton is about to end");
        self.questions.send(question).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

fn refused(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("no metrics: {why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(asking: &Asking) -> StatusCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(asking.metrics(&HeaderMap::new())).status()
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_not_waited_for_for_ever() {
        let (mut asking, asked) = channel();
        asking.patience = Duration::from_millis(20);
        for _ in 0..=WAITING {
            assert_eq!(status(&asking), StatusCode::SERVICE_UNAVAILABLE);
        }
        drop(asked);
        assert_eq!(status(&asking), StatusCode::SERVICE_UNAVAILABLE);
    }
}
