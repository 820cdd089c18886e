//! `baton doctor`: what this machine offers, which hooks are used, what the
//! self-test finds, and what to do where something is missing.

mod confinement;
mod hooks;

use serde::Serialize;

use self::hooks::{Hook, Offer};
use crate::cli::Doctor;
use crate::config::Limits;
use crate::config::headers::Headers;
use crate::control::cgroup;
use crate::datapath::hook::ReadHook;
use crate::datapath::layout;
use crate::datapath::load::{Datapath, Options};
use crate::datapath::probe::{self, CAPABILITIES};
use crate::datapath::selftest::{self, Finding};
use crate::failure::Failure;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Works, with a limit.
    Note,
    /// baton cannot run.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    remedy: Option<String>,
}

/// What `baton doctor` found.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    kernel: String,
    checks: Vec<Check>,
    hooks: Vec<Hook>,
    /// What could see reads; empty where the programs cannot be loaded.
    read_hooks: Vec<Offer>,
    /// Kernel memory of all maps, in bytes, with the default limits.
    map_bytes: Option<u64>,
}

/// Looks at everything, and says it. The exit status is that of the first thing
/// that keeps baton from running.
pub(crate) fn run(doctor: &Doctor) -> anyhow::Result<u8> {
    if let Some(id) = doctor.pid {
        return super::process::run(id, doctor.json).map(|()| 0);
    }
    let status;
    let mut checks = kernel().to_vec();
    checks.push(cgroups());
    checks.extend(capabilities());
    let (mut map_bytes, mut read_hooks) = (None, Vec::new());
    let is_missing = |checks: &[Check]| checks.iter().any(|check| check.status == Status::Missing);
    if is_missing(&checks) {
        status =
            probe::require().and_then(|()| layout::resolve().map(drop)).err().map_or(0, |failure| failure.status());
    } else {
        match load(doctor.hook) {
            Ok(mut datapath) => {
                checks.push(Check {
                    name: "programs",
                    status: Status::Ok,
                    detail: "the kernel accepts all of them".to_owned(),
                    remedy: None,
                });
                map_bytes = memory_of_maps();
                read_hooks = hooks::offers(&mut datapath)?;
                let (check, failed) = self_test(&mut datapath);
                checks.push(check);
                status = failed;
                checks.push(runtimes(&mut datapath));
                checks.push(confinement::check(&mut datapath));
            }
            Err(error) => {
                status = error.downcast_ref::<Failure>().map_or(1, Failure::status);
                checks.push(Check {
                    name: "programs",
                    status: Status::Missing,
                    detail: format!("{error:#}"),
                    remedy: Some("use a kernel of a current distribution, and tell us of this one".to_owned()),
                });
            }
        }
    }
    let (ok, hooks) = (!is_missing(&checks), hooks::all(&read_hooks));
    let report = Report { ok, kernel: probe::kernel_version(), checks, hooks, read_hooks, map_bytes };
    super::print(&if doctor.json { serde_json::to_string(&report)? } else { text(&report) });
    Ok(status)
}

/// The kernel's age, and whether it describes its types.
fn kernel() -> [Check; 2] {
    let (version, types) = (probe::kernel_version(), layout::BTF_PATH.to_owned());
    let mut kernel = Check { name: "kernel", status: Status::Ok, detail: version, remedy: None };
    let mut btf = Check { name: "type information", status: Status::Ok, detail: types, remedy: None };
    match layout::resolve() {
        Ok(_) => {}
        Err(Failure::KernelLacks(what)) => {
            kernel.status = Status::Missing;
            kernel.detail = what;
            kernel.remedy = Some("use Linux 6.1 or later".to_owned());
        }
        Err(error) => {
            btf.status = Status::Missing;
            btf.detail = error.to_string();
            btf.remedy = Some("use a kernel that was built with CONFIG_DEBUG_INFO_BTF=y".to_owned());
        }
    }
    [kernel, btf]
}

fn cgroups() -> Check {
    match cgroup::mount() {
        Ok(path) => Check { name: "cgroup v2", status: Status::Ok, detail: path.display().to_string(), remedy: None },
        Err(error) => Check {
            name: "cgroup v2",
            status: Status::Missing,
            detail: "no cgroup v2 hierarchy is mounted".to_owned(),
            remedy: Some(error.to_string()),
        },
    }
}

