//! A small process that takes baton's place when baton dies.
//!
//! When the last holder of the SOCKHASH ends, the kernel throws away what
//! waits in the members' queues. So somebody must see to it that the members
//! leave one by one: baton itself when it ends in order, and its guard, a fork
//! that holds the same descriptors, when it is killed.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, ensure};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::cgroup;
use super::confine::{Needs, confine, is_foreign};
use super::leaving::Leaving;
use crate::datapath::drain;
use crate::datapath::load::Datapath;
use crate::datapath::workload::Workloads;

/// How long other threads may take to end before a guard is started.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest pause between two looks at sockets that have to wait.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// The guard, as its parent sees it. It gets to work when this is dropped or
/// the parent dies.
#[derive(Debug)]
pub(crate) struct Guard {
    pid: Pid,
    lifeline: UnixStream,
}

/// How the guard's work stands when its parent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// No trace is left.
    Clean,
    /// Some connections have data that their application has not read yet: the
    /// process with this id waits for it.
    Waiting(i32),
}

impl Guard {
    /// Starts a guard for all that `datapath` and `workloads` hold now, and for
    /// `own`, a cgroup that baton made.
    pub(crate) fn start(
        datapath: &mut Datapath,
        workloads: &mut Workloads,
        own: Option<&cgroup::Own>,
    ) -> anyhow::Result<Self> {
        await_one_thread()?;
        let (lifeline, watched) = UnixStream::pair().context("failed to make the guard's lifeline")?;
        // SAFETY: the process has one thread, so no lock is held by another.
        #[expect(unsafe_code, reason = "fork")]
        match unsafe { fork() }.context("failed to start the guard")? {
            ForkResult::Parent { child } => {
                tracing::debug!(process = child.as_raw(), "a guard holds what is attached now");
                Ok(Self { pid: child, lifeline })
            }
            ForkResult::Child => {
                drop(lifeline);
                guard(&watched, datapath, workloads, own);
                std::process::exit(0);
            }
        }
    }

    /// Ends the guard without letting it do anything: another one has taken over.
    pub(crate) fn dismiss(mut self) {
        // It may have been killed.
        let _ = self.lifeline.write_all(b"q");
        let _ = waitpid(self.pid, None);
    }

    /// Lets the guard do its work now, and waits for it up to `patience`.
    pub(crate) fn finish(self, patience: Duration) -> Ended {
        const STEP: Duration = Duration::from_millis(2);
        drop(self.lifeline);
        let mut waited = Duration::ZERO;
        while waited < patience {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => thread::sleep(STEP),
                _ => return Ended::Clean,
            }
            waited += STEP;
        }
        Ended::Waiting(self.pid.as_raw())
    }

    /// Whether the guard was killed.
    pub(crate) fn is_dead(&self) -> bool {
        !matches!(waitpid(self.pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
    }
}

/// Waits until this process has one thread: others take probes away from a process that has ended, or ask for an
/// address, and end soon.
fn await_one_thread() -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let threads = fs::read_dir("/proc/self/task").context("failed to count threads")?.count();
        if threads == 1 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the guard must be started from a process with one thread, this has {threads}");
        thread::sleep(PATIENCE / 1000);
    }
}

/// The guard's life.
fn guard(lifeline: &UnixStream, datapath: &mut Datapath, workloads: &mut Workloads, own: Option<&cgroup::Own>) {
    settle(lifeline);
    // The daemon's is so already, as a fork of it; `baton exec` only when its command has started.
    confine(Needs { foreign: own.is_some_and(|own| is_foreign(own.parent())), ..Needs::default() });
    let mut byte = [0];
    let mut stream = lifeline;
    loop {
        match stream.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(1..) => return,
            Ok(0) | Err(_) => break,
        }
    }
    clean_up(datapath, workloads, own);
}

/// Lets go of all that is the parent's: its terminal, files and sockets. Only
/// descriptors of BPF objects and the lifeline stay.
fn settle(lifeline: &UnixStream) {
    use std::os::fd::AsRawFd as _;
    // A guard that cannot do one of these does its work none the less.
    let _ = setsid();
    let _ = SigSet::all().thread_block();
    let _ = prctl::set_pdeathsig(None::<Signal>);
    let _ = prctl::set_name(c"baton-guard");
    let _ = std::env::set_current_dir("/");
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null));
    }
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<(i32, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some((number, target))
        })
        .collect();
    for (number, target) in open {
        let is_bpf =
            target.starts_with("anon_inode:bpf") || target == "anon_inode:btf" || target == "anon_inode:[perf_event]";
        if number > 2 && number != lifeline.as_raw_fd() && !is_bpf {
            #[expect(unsafe_code, reason = "closing inherited descriptors")]
            // SAFETY: this process never uses what it holds of its parent's
            // files again: it ends with exit(), after `clean_up`. The listing's own is closed already, for which an
            // OwnedFd would abort in a debug build.
            let _ = unsafe { libc::close(number) };
        }
    }
}

/// Takes baton out of the kernel without hurting a connection.
fn clean_up(datapath: &mut Datapath, workloads: &mut Workloads, own: Option<&cgroup::Own>) {
    // In this order: first nothing is inserted any more, then nothing is read.
    workloads.switch_off(datapath);
    datapath.detach_tracepoints();
    if let Some(own) = own {
        own.remove();
    }
    let cgroups: Vec<_> = workloads.iter().map(|workload| workload.desired.cgroup.clone()).collect();
    let cgroups: Vec<&Path> = cgroups.iter().map(std::path::PathBuf::as_path).collect();
    let mut pause = Duration::from_millis(1);
    let mut leaving = Leaving::default();
    while drain::members(datapath).is_ok_and(|members| members > 0) {
        let _ = leaving.pass(datapath, &cgroups);
        if drain::members(datapath).is_ok_and(|members| members == 0) {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
