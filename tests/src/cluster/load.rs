//! Constant load on a chain, with every answer judged: which hops got the request's own header, and which requests failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::chain::{Chain, Hop};
use crate::baton::HEADERS;
use crate::scratch::serial;
use crate::wait;

/// Between a client's requests: two cores also run the cluster.
const PAUSE: Duration = Duration::from_millis(5);

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was sent.
    pub sent: Instant,
    /// For each hop, whether the request's header came with it. It does at the first, to which the client sends it.
    pub carried: Vec<bool>,
}

impl Answer {
    /// Whether every hop got the header.
    pub fn is_propagated(&self) -> bool {
        self.carried.iter().all(|carried| *carried)
    }

    /// Whether no hop got it but the first.
    pub fn is_untouched(&self) -> bool {
        !self.carried.iter().skip(1).any(|carried| *carried)
    }
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Those that were answered, in the order of their answers.
    pub answers: Vec<Answer>,
    /// Those that failed, were answered with another request's header, or needed a second connection.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Fails unless there was load, and all of it was answered.
    pub fn require_no_failure(&self) -> Result<()> {
        ensure!(!self.answers.is_empty(), "not one request was answered: {:?}", self.failures.first());
        let (failed, all) = (self.failures.len(), self.failures.len() + self.answers.len());
        ensure!(failed == 0, "{failed} of {all} requests failed, the first so: {}", self.failures[0]);
        Ok(())
    }
}

/// Clients that send requests until they are stopped.
#[derive(Debug)]
pub struct Load {
    stopping: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many clients, each with a connection that it keeps.
    pub fn start(chain: &Chain, clients: usize) -> Self {
        let (stopping, outcome) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Outcome::default())));
        let clients = (0..clients).map(|_| {
            let (chain, stopping, outcome) = (chain.clone(), Arc::clone(&stopping), Arc::clone(&outcome));
            std::thread::spawn(move || send_until(&stopping, &chain, &outcome))
        });
        let clients = clients.collect();
        Self { stopping, outcome, clients }
    }

    /// Waits for an answer to a request that was sent after `moment`, and that is as wanted.
    pub fn wait_for(
        &self,
        what: &str,
        moment: Instant,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        wait::until(what, limit, || {
            let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(outcome.answers.iter().find(|answer| answer.sent > moment && wanted(answer)).cloned())
        })
    }

    /// Waits until so many more requests were answered or have failed.
    pub fn wait_for_more(&self, requests: usize, limit: Duration) -> Result<()> {
        let count = || {
            let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.answers.len() + outcome.failures.len()
        };
        let before = count();
        wait::until("more requests", limit, || Ok((count() >= before + requests).then_some(())))
    }

    /// Ends the load and returns what became of it.
    pub fn stop(mut self) -> Result<Outcome> {
        self.end()?;
        Ok(std::mem::take(&mut *self.outcome.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn end(&mut self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn send_until(stopping: &AtomicBool, chain: &Chain, outcome: &Mutex<Outcome>) {
    let mut client = chain.client();
    while !stopping.load(Ordering::Relaxed) {
        let (own, sent, reconnects) = (format!("load-{}", serial()), Instant::now(), client.reconnects());
        let hops = chain.ask(&mut client, &[(HEADERS[0], &own)]).and_then(|hops| {
            ensure!(client.reconnects() == reconnects, "the connection to the first hop was closed");
            hops.iter().map(|hop| carried(hop, &own)).collect::<Result<Vec<_>>>()
        });
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match hops {
            Ok(carried) => outcome.answers.push(Answer { sent, carried }),
            Err(error) => outcome.failures.push(format!("{own}: {error:#}")),
        }
        drop(outcome);
        std::thread::sleep(PAUSE);
    }
}

/// Whether a hop got the header, which must be this request's own.
fn carried(hop: &Hop, own: &str) -> Result<bool> {
    let values: Vec<_> = hop.values(HEADERS[0]).collect();
    match values.as_slice() {
        [] => Ok(false),
        [value] if *value == own => Ok(true),
        _ => anyhow::bail!("{} got {values:?}", hop.pod),
    }
}
