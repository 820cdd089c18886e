//! What baton gives up once all is loaded, and that it goes on working with the rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{Daemon, Exec};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::probe::Probe;
use baton_tests::process::{self, Running};
use baton_tests::programs::{self, Go};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::{namespace, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(20);

// include/uapi/linux/capability.h
const DAC_READ_SEARCH: u32 = 2;
const KILL: u32 = 5;
const NET_ADMIN: u32 = 12;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

const ALWAYS: [u32; 5] = [DAC_READ_SEARCH, NET_ADMIN, SYS_PTRACE, PERFMON, BPF];

/// [`ALWAYS`], and `more`; and CAP_SYS_ADMIN where this kernel attaches probes with perf events only (before 6.10).
fn with(more: &[u32]) -> Result<Vec<u32>> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let is_old = (numbers.next(), numbers.next()) < (Some(6), Some(10));
    let mut all = [&ALWAYS[..], more].concat();
    if is_old && !all.contains(&SYS_ADMIN) {
        all.push(SYS_ADMIN);
    }
    Ok(all)
}

/// A line of a process's or thread's `status` (proc(5)).
fn field(status: &str, name: &str) -> Result<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().to_owned())
}

/// Fails unless all threads of `process` have no more capabilities than `most`, cannot gain any, and have a filter.
fn is_confined(process: i32, most: &[u32]) -> Result<()> {
    let most: u64 = most.iter().map(|bit| 1 << bit).sum();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let set = |name: &str| Ok::<_, anyhow::Error>(u64::from_str_radix(&field(&status, name)?, 16)?);
        ensure!(set("CapEff")? == most && set("CapPrm")? == most, "not {most:x}:\n{status}");
        ensure!(set("CapInh")? == 0 && set("CapAmb")? == 0 && set("CapBnd")? == 0, "{status}");
        ensure!(field(&status, "NoNewPrivs")? == "1" && field(&status, "Seccomp")? == "2", "{status}");
    }
    Ok(())
}

/// The guard of the daemon, or of `baton exec`, with this id.
fn guard(parent: i32) -> Result<Option<i32>> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    let mut children = children.split_whitespace().filter_map(|child| child.parse::<i32>().ok());
    let is_guard = |child: &i32| {
        std::fs::read_to_string(format!("/proc/{child}/status"))
            .is_ok_and(|status| status.contains("baton-guard") && !status.contains("(zombie)"))
    };
    Ok(children.find(is_guard))
}

fn guard_of(parent: i32) -> Result<i32> {
    wait::until("a guard", LIMIT, || guard(parent))
}

/// The inodes of the sockets that a process holds.
fn sockets(process: i32) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let target = std::fs::read_link(entry?.path()).unwrap_or_default();
        let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
        found.extend(inode.map(str::to_owned));
    }
    Ok(found)
}

/// Those lines of a process's tables of internet sockets that tell of its own.
fn listed(process: i32) -> Result<Vec<String>> {
    let own = sockets(process)?;
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        let is_own = |line: &&str| line.split_whitespace().nth(9).is_some_and(|inode| own.contains(inode));
        found.extend(table.lines().filter(is_own).map(str::to_owned));
    }
    Ok(found)
}

#[test]
fn the_daemon_keeps_what_it_needs_and_works_with_that() -> Result<()> {
    let before = Objects::now()?;
    let recorder = Recorder::echoing_targets()?;
    let (first, later, go, python) = (Cgroup::new()?, Cgroup::new()?, Cgroup::new()?, Cgroup::new()?);
    let url = recorder.url();
    let apps = [
        relay::c(&url, Backend::Kept)?.start(&Launch::In(&first))?,
        relay::python_threads(&url, Backend::Kept)?.start(&Launch::In(&later))?,
    ];
    let mut kept = Probe::kept(apps[1].address(), &recorder);
    ensure!(kept.relay(Some("early"))?.carried()?.is_none(), "without baton");
    let daemon = Daemon::start_with(&[first.path()], &["--log", "info"], &[])?;
    is_confined(daemon.pid(), &with(&[])?).context("the daemon")?;
    is_confined(guard_of(daemon.pid())?, &with(&[])?).context("its guard")?;
    ensure!(daemon.output().contains("confined"), "not a word about it: {}", daemon.output());
    ensure!(listed(daemon.pid())?.is_empty(), "it is in the network: {:?}", listed(daemon.pid())?);
    ensure!(Probe::fresh(apps[0].address(), &recorder).is_propagated()?, "{}", daemon.output());

    // Workloads that come later, one with connections that are open already.
    daemon.reload(&[first.path(), later.path(), go.path(), python.path()])?;
    wait::until("the open connections", LIMIT, || Ok(kept.is_propagated()?.then_some(())))
        .with_context(|| daemon.output())?;
    // Programs that need probes.
    for (program, cgroup) in
        [(relay::go(&url, Go::NewStripped)?, &go), (relay::python_threads(&url, Backend::Fresh)?, &python)]
    {
        let app = program.start(&Launch::In(cgroup))?;
        let mut client = Probe::fresh(app.address(), &recorder);
        wait::until("a runtime", LIMIT, || Ok(client.is_propagated()?.then_some(())))
            .with_context(|| daemon.output())?;
        app.stop()?;
    }
    ensure!(!daemon.output().contains("not supported"), "{}", daemon.output());

    // Another guard.
    let killed = guard_of(daemon.pid())?;
    kill(Pid::from_raw(killed), Signal::SIGKILL)?;
    let new = wait::until("another guard", LIMIT, || Ok(guard(daemon.pid())?.filter(|guard| *guard != killed)))?;
    is_confined(new, &with(&[])?).context("another guard")?;
    is_confined(daemon.pid(), &with(&[])?).context("the daemon, later")?;

    // A workload goes, with connections that leave.
    daemon.reload(&[first.path()])?;
    wait::until("the end of a workload", LIMIT, || Ok((!kept.is_propagated()?).then_some(())))?;
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    nothing_new_since(&before)
}

