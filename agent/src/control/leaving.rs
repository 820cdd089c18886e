//! Lets sockets leave the SOCKHASH that do not speak HTTP/1, or whose workload was
//! switched off: again and again, since some have to wait.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::namespace;
use crate::datapath::load::Datapath;
use crate::datapath::{drain, freeze};
use crate::failure::chain;

/// Time between two looks where all shall leave.
const PAUSE: Duration = Duration::from_millis(100);

/// When members are looked at again that cannot be locked, which takes time: a
/// pass waits for all processors, and looks through processes.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// Rounds until the next look.
    rounds: u32,
    /// Rounds before the last look.
    pause: u32,
    /// Directories of workloads that were switched off, as long as some wait.
    parted: Vec<PathBuf>,
}

impl Leaving {
    /// Longest pause, in rounds.
    const LAST: u32 = 64;

    /// The workloads in `parted` have been switched off.
    pub(crate) fn part(&mut self, parted: Vec<PathBuf>) {
        (self.rounds, self.pause) = (0, 0);
        self.parted.extend(parted);
    }

    /// Lets those leave that can, in the network namespaces of `cgroups`, and in
    /// all others if one of these may not be entered. Returns how many have to wait.
    pub(crate) fn pass(&mut self, datapath: &mut Datapath, cgroups: &[&Path]) -> anyhow::Result<usize> {
        let mut waiting = 0;
        let cgroups: Vec<&Path> = cgroups.iter().copied().chain(self.parted.iter().map(PathBuf::as_path)).collect();
        let closed = namespace::in_each(&cgroups, || {
            waiting += drain::pass(datapath)?;
            Ok(())
        })?;
        let waiting = self.pass_closed(datapath, closed, waiting)?;
        if waiting == 0 {
            self.parted.clear();
        }
        Ok(waiting)
    }

    fn pass_closed(&mut self, datapath: &mut Datapath, closed: usize, waiting: usize) -> anyhow::Result<usize> {
        // Members that an earlier baton has left may be in any.
        if closed == 0 && !datapath.is_pinned() {
            return Ok(waiting);
        }
        if self.rounds > 0 {
            self.rounds -= 1;
            return Ok(waiting.max(1));
        }
        let passed = match freeze::pass(datapath) {
            Ok(passed) => passed,
            Err(error) => {
                // They stay members, to which nothing is done. Kernels with nohz_full processors have no membarrier.
                tracing::warn!(error = chain(error.as_ref()), "connections cannot leave the SOCKHASH before they end");
                self.rounds = Self::LAST;
                return Ok(waiting.max(1));
            }
        };
        self.pause = if passed.left > 0 { 1 } else { (self.pause * 2).clamp(1, Self::LAST) };
        self.rounds = self.pause;
        Ok(passed.waiting)
    }
}

/// Lets all members leave, for so long at most. Returns how many are left.
pub(crate) fn all(datapath: &mut Datapath, cgroups: &[&Path], patience: Duration) -> anyhow::Result<usize> {
    let until = Instant::now() + patience;
    loop {
        // Each round is a fresh start: there will be no other time.
        Leaving::default().pass(datapath, cgroups)?;
        let left = drain::members(datapath)?;
        if left == 0 || Instant::now() > until {
            return Ok(left);
        }
        thread::sleep(PAUSE);
    }
}
