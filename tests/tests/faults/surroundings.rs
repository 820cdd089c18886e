//! What changes around baton while it runs, and what is missing when it starts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::exchange::{Exchanges, Shape};
use baton_tests::namespace;
use baton_tests::pins::Pins;
use baton_tests::process::{self, Running};
use baton_tests::programs::command;
use baton_tests::random::Random;
use baton_tests::scratch::Scratch;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::{Workload, after, either};

/// `script`, with a private view of what is mounted; then `baton run` with these arguments.
fn in_another_view(script: &str, arguments: &[&str]) -> Result<Command> {
    let mut unshare = command("unshare")?;
    unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
    unshare.arg(format!("{script} exec \"$@\"")).arg("sh").arg(baton::binary()?).arg("run").args(arguments);
    Ok(unshare)
}

#[test]
fn a_kernel_whose_types_are_not_readable_is_refused() -> Result<()> {
    let (before, cgroup, scratch) = (Objects::now()?, Cgroup::new()?, Scratch::new()?);
    let empty = scratch.write("empty", "")?;
    let path = cgroup.path().display().to_string();
    for (script, what) in [
        (format!("mount --bind {} /sys/kernel/btf/vmlinux &&", empty.display()), "empty"),
        ("mount -t tmpfs none /sys/kernel/btf &&".to_owned(), "missing"),
    ] {
        let run = in_another_view(&script, &["--cgroup", &path])?;
        let ended = process::run(run, b"", Duration::from_secs(30))?;
        let words = ended.stderr.trim();
        ensure!(ended.code == 69 && words.contains("BTF"), "{what}: {} {words}", ended.code);
        ensure!(words.lines().count() == 1, "{what}: {words}");
        nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn neither_tracefs_nor_a_bpf_file_system() -> Result<()> {
    let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
    let script = "for at in /sys/fs/bpf /sys/kernel/tracing /sys/kernel/debug/tracing /sys/kernel/debug; do \
                  while umount $at 2>/dev/null; do :; done; done;";
    let config = baton::config(&[workload.cgroup.path()]);
    let mut daemon = Daemon::launch(in_another_view(script, &[])?, &config)?;
    daemon.until_ready()?;
    workload.still_carries()?;
    workload.load(16, &Shape::PLAIN, after(Duration::from_secs(2)))?;
    workload.end(daemon, &before)?;
    // What cannot be done without it is refused.
    let (scratch, cgroup) = (Scratch::new()?, Cgroup::new()?);
    let (directory, path) = (scratch.join("pins").display().to_string(), cgroup.path().display().to_string());
    let run = in_another_view(script, &["--pin-dir", &directory, "--cgroup", &path])?;
    let ended = process::run(run, b"", Duration::from_secs(30))?;
    ensure!(ended.code == 73 && ended.stderr.contains(&directory), "{} {}", ended.code, ended.stderr);
    nothing_new_since(&before)
}

/// A workload whose cgroup is removed, and comes again under the same name, beside one that has traffic.
#[test]
fn a_cgroup_that_is_removed_while_it_is_enrolled() -> Result<()> {
    let (before, mut stays) = (Objects::now()?, Workload::start(&[])?);
    let mut goes = Workload::start(&[])?;
    let path = goes.cgroup.path().to_owned();
    let daemon = Daemon::start(&[stays.cgroup.path(), &path])?;
    goes.still_carries()?;
    stays.still_carries()?;
    let mut random = Random::new(stays.random.number());
    std::thread::scope(|scope| -> Result<()> {
        let (exchanges, address) = (&stays.exchanges, stays.app.address());
        let done = after(Duration::from_secs(3));
        scope.spawn(move || exchanges.load(address, 16, &Shape::PLAIN, &mut random, done));
        // Ends the application, and removes the directory.
        drop(goes);
        ensure!(!path.exists(), "{} is still there", path.display());
        std::fs::create_dir(&path)?;
        daemon.reload(&[stays.cgroup.path(), &path])
    })?;
    stays.load(16, &Shape::PLAIN, after(Duration::from_secs(2)))?;
    stays.still_carries()?;
    let ended = stays.end(daemon, &before);
    std::fs::remove_dir(&path)?;
    ended
}

#[test]
fn a_network_namespace_that_is_deleted_while_it_is_enrolled() -> Result<()> {
    let (before, mut stays, cgroup) = (Objects::now()?, Workload::start(&[])?, Cgroup::new()?);
    let daemon = Daemon::start(&[stays.cgroup.path(), cgroup.path()])?;
    for _ in 0..3 {
        namespace::within(&[], || {
            let (exchanges, mut random) = (Exchanges::new()?, Random::of_this_run());
            let app = exchanges.program(&[])?.start(&Launch::In(&cgroup))?;
            exchanges.load(app.address(), 8, &Shape::PLAIN, &mut random, after(Duration::from_secs(1)));
            let outcome = exchanges.outcome()?;
            outcome.flawless()?;
            ensure!(outcome.carried > 0, "{outcome}");
            // Its connections are open when the namespace goes.
            Ok(())
        })?;
        stays.load(8, &Shape::PLAIN, after(Duration::from_secs(1)))?;
    }
    stays.still_carries()?;
    stays.end(daemon, &before)
}

/// Runs `fault` while a workload has traffic, with and without pins.
fn during_traffic(fault: impl Fn() -> Result<()>) -> Result<()> {
    for pinned in [false, true] {
        let (before, mut workload) = (Objects::now()?, Workload::start(&[])?);
        let pins = if pinned { Some(Pins::new()?) } else { None };
        let directory = pins.as_ref().map(|pins| pins.directory().display().to_string());
        let options: Vec<&str> = directory.iter().flat_map(|directory| ["--pin-dir", directory]).collect();
        let daemon = Daemon::start_with(&[workload.cgroup.path()], &options, &[])?;
        workload.still_carries()?;
        let faults = std::sync::Mutex::new(Ok(()));
        let carried = workload.exchanges.outcome()?.carried;
        let mut random = Random::new(workload.random.number());
        std::thread::scope(|scope| {
            let (exchanges, address) = (&workload.exchanges, workload.app.address());
            let shape = Shape { keep: false, ..Shape::PLAIN };
            let done = after(Duration::from_secs(either(5, 30)));
            let load = scope.spawn(move || exchanges.load(address, 16, &shape, &mut random, done));
            while !load.is_finished() {
                let outcome = fault();
                if outcome.is_err() {
                    *faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = outcome;
                    break;
                }
            }
        });
        faults.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)?;
        let outcome = workload.exchanges.outcome()?;
        outcome.flawless()?;
        ensure!(outcome.carried > carried, "{outcome}");
        eprintln!("{outcome}");
        workload.still_carries()?;
        workload.end(daemon, &before)?;
    }
    Ok(())
}

/// The last processor goes, and comes back. A shell does it, which goes on to the end if this test is killed.
#[test]
fn processors_that_come_and_go() -> Result<()> {
    let switch = "/sys/devices/system/cpu/cpu1/online";
    if !Path::new(switch).exists() || std::fs::write(switch, "1").is_err() {
        eprintln!("skipped: no processor of this machine can be switched off");
        return Ok(());
    }
    let scratch = Scratch::new()?;
    during_traffic(|| {
        let mut shell = command("sh")?;
        shell.args(["-c", "echo 0 > $0; sleep 0.3; echo 1 > $0; sleep 0.2", switch]);
        let mut shell = Running::spawn(shell, scratch.join("output"))?;
        let ended = shell.wait(Duration::from_secs(10))?;
        ensure!(ended.success() && std::fs::read_to_string(switch)?.trim() == "1", "{}", shell.last_words());
        Ok(())
    })
}

fn step(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let then = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).context("failed to set the clock")
}

/// Puts the clock back where it should be, by the clock that nobody sets.
struct Clock {
    offset: Duration,
}

impl Clock {
    fn offset() -> Result<Duration> {
        let real = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME)?);
        Ok(real.saturating_sub(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?)))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) {
            let _ = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(Duration::from(now) + self.offset));
        }
    }
}

/// A second forth and back: nobody else on the machine is to suffer from it.
#[test]
fn steps_of_the_clock() -> Result<()> {
    during_traffic(|| {
        let clock = Clock { offset: Clock::offset()? };
        for seconds in [1, -2, 1] {
            step(seconds)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(clock);
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    })
}
