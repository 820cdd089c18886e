//! Bad input and missing privileges: one clear line, a distinct exit status, nothing half-attached.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::baton;
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup;
use baton_tests::process;
use baton_tests::programs::command;
use baton_tests::scratch::Scratch;

/// Runs a command that must refuse with this status and one line that contains `word`.
fn refuses(command: Command, status: i32, word: &str) -> Result<()> {
    let (objects, cgroups) = (Objects::now()?, cgroup::all()?);
    let shown = format!("{command:?}");
    let finished = process::run(command, b"", Duration::from_secs(30))?;
    let message = finished.stderr.trim();
    ensure!(finished.code == status, "{shown}: {} instead of {status}: {message}", finished.code);
    ensure!(message.lines().count() == 1 && message.contains(word), "{shown}: not one line with {word:?}: {message}");
    nothing_new_since(&objects).context(shown.clone())?;
    ensure!(cgroup::all()? == cgroups, "{shown}: left a cgroup behind");
    Ok(())
}

fn exec(options: &[&str]) -> Result<Command> {
    baton::command(["exec"].iter().chain(options).chain(&["--", "true"]))
}

#[test]
fn header_names_that_are_forbidden_or_no_names() -> Result<()> {
    for name in [
        "cookie",
        "Authorization",
        "host",
        "content-length",
        "content-*",
        "transfer-encoding",
        "connection",
        "proxy-x",
        "te",
    ] {
        refuses(exec(&["--headers", name])?, 64, &name.to_lowercase())?;
    }
    for name in ["bad name", "bad:name", "caf\u{e9}", "*", "a*b"] {
        refuses(exec(&["--headers", name])?, 64, name)?;
    }
    let many: Vec<_> = (0..65).map(|number| format!("x-{number}")).collect();
    refuses(exec(&["--headers", &many.join(",")])?, 64, "64")
}

/// A kernel need not have each kind of hook; the one that is asked for is not exchanged for another.
#[test]
fn a_hook_that_this_kernel_does_not_have() -> Result<()> {
    let doctor = process::run(baton::command(["doctor", "--json"])?, b"", Duration::from_secs(30))?;
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout)?;
    let hooks = report["read_hooks"].as_array().context("no hooks for reads")?;
    for hook in hooks {
        let kind = hook["kind"].as_str().context("a hook without a kind")?;
        if hook["missing"].is_null() {
            let finished = process::run(exec(&["--hook", kind])?, b"", Duration::from_secs(30))?;
            ensure!(finished.code == 0, "{kind}: {finished:?}");
        } else {
            refuses(exec(&["--hook", kind])?, 69, kind)?;
        }
    }
    refuses(exec(&["--hook", "no-such-hook"])?, 64, "no-such-hook")
}

#[test]
fn command_lines_that_make_no_sense() -> Result<()> {
    refuses(exec(&["--preset", "no-such-preset"])?, 64, "no-such-preset")?;
    refuses(exec(&["--egress", "10.0.0.0/99"])?, 64, "10.0.0.0/99")?;
    refuses(exec(&["--ingress", "ten"])?, 64, "ten")?;
    refuses(exec(&["--no-such-option"])?, 64, "--no-such-option")?;
    refuses(baton::command(["exec", "--headers", "x-a", "--"])?, 64, "")
}

#[test]
fn configurations_that_are_wrong() -> Result<()> {
    let scratch = Scratch::new()?;
    for (text, word) in [
        ("heders: [x-a]\n", "heders"),
        ("headers: x-a: b\n", "line"),
        ("headers: [cookie]\n", "cookie"),
        ("egress: [10.0.0.0/99]\n", "10.0.0.0/99"),
        ("limits: {contexts: no}\n", "contexts"),
    ] {
        let file = scratch.write("baton.yaml", text)?;
        let file = file.to_str().context("a path in UTF-8")?;
        refuses(exec(&["--config", file])?, 65, word).context(text)?;
    }
    Ok(())
}

#[test]
fn cgroups_that_are_missing_or_of_version_1() -> Result<()> {
    let missing = cgroup::mount("cgroup2")?.join("no-such-cgroup");
    refuses(run(&missing)?, 66, "no-such-cgroup")?;
    // Machines without cgroup v1 have nothing to refuse here.
    if let Ok(version_1) = cgroup::mount("cgroup") {
        refuses(run(&version_1)?, 71, "cgroup v2")?;
    }
    Ok(())
}

fn run(cgroup: &Path) -> Result<Command> {
    let mut command = baton::command(["run", "--headers", "x-a", "--cgroup"])?;
    command.arg(cgroup);
    Ok(command)
}

#[test]
fn without_root_or_a_capability() -> Result<()> {
    // Where another user can read it.
    let scratch = Scratch::new()?;
    let binary = scratch.join("baton");
    std::fs::copy(baton::binary()?, &binary)?;
    for (drop, word) in [
        (&["--reuid=nobody", "--regid=nogroup", "--clear-groups"][..], "root"),
        (&["--bounding-set=-bpf,-sys_admin"], "CAP_BPF"),
        (&["--bounding-set=-net_admin,-sys_admin"], "CAP_NET_ADMIN"),
        (&["--bounding-set=-perfmon,-sys_admin"], "CAP_PERFMON"),
    ] {
        let mut command = command("setpriv")?;
        command.args(drop).arg(&binary).args(["exec", "--headers", "x-a", "--", "true"]);
        refuses(command, 77, word)?;
    }
    Ok(())
}

#[test]
fn a_kernel_that_does_not_describe_its_types() -> Result<()> {
    // An empty directory in its place, for this one process.
    let scratch = Scratch::new()?;
    let script = "mount --bind \"$1\" /sys/kernel/btf && shift && exec \"$@\"";
    let mut unshare = command("unshare")?;
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(scratch.path()).arg(baton::binary()?);
    unshare.args(["exec", "--headers", "x-a", "--", "true"]);
    refuses(unshare, 69, "CONFIG_DEBUG_INFO_BTF")
}

#[test]
fn a_self_test_that_fails() -> Result<()> {
    // A network namespace whose loopback interface is down.
    let mut unshare = command("unshare")?;
    unshare.arg("--net").arg(baton::binary()?).args(["exec", "--headers", "x-a", "--", "true"]);
    refuses(unshare, 70, "self-test")
}
