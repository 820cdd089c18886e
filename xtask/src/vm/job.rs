//! What the host asks a guest to do, and what the guest tells it: JSON, the answers one per line on a virtio port.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The name of the port that the guest writes its events to.
pub(super) const PORT: &str = "baton.events";

/// The name of the host's file system.
pub(super) const SHARE: &str = "host";

/// Where the guest finds its job, and the list of its modules, in the initramfs.
pub(super) const JOB: &str = "/job.json";
pub(super) const MODULES: &str = "/modules.json";

/// What a guest is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Variables of all programs.
    pub(super) environment: Vec<(String, String)>,
    /// Where programs start, as cargo does it.
    pub(super) directory: PathBuf,
    /// The program under test.
    pub(super) baton: PathBuf,
    /// Whether baton is to refuse this kernel, which is then all that is tried.
    pub(super) refused: bool,
    /// Test programs.
    pub(super) programs: Vec<Program>,
    /// Parts of tests' names, one of which is to fit; none means all.
    pub(super) filters: Vec<String>,
    /// What one test may take.
    pub(super) limit_seconds: u64,
}

/// A test program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// If there are any, only these tests of it are run.
    pub(super) only: Vec<String>,
    /// Why its other tests are skipped then; if there is no reason, nobody asked for them.
    pub(super) others: Option<String>,
    /// Tests of it that cannot run in a guest, each with the reason.
    pub(super) skipped: Vec<(String, String)>,
}

impl Program {
    /// Whether a test is among those of it that are run, unless it is skipped.
    pub(super) fn has(&self, test: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == test)
    }

    /// Why a test is skipped, if it is.
    pub(super) fn skips(&self, test: &str) -> Option<&str> {
        let named = self.skipped.iter().find(|(name, _)| name == test).map(|(_, why)| why.as_str());
        named.or_else(|| self.others.as_deref().filter(|_| !self.has(test)))
    }
}

/// What a guest tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The kernel is up, and the host's file system is there.
    Booted {
        /// `uname -r`
        release: String,
    },
    /// What `baton doctor --json` printed.
    Doctor { status: i32, stdout: String, stderr: String },
    /// The tests of a program follow.
    Program { name: String },
    /// A test begins.
    Begun { test: String },
    /// It has ended.
    Ended { outcome: Outcome, seconds: f64 },
    /// The guest cannot go on.
    Broken { why: String },
    /// All is done.
    Done,
}

/// How a test ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Passed,
    /// With what it printed.
    Failed(String),
    /// With the reason.
    Skipped(String),
}
