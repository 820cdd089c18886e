//! Starting other programs, waiting for them, and leaving none behind.

mod family;
mod service;
pub(crate) mod table;

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use service::Service;

use crate::interrupt;
use family::Family;

const POLL: Duration = Duration::from_millis(5);

/// Runs a command that must succeed; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` ended with {}", shown(command), described(status));
    }
    Ok(())
}

/// Runs a command whose failure is an answer; its output goes where ours goes.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let child = spawn(command)?;
    wait(child)
}

/// Runs a command that must succeed and returns its output as text.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let bytes = read_bytes(command)?;
    String::from_utf8(bytes).with_context(|| format!("`{}` printed no text", shown(command)))
}

/// As [`read`], for any output.
pub(crate) fn read_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = output(command)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", shown(command), described(output.status), words.trim());
    }
    Ok(output.stdout)
}

/// Runs a command that must succeed and returns what it says on stderr.
pub(crate) fn read_errors(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("`{}` ended with {}: {}", shown(command), described(output.status), words.trim());
    }
    Ok(words)
}

/// Runs a command that must succeed and returns its output as text; what it says on stderr goes where ours goes.
pub(crate) fn read_aloud(command: &mut Command) -> Result<String> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = child.stdout.take();
    let (status, stdout) = thread::scope(|scope| {
        let stdout = scope.spawn(move || drain(stdout));
        Ok::<_, anyhow::Error>((wait(child)?, stdout.join().unwrap_or_default()))
    })?;
    if !status.success() {
        bail!("`{}` ended with {}", shown(command), described(status));
    }
    String::from_utf8(stdout).with_context(|| format!("`{}` printed no text", shown(command)))
}

/// Whether a command succeeds, with its output thrown away. A missing program does not.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    status(command).is_ok_and(|status| status.success())
}

/// Runs a command to its end and collects what it prints.
fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(move || drain(stdout));
        let stderr = scope.spawn(move || drain(stderr));
        let status = wait(child)?;
        Ok(Output { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
    })
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}

/// An exit status in words.
fn described(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    interrupt::check()?;
    command.spawn().with_context(|| format!("failed to start `{}`", shown(command)))
}

/// Waits for a child. A signal to this task is passed on to it, and nothing that it started survives it then.
pub(crate) fn wait(mut child: Child) -> Result<ExitStatus> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut family = None;
    loop {
        if let Some(status) = child.try_wait()? {
            family.iter().for_each(Family::end);
            interrupt::check()?;
            return Ok(status);
        }
        if interrupt::received().is_some() && family.is_none() {
            family = Some(Family::of(child.id()));
            // It may have ended in between: then there is nothing to tell.
            let _ = kill(pid, Signal::SIGTERM);
        }
        thread::sleep(POLL);
    }
}

fn drain(pipe: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A broken pipe leaves what came before it, which is all there is.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}
