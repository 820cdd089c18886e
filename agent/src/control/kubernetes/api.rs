//! Asks the API server: what namespaces there are, and which pods run here.

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::Error};
use kube::{Client, Config, Resource};

use super::object::Object;
use super::reflected::Reflected;
use crate::failure::chain;

/// Answers of the API server, each pruned as soon as it is there.
type Watch = Pin<Box<dyn Stream<Item = Result<Event<Object>, Error>> + Send>>;

/// Failures in a row after which the API server counts as lost.
const LOST_AFTER: u32 = 3;

/// How much sooner than kube's watchers usually do, which wait for up to 30 s, a
/// try follows the one before. Until one succeeds, new pods are not on, and the
/// kubelet starts them as soon as the API server is back.
const SOONER: u32 = 6;

/// Time after which no further failure means that it is there again: a watch
/// that works may be silent, and a try takes a while, too.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// What the API server says, as far as it is known.
pub(crate) struct Cluster {
    namespaces: Watch,
    pods: Watch,
    /// All namespaces.
    pub(crate) all: Reflected,
    /// The pods of this node that have not ended.
    pub(crate) here: Reflected,
    failures: u32,
    failed: Option<Instant>,
}

/// A client of the API server that the environment names.
///
/// # Errors
/// If neither a service account nor a kubeconfig is there.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    let config = Config::infer().await.context(
        "found no API server to ask: run in a pod with a service account, or set KUBECONFIG to a kubeconfig file",
    )?;
    Client::try_from(config).context("failed to set up a client of the API server")
}

impl Cluster {
    /// Watches namespaces, and the pods of `node`.
    pub(crate) fn watch(client: &Client, node: &str) -> Self {
        // Pods that have ended hold no process any more.
        let fields = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
        let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        Self {
            namespaces: pruned(watcher(namespaces, watcher::Config::default())),
            pods: pruned(watcher(pods, watcher::Config::default().fields(&fields))),
            all: Reflected::default(),
            here: Reflected::default(),
            failures: 0,
            failed: None,
        }
    }

    /// Waits until something changed.
    pub(crate) async fn changed(&mut self) {
        loop {
            let (said, reflected, what) = tokio::select! {
                said = self.namespaces.next() => (said, &mut self.all, "namespaces"),
                said = self.pods.next() => (said, &mut self.here, "pods"),
            };
            match said {
                Some(Ok(event)) => {
                    if self.failures > 0 {
                        tracing::info!(failures = self.failures, "the API server answers again: {what}");
                    }
                    self.failures = 0;
                    let is_list = matches!(event, Event::InitDone);
                    let has_changed = reflected.take(event);
                    if is_list {
                        tracing::info!(count = reflected.iter().count(), "all {what} are known");
                    }
                    if has_changed {
                        return;
                    }
                }
                // Nothing is forgotten: what was known counts until the API server says otherwise.
                Some(Err(error)) => {
                    self.failures += 1;
                    self.failed = Some(Instant::now());
                    tracing::warn!(failures = self.failures, "cannot watch {what}: {}", chain(&error));
                }
                // A watcher's stream does not end.
                None => std::future::pending().await,
            }
        }
    }

    /// Whether both first lists are complete.
    pub(crate) const fn is_complete(&self) -> bool {
        self.all.is_complete() && self.here.is_complete()
    }

    /// Whether the API server is out of reach for some time already.
    pub(crate) fn is_lost(&self) -> bool {
        self.failures >= LOST_AFTER && self.failed.is_some_and(|at| at.elapsed() < FORGET_AFTER)
    }
}

fn pruned<K>(stream: impl Stream<Item = Result<Event<PartialObjectMeta<K>>, Error>> + Send + 'static) -> Watch
where
    PartialObjectMeta<K>: Resource,
{
    let prune = |mut object: PartialObjectMeta<K>| Object::of(std::mem::take(object.meta_mut()));
    let events = stream.backoff(Pauses::default()).map(move |said| {
        said.map(|event| match event {
            Event::Apply(object) => Event::Apply(prune(object)),
            Event::Delete(object) => Event::Delete(prune(object)),
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(prune(object)),
            Event::InitDone => Event::InitDone,
        })
    });
    Box::pin(events)
}

/// Time between two tries: growing to 5 s, and not the same on all nodes.
#[derive(Default)]
struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next()? / SOONER)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests;
