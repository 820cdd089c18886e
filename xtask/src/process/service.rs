//! A program that runs beside the task until it is stopped.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::POLL;
use super::family::Family;

const GRACE: Duration = Duration::from_secs(5);

/// A running program. Dropping it ends it and every process that it started.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `command` with stderr in the file `log`, in a process group of its own, so that Ctrl-C reaches
    /// only this task, which then stops its services in order.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("failed to create the log {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file).process_group(0);
        let child = super::spawn(command)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program wrote on stderr.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with the program's own words when it has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let words = self.words();
            let status = super::described(status);
            bail!("{} ended early with {status}. It said:\n{}", self.name, words.trim_end());
        }
        Ok(())
    }

    /// Asks the program to end, waits for it, and kills what does not go.
    pub(crate) fn stop(&mut self) {
        let family = Family::of(self.child.id());
        if let Ok(None) = self.child.try_wait() {
            // ESRCH: it ended in between, which is what we want.
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        }
        let deadline = Instant::now() + GRACE;
        let mut running = true;
        while running && Instant::now() < deadline {
            running = matches!(self.child.try_wait(), Ok(None));
            if running {
                thread::sleep(POLL);
            }
        }
        if running {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        family.end();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}
