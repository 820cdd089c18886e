//! What baton logs: `--log` and `BATON_LOG`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton;
use baton_tests::cgroup::Cgroup;
use baton_tests::process::{self, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::terminal::Terminal;
use baton_tests::wait;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);

/// `baton BEFORE run AFTER` for a cgroup, with no filter in the environment.
fn run(before: &[&str], after: &[&str], cgroup: &Cgroup, scratch: &Scratch) -> Result<Command> {
    let mut run = baton::command(before.iter().copied())?;
    run.arg("run").args(after).arg("--cgroup").arg(cgroup.path());
    run.arg("--socket").arg(scratch.join("socket")).env_remove("BATON_LOG");
    Ok(run)
}

/// Waits until the process has written something.
fn wrote(process: &Running, what: &str) -> Result<()> {
    wait::until(what, LIMIT, || Ok(process.output().contains(what).then_some(()))).with_context(|| process.output())
}

/// Whether `line` begins with a time and a level, without colours.
fn is_logged(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_time = words.next().is_some_and(|time| time.ends_with('Z') && time.starts_with("20") && time.contains('T'));
    is_time && matches!(words.next(), Some("ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE")) && !line.contains('\x1b')
}

#[test]
fn what_the_daemon_does_is_logged() -> Result<()> {
    let (scratch, cgroup, recorder) = (Scratch::new()?, Cgroup::new()?, Recorder::echoing_targets()?);
    let _app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::In(&cgroup))?;
    let mut daemon = Running::spawn(run(&[], &["--log", "debug"], &cgroup, &scratch)?, scratch.join("output"))?;
    wrote(&daemon, "\nready\n")?;
    let mut watch = baton::command(["watch", "--socket"])?;
    watch.arg(scratch.join("socket"));
    let mut watch = Running::spawn(watch, scratch.join("watch"))?;
    wrote(&daemon, "a watcher came")?;
    watch.terminate()?;
    wrote(&daemon, "a watcher went")?;
    daemon.signal(Signal::SIGHUP)?;
    wrote(&daemon, "\nreloaded\n")?;
    ensure!(process::code(daemon.terminate()?) == 0, "{}", daemon.output());
    let output = daemon.output();
    let name = cgroup.path().file_name().context("a name")?.to_string_lossy().into_owned();
    for words in [
        &["INFO", "configuration read", "headers=14"][..],
        &["DEBUG", "traceparent,"],
        &["INFO", "programs loaded", "reads="],
        &["INFO", "self-test", "found=Ok("],
        &["INFO", "attached", &name],
        &["INFO", "switched on", &name],
        &["INFO", "looked at", "runtime=\"python\""],
        &["DEBUG", "open connections"],
        &["DEBUG", "a guard holds"],
        &["INFO", "ending"],
    ] {
        let is_there = |line: &str| is_logged(line) && words.iter().all(|word| line.contains(word));
        ensure!(output.lines().any(is_there), "no {words:?}: {output}");
    }
    let other = output.lines().find(|line| !is_logged(line) && !["ready", "reloaded"].contains(line));
    ensure!(other.is_none(), "{other:?}");
    // The kernel side's own messages take more than that.
    ensure!(!output.contains("baton_ebpf:"), "{output}");
    Ok(())
}

#[test]
fn a_filter_is_taken_from_the_command_line_or_the_environment() -> Result<()> {
    let cgroup = Cgroup::new()?;
    for (before, after, environment, is_told) in [
        (&[][..], &[][..], None, false),
        (&[], &[], Some(""), false),
        (&[], &[], Some("info"), true),
        (&["--log", "info"], &[], None, true),
        (&[], &["--log", "baton::datapath=info"], Some("off"), true),
        (&["--log", "warn"], &[], Some("debug"), false),
    ] {
        let scratch = Scratch::new()?;
        let mut command = run(before, after, &cgroup, &scratch)?;
        command.envs(environment.map(|filter| ("BATON_LOG", filter)));
        let mut daemon = Running::spawn(command, scratch.join("output"))?;
        wrote(&daemon, "ready\n")?;
        ensure!(process::code(daemon.terminate()?) == 0, "{}", daemon.output());
        let output = daemon.output();
        if is_told {
            ensure!(output.lines().any(|line| is_logged(line) && line.contains("self-test")), "{output}");
        } else {
            ensure!(output == "ready\n", "{before:?} {after:?} {environment:?}: {output}");
        }
    }
    Ok(())
}

#[test]
fn a_filter_that_cannot_be_used_is_named() -> Result<()> {
    for (flag, environment) in [(Some("loud"), None), (Some("baton=loud"), Some("info")), (None, Some("loud"))] {
        let mut doctor = baton::command(["doctor"])?;
        doctor.env_remove("BATON_LOG").envs(environment.map(|filter| ("BATON_LOG", filter)));
        doctor.args(flag.map(|filter| ["--log", filter]).into_iter().flatten());
        let finished = process::run(doctor, b"", LIMIT)?;
        ensure!(finished.code == 64 && finished.stderr.trim().lines().count() == 1, "{finished:?}");
        ensure!(finished.stderr.contains("loud` is no filter for the log: write a level"), "{finished:?}");
        ensure!(finished.stderr.contains("BATON_LOG") == flag.is_none(), "{finished:?}");
    }
    Ok(())
}

#[test]
fn only_terminals_get_colours() -> Result<()> {
    for (no_color, is_coloured) in [("", true), ("1", false)] {
        let mut doctor = baton::command(["exec", "--log", "info", "--", "true"])?;
        doctor.env("NO_COLOR", no_color);
        let mut terminal = Terminal::start(&doctor, 200, 40)?;
        ensure!(process::code(terminal.finish()?) == 0, "{:#?}", terminal.lines());
        terminal.wait("what it did", |lines| lines.iter().any(|line| line.contains("self-test")))?;
        let coloured = terminal.screen(|screen| {
            let cells = (0..40).flat_map(|line| (0..200).filter_map(move |column| screen.cell(line, column)));
            cells.into_iter().any(|cell| cell.fgcolor() != vt100::Color::Default)
        });
        ensure!(coloured == is_coloured, "NO_COLOR={no_color}: {coloured}");
    }
    Ok(())
}
