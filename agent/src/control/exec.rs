//! `baton exec`: one command in a cgroup of its own.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::confine::{Needs, confine};
use super::guard::{Ended, Guard};
use super::plan::Plan;
use super::signals::Signals;
use super::{cgroup, plan};
use crate::cli::Exec;
use crate::datapath::load::{Datapath, Options};
use crate::datapath::messages::Messages;
use crate::datapath::workload::Workloads;
use crate::datapath::{probe, selftest};
use crate::failure::Failure;
use crate::observe;
use crate::observe::event::Reader;
use crate::observe::flows::FlowFile;
use crate::observe::summary::Summary;
use crate::runtime::Tracker;

/// Time between two looks for flow events.
const TICK: Duration = Duration::from_millis(20);

/// How long to wait for the last trace to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command; returns its exit status.
pub(crate) async fn run(exec: Exec) -> anyhow::Result<u8> {
    let plan = Plan::make(&exec.policy)?;
    let mut flows = exec.flows.as_deref().map(|path| FlowFile::create(path, exec.show_values)).transpose()?;
    probe::require()?;
    let mut signals = Signals::take()?;
    let mut datapath = Datapath::load(Options::of(&plan), &plan.headers.table()?)?;
    selftest::choose(&mut datapath)?;
    let mut messages = datapath.take_messages()?;
    let mut tracker = Tracker::new(&mut datapath)?;
    let own = cgroup::Own::create()?;
    let mut workloads = Workloads::default();
    let started = start(&exec, &plan, &mut datapath, &mut workloads, &own, flows.is_some());
    let (guard, mut child) = match started {
        Ok(started) => started,
        Err(error) => {
            own.remove();
            return Err(error);
        }
    };
    // The command has started, as it would have without baton.
    let perf = datapath.attaches_with_perf();
    confine(Needs { perf, signals: true, ..Needs::default() });
    let mut reader = Reader::new(datapath.take_events()?, &plan.headers);
    let mut write_flows = || {
        if let Some(flows) = &mut flows {
            flows.write(&mut reader, &workloads);
        }
    };
    let status = attend(&mut signals, &mut child, &mut tracker, &mut datapath, &mut messages, &mut write_flows).await;
    write_flows();
    let summary = Summary::of(&datapath, &workloads)?;
    if let Ended::Waiting(process) = guard.finish(PATIENCE) {
        observe::say(&format!(
            "connections of processes that the command left behind have unread data; process {process} waits for them and then removes the rest of baton"
        ));
    }
    observe::say_raw(&if exec.json { summary.json() } else { summary.text() });
    Ok(code(status?))
}

fn start(
    exec: &Exec,
    plan: &plan::Plan,
    datapath: &mut Datapath,
    workloads: &mut Workloads,
    own: &cgroup::Own,
    events: bool,
) -> anyhow::Result<(Guard, Child)> {
    let [program, arguments @ ..] = exec.command.as_slice() else {
        return Err(Failure::Usage("no command is given".to_owned()).into());
    };
    let name = std::path::Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    workloads.attach(datapath, plan.workload(own.path(), Some(&name)))?;
    // A file has room for all of them.
    datapath.want_events(if events { u32::MAX } else { 0 })?;
    let guard = Guard::start(datapath, workloads, Some(own))?;
    workloads.switch_on(datapath, 0)?;
    let child = spawn(Command::new(program).args(arguments), own)
        .map_err(|error| Failure::Command { command: program.to_string_lossy().into_owned(), error });
    match child {
        Ok(child) => Ok((guard, child)),
        Err(error) => {
            guard.finish(PATIENCE);
            Err(error.into())
        }
    }
}

/// Starts `command` within the cgroup `own`.
fn spawn(command: &mut Command, own: &cgroup::Own) -> std::io::Result<Child> {
    let processes = File::options().write(true).open(own.path().join("cgroup.procs"))?;
    let descriptor = processes.as_raw_fd();
    #[expect(unsafe_code, reason = "the child must move before it runs its program")]
    // SAFETY: write() and pthread_sigmask() are async-signal-safe, and
    // `processes` outlives spawn().
    unsafe {
        command.pre_exec(move || {
            if libc::write(descriptor, c"0".as_ptr().cast(), 1) != 1 {
                return Err(std::io::Error::last_os_error());
            }
            let mut none = std::mem::MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            Ok(())
        });
    }
    command.spawn()
}

/// Hands signals on and writes flow events until the command ends.
async fn attend(
    signals: &mut Signals,
    child: &mut Child,
    tracker: &mut Tracker,
    datapath: &mut Datapath,
    messages: &mut Messages,
    mut tick: impl FnMut(),
) -> anyhow::Result<ExitStatus> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for the command")? {
            return Ok(status);
        }
        tokio::select! {
            received = signals.next() => {
                let received = received?;
                if received.signal != Signal::SIGCHLD && !received.from_terminal {
                    // It may have ended by now.
                    let _ = kill(Pid::from_raw(child.id().cast_signed()), received.signal);
                }
            }
            () = messages.told() => {}
            news = tracker.news() => {
                news?;
                tracker.read(datapath)?;
            }
            _ = ticks.tick() => tick(),
        }
    }
}

/// A command's exit status as shells show it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
