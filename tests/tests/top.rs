//! `baton watch --top` on a real terminal, with a real daemon and real traffic.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::load::Client;
use baton_tests::process;
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::terminal::Terminal;
use baton_tests::wait;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);

fn top(source: &str, path: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let mut top = baton::command(["watch", "--top", source])?;
    top.arg(path).env_remove("NO_COLOR");
    Ok(top)
}

/// Two inbound and three outbound requests of a pod, two of them lost, in two seconds; and one of another pod.
fn recorded(scratch: &Scratch) -> Result<std::path::PathBuf> {
    let line = |second: u32, kind: &str, pod: &str, path: &str, verdict: &str, reason: &str| {
        let null = |text: &str| if text.is_empty() { "null".to_owned() } else { format!("\"{text}\"") };
        format!(
            r#"{{"time":"2026-01-02T03:04:0{second}.000000Z","kind":"{kind}","workload":"shop/{pod}","pid":1,"tid":2,"comm":"app","runtime":"native","method":"GET","path":"{path}","peer":"10.0.0.1:80","headers":[],"verdict":{},"reason":{},"context":null}}"#,
            null(verdict),
            null(reason)
        )
    };
    let lines = [
        line(0, "inbound", "cart", "/cart", "", ""),
        line(0, "outbound", "cart", "/stock", "injected", ""),
        line(1, "inbound", "cart", "/cart", "", ""),
        line(1, "outbound", "cart", "/price", "lost", "ambiguous"),
        line(2, "outbound", "cart", "/\\u001b[2Jlast", "lost", "no-context"),
        line(2, "inbound", "web", "/", "", ""),
        r#"{"kind":"missed","count":7}"#.to_owned(),
    ];
    scratch.write("recorded", lines.join("\n"))
}

/// Whether some line begins so.
fn begins(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.starts_with(text))
}

#[test]
fn workloads_and_their_last_requests_are_seen() -> Result<()> {
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let mut terminal = Terminal::start(&top("--socket", daemon.socket())?, 120, 30)?;
    terminal.wait("a view without workloads", |lines| begins(lines, "No request yet."))?;
    let send = |id: &str, via: &str| {
        let fields = [("x-telepresence-id", "dev-seven")];
        Client::new(app.address(), false).get(&format!("/relay?id={id}&n=1&via={via}"), &fields).map(drop)
    };
    let name = cgroup.path().file_name().context("a name")?.to_string_lossy().into_owned();
    wait::until("the workload with both verdicts", LIMIT, || {
        send("kept", "direct")?;
        send("lost", "thread")?;
        let row = terminal.lines().into_iter().find(|line| line.starts_with(&name)).unwrap_or_default();
        let rate = row.split_whitespace().nth(1).and_then(|rate| rate.parse::<f64>().ok());
        let is_whole = row.contains(" %") && !row.contains(" 0.0 %") && row.contains(" ms ");
        Ok((rate > Some(0.0) && is_whole && row.contains(" ambiguous ")).then_some(()))
    })
    .with_context(|| terminal.lines().join("\n"))?;

    send("newest", "thread")?;
    terminal.press("\r")?;
    terminal.wait("the last request, and what it caused", |lines| {
        let Some(first) = lines.iter().position(|line| line.contains("GET /")) else { return false };
        let (outbound, inbound) = (&lines[first], &lines[first + 1]);
        outbound.contains("GET /out/newest/1")
            && outbound.contains("lost: ambiguous")
            && inbound.contains("GET /relay")
            && inbound.contains("x-telepresence-id=dev-… (9)")
            && begins(lines, "why: ")
    })?;

    ensure!(daemon.stop()? == 0, "the daemon's status");
    terminal.wait("the daemon's end", |lines| begins(lines, "the daemon ended"))?;
    terminal.press("\x1b")?;
    terminal.wait("the list", |lines| begins(lines, &name))?;
    terminal.press("q")?;
    ensure!(process::code(terminal.finish()?) == 0, "{:#?}", terminal.lines());
    terminal.is_restored()
}

