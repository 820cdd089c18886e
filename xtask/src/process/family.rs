//! All that a program has started, and its end.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::POLL;
use super::table::{self, Process};

const GRACE: Duration = Duration::from_secs(5);

/// The processes below one. Take it while that one runs: orphans are not found any more.
#[derive(Debug)]
pub(super) struct Family(Vec<Process>);

impl Family {
    pub(super) fn of(root: u32) -> Self {
        Self(table::descendants(root))
    }

    /// Asks the processes to end, and kills what does not go.
    pub(super) fn end(&self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while self.0.iter().any(Process::still_runs) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        for process in self.0.iter().filter(|process| process.still_runs()) {
            // ESRCH: it ended in between, which is what we want.
            let _ = kill(Pid::from_raw(process.pid.cast_signed()), signal);
        }
    }
}
