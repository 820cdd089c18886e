//! The cluster that the tests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use baton_tests::cluster::{Cluster, Component, Image, Traces};
use libtest_mimic::{Failed, Trial};

/// A cluster that starts when the first test needs it.
#[derive(Clone, Default)]
pub(crate) struct Suite(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    before: Option<Traces>,
    cluster: Option<Cluster>,
}

impl Suite {
    /// A test in the cluster.
    pub(crate) fn trial(&self, name: &str, test: fn(&mut Cluster) -> Result<()>) -> Trial {
        let suite = self.clone();
        trial(name, move || {
            let mut state = suite.state();
            let cluster = state.cluster()?;
            test(cluster).with_context(|| format!("the kubelet wrote:\n{}", cluster.logs(Component::Kubelet)))
        })
    }

    /// The test that ends the cluster and looks for traces of it.
    pub(crate) fn closing_trial(&self, name: &str) -> Trial {
        let suite = self.clone();
        trial(name, move || {
            let mut state = suite.state();
            state.cluster()?;
            state.cluster = None;
            state.before.take().context("there was no cluster")?.wait_until_again(Duration::from_secs(20))
        })
    }

    /// Ends the cluster, if there is one.
    pub(crate) fn stop(&self) {
        self.state().cluster = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The cluster; a new one if a test has left it broken.
    fn cluster(&mut self) -> Result<&mut Cluster> {
        if self.cluster.as_mut().is_none_or(|cluster| cluster.check().is_err()) {
            self.cluster = None;
            if self.before.is_none() {
                self.before = Some(Traces::now()?);
            }
            let mut cluster = Cluster::start()?;
            cluster.load_image(Image::hop()?)?;
            self.cluster = Some(cluster);
        }
        self.cluster.as_mut().context("a cluster")
    }
}

fn trial(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    // The names of this file's tests have something in common, for `cargo xtask test cluster`.
    let trial = Trial::test(format!("cluster::{name}"), || test().map_err(|error| Failed::from(format!("{error:?}"))));
    trial.with_ignored_flag(true)
}