#[test]
fn a_recorded_file_has_its_sums() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut terminal = Terminal::start(&top("--from", recorded(&scratch)?)?, 100, 24)?;
    terminal.wait("the sums", |lines| {
        let cart: Vec<&str> = lines[2].split_whitespace().collect();
        lines[0].contains("2 workloads, 3.0 requests/s")
            && lines[0].ends_with("  2 s")
            && cart.starts_with(&["shop/cart", "2.5"])
            && lines[2].contains(" 33.3 %      2 ")
            && lines[2].ends_with("ambiguous 1, no-context 1")
            && lines[22] == "7 missed: too many at once"
    })?;
    // Its requests; what traffic says does nothing to the terminal.
    terminal.press("\r")?;
    terminal.wait("its requests", |lines| {
        let first = &lines[3];
        first.starts_with("03:04:02.000  out  app[2]")
            && first.contains("[2Jlast")
            && first.contains("lost: no-context")
            && begins(lines, "7 missed")
    })?;
    // The other pod, after a filter.
    terminal.press("\x7f/WEB\r")?;
    terminal.wait("the other pod alone", |lines| {
        lines[0].starts_with("baton  1 workload,") && lines[2].starts_with("shop/web") && lines[3].is_empty()
    })?;
    terminal.press("\x03")?;
    ensure!(process::code(terminal.finish()?) == 0, "{:#?}", terminal.lines());
    terminal.is_restored()
}

#[test]
fn it_follows_the_terminals_size() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut terminal = Terminal::start(&top("--from", recorded(&scratch)?)?, 80, 24)?;
    terminal.wait("all columns", |lines| lines[1].ends_with("LOST LOSSES BY REASON"))?;
    terminal.resize(40, 10)?;
    terminal.wait("fewer columns", |lines| {
        lines.len() == 10 && lines[1].ends_with("PROPAGATED   LOST") && lines[2].starts_with("shop/cart")
    })?;
    terminal.signal(Signal::SIGTERM)?;
    ensure!(process::code(terminal.finish()?) == 0, "{:#?}", terminal.lines());
    terminal.is_restored()
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = recorded(&scratch)?;
    for (no_color, is_coloured) in [("", true), ("1", false)] {
        let mut command = top("--from", &file)?;
        command.env("NO_COLOR", no_color);
        let mut terminal = Terminal::start(&command, 80, 24)?;
        terminal.wait("the pods", |lines| lines[2].starts_with("shop/cart") && lines[23].starts_with("q quit"))?;
        let coloured = terminal.screen(|screen| {
            let cells = (0..24).flat_map(|line| (0..80).filter_map(move |column| screen.cell(line, column)));
            cells.into_iter().any(|cell| cell.fgcolor() != vt100::Color::Default)
        });
        ensure!(coloured == is_coloured, "NO_COLOR={no_color}: {coloured}");
        terminal.press("q")?;
        terminal.finish()?;
        terminal.is_restored()?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_is_told_when_the_screen_is_gone() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = scratch.write("recorded", "nonsense\n")?;
    let mut terminal = Terminal::start(&top("--from", &file)?, 100, 24)?;
    terminal.wait("a word about it", |lines| begins(lines, "cannot use line 1 of"))?;
    terminal.press("q")?;
    ensure!(process::code(terminal.finish()?) == 74, "{:#?}", terminal.lines());
    terminal.is_restored()?;
    ensure!(
        terminal.lines().iter().any(|line| line.starts_with("baton: cannot use line 1 of")),
        "{:#?}",
        terminal.lines()
    );
    Ok(())
}

#[test]
fn without_a_terminal_it_says_so() -> Result<()> {
    let scratch = Scratch::new()?;
    let file = recorded(&scratch)?;
    let finished = process::run(top("--from", &file)?, b"", LIMIT)?;
    ensure!(finished.code == 64 && finished.stderr.contains("--top needs a terminal"), "{finished:?}");
    ensure!(finished.stdout.is_empty(), "{finished:?}");
    let mut both = top("--from", &file)?;
    both.arg("--json");
    let finished = process::run(both, b"", LIMIT)?;
    ensure!(finished.code == 64 && finished.stderr.contains("'--json'"), "{finished:?}");
    let mut dumb = top("--from", &file)?;
    dumb.env("TERM", "dumb");
    let mut terminal = Terminal::start(&dumb, 100, 24)?;
    ensure!(process::code(terminal.finish()?) == 64, "{:#?}", terminal.lines());
    terminal.is_restored()
}
