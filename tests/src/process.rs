//! A child process that never outlives its owner.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait;

/// Characters of a program's output in a message.
const LAST_WORDS: usize = 4000;

/// A started program in a process group of its own, with its output in a file.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; its stdout and stderr go to `log`.
    pub fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        pid(&self.child)
    }

    /// What the program has written so far.
    pub fn output(&self) -> String {
        read_lossy(&self.log)
    }

    /// The end of what the program has written, for messages.
    pub fn last_words(&self) -> String {
        let output = self.output();
        let skipped = output.chars().count().saturating_sub(LAST_WORDS);
        output.chars().skip(skipped).collect()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("failed to send {signal} to {}", self.pid()))
    }

    /// Whether the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait::until("the end of the process", limit, || self.ended())
            .with_context(|| format!("it wrote:\n{}", self.last_words()))
    }

    /// Asks the process to end, and waits.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(Duration::from_secs(20))
    }

    /// The processes that descend from this one.
    pub fn descendants(&self) -> BTreeSet<i32> {
        descendants(self.pid().as_raw())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = self.descendants();
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(self.pid(), Signal::SIGTERM);
            let _ = self.wait(Duration::from_secs(5));
        }
        let _ = killpg(self.pid(), Signal::SIGKILL);
        for member in family {
            // A pid of a process that has ended since is not reused that soon.
            let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program's end, with what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; 128+n for signal n.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
}

/// Runs a program to its end, feeding `stdin`; it is killed after `limit`.
pub fn run(mut command: Command, stdin: &[u8], limit: Duration) -> Result<Finished> {
    let scratch = crate::scratch::Scratch::new()?;
    let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
    let input = File::open(scratch.write("stdin", stdin)?)?;
    command.process_group(0).stdin(input).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
    let mut running = Running { child, log: err.clone() };
    let status = running.wait(limit)?;
    Ok(Finished { code: code(status), stdout: std::fs::read(&out)?, stderr: read_lossy(&err) })
}

/// The exit status as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn descendants(root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
        if pid != root {
            found.insert(pid);
        }
    }
    found
}