#[test]
fn a_killed_daemon_leaves_nothing() -> Result<()> {
    let before = Objects::now()?;
    let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
    let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
    let daemon = Daemon::start(&[cgroup.path()])?;
    let mut client = Probe::kept(app.address(), &recorder);
    ensure!(client.is_propagated()?, "{}", daemon.output());
    daemon.kill()?;
    nothing_new_since(&before)?;
    ensure!(!client.is_propagated()?, "it goes on without the daemon");
    Ok(())
}

/// Sockets leave at once where their network namespace may be entered.
#[test]
fn other_network_namespaces_are_entered() -> Result<()> {
    let before = Objects::now()?;
    let cgroup = Cgroup::new()?;
    namespace::within(&[], || {
        let recorder = Recorder::echoing_targets()?;
        let app = relay::c(&recorder.url(), Backend::Kept)?.start(&Launch::In(&cgroup))?;
        let daemon = Daemon::outside(&[cgroup.path()])?;
        is_confined(daemon.pid(), &with(&[SYS_ADMIN])?)?;
        let mut client = Probe::kept(app.address(), &recorder);
        ensure!(client.is_propagated()?, "{}", daemon.output());
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
        app.stop().map(drop)
    })?;
    nothing_new_since(&before)
}

/// The lines of `status` that say what a process may do.
fn rights(status: &str) -> Vec<&str> {
    const NAMES: [&str; 7] = ["Cap", "NoNewPrivs:", "Seccomp", "Uid:", "Gid:", "Groups:", "Speculation"];
    status.lines().filter(|line| NAMES.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn a_command_has_the_rights_that_it_has_without_baton() -> Result<()> {
    let mut command = Command::new("cat");
    command.arg("/proc/self/status");
    let with = process::run(Exec::default().wrap(&command)?, b"", LIMIT)?;
    let plain = process::run(command, b"", LIMIT)?;
    let [plain, with] = [plain, with].map(|finished| String::from_utf8_lossy(&finished.stdout).into_owned());
    ensure!(rights(&plain).len() > 9 && rights(&plain) == rights(&with), "{plain}\nbecame\n{with}");
    Ok(())
}

#[test]
fn a_command_of_another_user_gets_its_signals() -> Result<()> {
    let (scratch, cgroup) = (Scratch::new()?, Cgroup::new()?);
    let mut command = programs::command("setpriv")?;
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"]);
    command.arg("trap 'echo got it; exit 9' TERM; echo listening; while :; do sleep 0.05; done");
    let baton = cgroup.wrap(&Exec::default().wrap(&command)?);
    let mut baton = Running::spawn(baton, scratch.join("output"))?;
    wait::until("the command", LIMIT, || Ok(baton.output().contains("listening").then_some(())))?;
    let process = baton.pid().as_raw();
    wait::until("a filter", LIMIT, || {
        Ok((field(&std::fs::read_to_string(format!("/proc/{process}/status"))?, "Seccomp")? == "2").then_some(()))
    })?;
    is_confined(process, &with(&[KILL])?)?;
    is_confined(guard_of(process)?, &ALWAYS)?;
    baton.signal(Signal::SIGTERM)?;
    let code = process::code(baton.wait(LIMIT)?);
    ensure!(code == 9 && baton.output().contains("got it"), "{code}\n{}", baton.output());
    Ok(())
}

/// Where its cgroup belongs to another user, who may not be passed by without CAP_DAC_OVERRIDE.
#[test]
fn the_cgroup_of_a_command_goes_whoever_owns_its_parent() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let user = Some(nix::unistd::Uid::from_raw(65534));
    let files: Vec<PathBuf> = std::fs::read_dir(cgroup.path())?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    for path in files.iter().map(PathBuf::as_path).chain([cgroup.path()]) {
        nix::unistd::chown(path, user, None)?;
    }
    let finished = process::run(cgroup.wrap(&Exec::default().wrap(&Command::new("true"))?), b"", LIMIT)?;
    ensure!(finished.code == 0, "{finished:?}");
    let is_directory = |path: &Path| path.is_dir();
    let left = || std::fs::read_dir(cgroup.path()).into_iter().flatten().flatten().any(|one| is_directory(&one.path()));
    ensure!(!left(), "its cgroup was left behind");
    Ok(())
}
