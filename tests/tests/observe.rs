//! Flow events live, recorded and read again: `baton watch` and `baton record`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::flows::{self, Flow};
use baton_tests::probe::Probe;
use baton_tests::process::{self, Running};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// Flow events of requests with and without a header, as `baton record` keeps them in the file `recorded` of `scratch`.
fn record(scratch: &Scratch) -> Result<()> {
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let file = scratch.join("recorded");
    let mut record = baton::command(["record", "--for", "1h", "--output"])?;
    record.arg(&file).arg("--socket").arg(daemon.socket());
    let mut record = Running::spawn(record, scratch.join("words"))?;
    let mut probe = Probe::kept(app.address(), &recorder);
    let recorded = |verdict: &str| flows::read(&file).is_ok_and(|flows| flows.iter().any(|flow| flow.is(verdict)));
    wait::until("flow events in the file", LIMIT, || {
        ensure!(probe.is_propagated()?, "not propagated");
        probe.relay(None)?;
        Ok((recorded("injected") && recorded("nothing-to-insert")).then_some(()))
    })
    .with_context(|| record.output())?;
    let status = process::code(record.terminate()?);
    let flows = flows::read(&file)?;
    let requests = flows.iter().filter(|flow| flow.kind != "response").count();
    let said = record.output();
    ensure!(status == 0 && said.contains(&format!("recorded {requests} requests, 0 lost")), "{status}: {said}");
    daemon.stop().map(drop)
}

fn watch(scratch: &Scratch, options: &[&str]) -> Result<Command> {
    let mut watch = baton::command(["watch"])?;
    watch.arg("--from").arg(scratch.join("recorded")).args(options);
    Ok(watch)
}

/// What `baton watch` shows of the recorded file with these options, as flow events.
fn shown(scratch: &Scratch, options: &[&str]) -> Result<Vec<Flow>> {
    let finished = process::run(watch(scratch, &[&["--json"], options].concat())?, b"", LIMIT)?;
    ensure!(finished.code == 0 && finished.stderr.is_empty(), "{finished:?}");
    flows::parse(&String::from_utf8(finished.stdout)?)
}

#[test]
fn what_was_recorded_is_read_again() -> Result<()> {
    let scratch = Scratch::new()?;
    record(&scratch)?;
    let all = flows::read(&scratch.join("recorded"))?;
    ensure!(shown(&scratch, &[])?.len() == all.len(), "not all is shown");
    type Wanted<'a> = (&'a [&'a str], &'a dyn Fn(&Flow) -> bool);
    let wanted: [Wanted<'_>; 4] = [
        (&["--verdict", "injected"], &|flow| flow.is("injected")),
        (&["--verdict", "injected", "--verdict", "nothing-to-insert"], &|flow| flow.kind == "outbound"),
        (&["--header", "X-Telepresence-Id"], &|flow| !flow.headers.is_empty()),
        (&["--path", "/out/", "--pod", &all[0].workload], &|flow| flow.path.starts_with("/out/")),
    ];
    for (options, is_wanted) in wanted {
        let (shown, expected) = (shown(&scratch, options)?, all.iter().filter(|flow| is_wanted(flow)).count());
        ensure!(expected > 0 && expected < all.len(), "{options:?}: the case says nothing");
        ensure!(shown.len() == expected && shown.iter().all(is_wanted), "{options:?}: {shown:?}");
    }
    for options in [["--reason", "ambiguous"], ["--pod", "other"], ["--namespace", "other"]] {
        ensure!(shown(&scratch, &options)?.is_empty(), "{options:?}");
    }
    Ok(())
}

#[test]
fn requests_are_told_with_their_values_and_responses() -> Result<()> {
    let scratch = Scratch::new()?;
    record(&scratch)?;
    let all = flows::read(&scratch.join("recorded"))?;
    let carried: Vec<_> = all.iter().filter_map(|flow| flow.values.get("x-telepresence-id")).collect();
    ensure!(!carried.is_empty() && carried.iter().all(|value| value.starts_with("prob… (")), "{carried:?}");
    for kind in ["inbound", "outbound"] {
        let mut told = 0;
        for (number, request) in all.iter().enumerate().filter(|(_, flow)| flow.kind == kind) {
            // The last ones may not have been answered when the recording ended.
            let later = all[number + 1..].iter().find(|flow| flow.connection == request.connection);
            let Some(response) = later else { continue };
            ensure!(
                response.kind == "response" && response.answers.as_deref() == Some(kind),
                "{request:?}: {response:?}"
            );
            ensure!(response.status == Some(200) && response.latency_us.is_some(), "{response:?}");
            ensure!((&response.path, &response.peer) == (&request.path, &request.peer), "{request:?}: {response:?}");
            told += 1;
        }
        ensure!(told > 0, "no response to an {kind} request: {all:?}");
    }
    Ok(())
}

#[test]
fn people_get_colours_on_a_terminal_only() -> Result<()> {
    let scratch = Scratch::new()?;
    record(&scratch)?;
    let plain = process::run(watch(&scratch, &[])?, b"", LIMIT)?;
    let lines = flows::read(&scratch.join("recorded"))?.len();
    let text = String::from_utf8(plain.stdout)?;
    ensure!(plain.code == 0 && text.lines().count() == lines && !text.contains('\x1b'), "{text}");
    // script(1) gives the command a terminal.
    let mut terminal = baton_tests::programs::command("script")?;
    let command = watch(&scratch, &[])?;
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    terminal.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).env("TERM", "xterm");
    let coloured = process::run(terminal, b"", LIMIT)?;
    ensure!(String::from_utf8_lossy(&coloured.stdout).contains("\x1b[32minjected\x1b[0m"), "{coloured:?}");
    Ok(())
}

#[test]
fn what_cannot_be_read_is_named() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.write("recorded", "{\"kind\":\"missed\",\"count\":1}\nnonsense\n")?;
    let finished = process::run(watch(&scratch, &[])?, b"", LIMIT)?;
    let place = format!("line 2 of {}", file.display());
    ensure!(finished.code != 0 && finished.stderr.contains(&place), "{finished:?}");
    std::fs::remove_file(&file)?;
    let finished = process::run(watch(&scratch, &[])?, b"", LIMIT)?;
    ensure!(finished.code == 64 && finished.stderr.contains("cannot read"), "{finished:?}");
    Ok(())
}
