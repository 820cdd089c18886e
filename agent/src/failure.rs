//! What can go wrong for a user: cause, remedy, and an exit status of its own.

use std::path::PathBuf;

/// A failure that ends baton before anything stays attached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// A workload's directory is not there.
    #[error("there is no cgroup directory {}: name an existing one below the cgroup v2 mount ({mount})", path.display())]
    CgroupMissing {
        /// What was asked for.
        path: PathBuf,
        /// Where cgroup v2 is mounted.
        mount: String,
    },
    /// A workload's directory belongs to cgroup v1.
    #[error(
        "{} is not in a cgroup v2 hierarchy, to which alone programs can be attached: name the workload's directory below {mount}",
        path.display()
    )]
    CgroupV1 {
        /// What was asked for.
        path: PathBuf,
        /// Where cgroup v2 is mounted.
        mount: String,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error("no cgroup v2 hierarchy is mounted: run `mount -t cgroup2 none /sys/fs/cgroup/unified`")]
    NoCgroup2,
    /// Not enough privileges.
    #[error("{0}")]
    Privileges(String),
    /// The kernel is too old or was built without something.
    #[error("this kernel cannot run baton: {0}; `baton doctor` lists what is needed")]
    KernelLacks(String),
    /// The kernel does not describe its types.
    #[error(
        "this kernel does not describe its types ({path}: {0}): it needs CONFIG_DEBUG_INFO_BTF=y, as all current distribution kernels have",
        path = crate::datapath::layout::BTF_PATH
    )]
    NoBtf(String),
    /// Inserting would not be safe on this kernel.
    #[error(
        "the self-test failed: {0}. Nothing was attached, since baton could break connections here; `baton doctor` shows all findings, and another kernel may do"
    )]
    SelfTest(String),
    /// The directory for what outlives baton cannot be used.
    #[error("cannot use {} for what outlives baton: {why}; name another --pin-dir", path.display())]
    Pins {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The command of `baton exec` cannot be started.
    #[error("cannot run {command}: {error}")]
    Command {
        /// The command.
        command: String,
        /// Why not.
        error: std::io::Error,
    },
    /// No daemon answers.
    #[error("no baton daemon answers at {}: {error}; start `baton run`, or name its socket with --socket", path.display())]
    NoDaemon {
        /// The control socket.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

impl Failure {
    /// The process's exit status; documented in the README.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Configuration(_) => 65,
            Self::CgroupMissing { .. } => 66,
            Self::NoDaemon { .. } => 68,
            Self::KernelLacks(_) | Self::NoBtf(_) => 69,
            Self::SelfTest(_) => 70,
            Self::CgroupV1 { .. } | Self::NoCgroup2 => 71,
            Self::Pins { .. } => 73,
            Self::Privileges(_) => 77,
            Self::Command { error, .. } if error.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
        }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
