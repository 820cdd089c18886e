//! The demo that loses headers, used as it says: its own command tells where.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::process::{self, Running};
use baton_tests::programs::{require_root, workspace};
use baton_tests::scratch::Scratch;
use baton_tests::{baton, cgroup, wait};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(60);

/// The task runner: `$BATON_XTASK_BIN`, or the development build of this workspace.
fn xtask() -> Result<PathBuf> {
    let named = std::env::var_os("BATON_XTASK_BIN").map(PathBuf::from);
    let program = named.unwrap_or_else(|| workspace().join("target/debug/xtask"));
    ensure!(program.is_file(), "{} is missing: `cargo build --package xtask` builds it", program.display());
    Ok(program)
}

#[test]
fn a_planted_loss_is_found_with_the_command_that_the_demo_shows() -> Result<()> {
    require_root()?;
    let (objects, cgroups) = (Objects::now()?, cgroup::all()?);
    let scratch = Scratch::new()?;
    let mut demo = Command::new(xtask()?);
    demo.args(["demo", "--break", "--baton"]).arg(baton::binary()?);
    let mut demo = Running::spawn(demo, scratch.join("demo"))?;
    let command = wait::until("the demo's command", LIMIT, || {
        ensure!(demo.ended()?.is_none(), "the demo ended: {}", demo.output());
        let output = demo.output();
        let is_complete = output.contains("Ctrl-C ends it");
        Ok(output.lines().find(|line| is_complete && line.contains(" explain ")).map(str::to_owned))
    })?;
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]);
    let finished = process::run(shell, b"", LIMIT)?;
    let text = String::from_utf8_lossy(&finished.stdout);
    ensure!(finished.code == 0, "{}", finished.stderr);
    ensure!(text.contains("LOST HERE: no-context") && text.contains("Perhaps lost in orders, GET /order/"), "{text}");

    demo.signal(Signal::SIGINT)?;
    let status = process::code(demo.wait(LIMIT)?);
    ensure!(status == 130, "status {status}: {}", demo.output());
    let directory = std::env::temp_dir().join(format!("baton-demo-{}", demo.pid()));
    ensure!(!directory.exists(), "left {}", directory.display());
    ensure!(cgroup::all()? == cgroups, "left a cgroup");
    nothing_new_since(&objects).context("left something in the kernel")
}
