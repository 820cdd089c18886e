//! On what something was measured.

use std::process::Command;

use serde::Serialize;

use crate::{process, workspace};

/// The machine and the code.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    cpu: String,
    cpus: usize,
    commit: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let words = |program: &str, arguments: &[&str]| {
            let printed = process::read(Command::new(program).args(arguments).current_dir(workspace::root()));
            printed.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
        };
        Self {
            kernel: format!("Linux {}", version_of(&words("uname", &["-r"]))),
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            commit: words("git", &["describe", "--always", "--dirty"]),
        }
    }

    /// All of it on one line.
    pub(crate) fn line(&self) -> String {
        format!("{}, {} CPUs ({}), commit {}.", self.kernel, self.cpus, self.cpu, self.commit)
    }
}

/// A kernel's release without what its builder appended.
fn version_of(release: &str) -> &str {
    release.split_once('-').map_or(release, |(version, _)| version)
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned())
}