fn capabilities() -> Vec<Check> {
    let missing: Vec<&str> = probe::missing_capabilities().iter().map(|capability| capability.name).collect();
    let mut checks: Vec<Check> = CAPABILITIES
        .iter()
        .map(|capability| {
            let is_there = !missing.contains(&capability.name);
            Check {
                name: capability.name,
                status: if is_there { Status::Ok } else { Status::Missing },
                detail: capability.purpose.to_owned(),
                remedy: (!is_there).then(|| "run baton as root, or grant the capability".to_owned()),
            }
        })
        .collect();
    let (ptrace, purpose) = (probe::has_sys_ptrace(), "to take in connections that are open when `baton run` starts");
    checks.push(Check {
        name: "CAP_SYS_PTRACE",
        status: if ptrace { Status::Ok } else { Status::Note },
        detail: purpose.to_owned(),
        remedy: (!ptrace).then(|| "without it, connections are followed from their next opening on".to_owned()),
    });
    checks
}

fn load(hook: Option<ReadHook>) -> anyhow::Result<Datapath> {
    let limits = Limits::default();
    Datapath::load(
        Options { contexts: limits.contexts, max_age: limits.max_age(), hook },
        &Headers::resolve(&[], &[])?.table()?,
    )
}

/// Without them baton runs, and follows threads only.
fn runtimes(datapath: &mut Datapath) -> Check {
    let (status, detail, remedy) = match datapath.load_for_processes() {
        Ok(true) => (Status::Ok, "the kernel accepts their programs, and lets baton attach them".to_owned(), None),
        Ok(false) => (
            Status::Note,
            "this kernel lets only CAP_SYS_ADMIN attach programs to processes, so Go, Python, PHP-FPM and event loops in Java are not told apart: they count as unsupported-runtime".to_owned(),
            Some("use Linux 6.10 or later, or grant CAP_SYS_ADMIN".to_owned()),
        ),
        Err(error) => (Status::Note, format!("{error:#}"), Some("report it: threads are followed without".to_owned())),
    };
    Check { name: "language runtimes", status, detail, remedy }
}

fn self_test(datapath: &mut Datapath) -> (Check, u8) {
    match selftest::choose(datapath) {
        Ok(Finding::Good) => {
            let detail = "sockets behave as they should, and an inserted line arrives";
            (Check { name: "self-test", status: Status::Ok, detail: detail.to_owned(), remedy: None }, 0)
        }
        Ok(Finding::Cured) => {
            let detail = "an inserted line arrives; this kernel's FIONREAD is wrong for sockets in a SOCKHASH, so received data passes through a stream verdict, with which all is well";
            (Check { name: "self-test", status: Status::Ok, detail: detail.to_owned(), remedy: None }, 0)
        }
        Err(error) => (
            Check {
                name: "self-test",
                status: Status::Missing,
                detail: format!("{error:#}"),
                remedy: Some(
                    "use another kernel: on this one baton could break connections, so it does not start".to_owned(),
                ),
            },
            error.downcast_ref::<Failure>().map_or(1, Failure::status),
        ),
    }
}

/// Kernel memory of this process's maps, as the kernel counts it.
fn memory_of_maps() -> Option<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc/self/fd").ok()?.flatten() {
        let is_map = std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-map");
        if is_map {
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", entry.file_name().to_string_lossy())).ok()?;
            sum += info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<u64>().ok())?;
        }
    }
    Some(sum)
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("baton {} on {}", env!("CARGO_PKG_VERSION"), report.kernel), String::new()];
    for check in &report.checks {
        let mark = match check.status {
            Status::Ok => "ok  ",
            Status::Note => "note",
            Status::Missing => "FAIL",
        };
        lines.push(format!("{mark}  {:<16}  {}", check.name, check.detail));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("{:24}→ {remedy}", ""));
        }
    }
    lines.push(String::new());
    lines.extend(hooks::lines(&report.hooks));
    if let Some(bytes) = report.map_bytes {
        lines.push(String::new());
        lines.push(format!("Maps take {:.1} MB of kernel memory with the default limits.", bytes as f64 / 1e6));
    }
    lines.push(String::new());
    lines.push(if report.ok { "baton can run here." } else { "baton cannot run here: see FAIL above." }.to_owned());
    lines.join("\n")
}
