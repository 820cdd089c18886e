//! What baton needs of the process's rights and of the kernel.

use super::btf::Types;
use crate::control::cgroup;
use crate::failure::Failure;

/// A capability that baton needs (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capability {
    /// Its name.
    pub(crate) name: &'static str,
    bit: u32,
    /// What for.
    pub(crate) purpose: &'static str,
    /// Whether CAP_SYS_ADMIN includes it.
    with_sys_admin: bool,
}

/// All capabilities that baton needs.
pub(crate) const CAPABILITIES: [Capability; 3] = [
    Capability { name: "CAP_BPF", bit: 39, purpose: "to load programs and maps", with_sys_admin: true },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        purpose: "to attach programs to sockets and cgroups",
        with_sys_admin: false,
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        purpose: "to attach tracepoints and read kernel memory",
        with_sys_admin: true,
    },
];

const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;

/// What no program can do without, and the kernel version that brought it: the newest is named first.
const HELPERS: [(&str, &str, &str); 2] =
    [("BPF_FUNC_loop", "bpf_loop()", "5.17"), ("BPF_FUNC_task_pt_regs", "bpf_task_pt_regs()", "5.15")];

/// Refuses to start without the rights or cgroup v2, before anything is loaded.
/// What the kernel lacks shows when its types are read ([`super::layout`]).
///
/// # Errors
/// [`Failure::Privileges`] or [`Failure::NoCgroup2`].
pub(crate) fn require() -> Result<(), Failure> {
    let missing = missing_capabilities();
    if let [first, ..] = missing.as_slice() {
        let names: Vec<_> = missing.iter().map(|capability| capability.name).collect();
        let who = if nix::unistd::geteuid().is_root() { "root lacks" } else { "this user is not root and lacks" };
        return Err(Failure::Privileges(format!(
            "{who} {}, needed {}: run baton as root, or grant it with `setcap` or in the container's securityContext",
            names.join(", "),
            first.purpose
        )));
    }
    cgroup::mount()?;
    Ok(())
}

/// Refuses a kernel that `btf` describes and that is too old.
///
/// # Errors
/// [`Failure::KernelLacks`].
pub(super) fn require_helpers(types: &Types) -> Result<(), Failure> {
    let lacks = |(id, ..): &&(&str, &str, &str)| types.enumerator("bpf_func_id", id).is_none();
    match HELPERS.iter().find(lacks) {
        None => Ok(()),
        Some((_, helper, version)) => Err(Failure::KernelLacks(format!(
            "{} is too old: it has no {helper} for eBPF programs, which came with Linux {version}; use 6.1 or later",
            kernel_version()
        ))),
    }
}

/// The needed capabilities that this process does not have.
pub(crate) fn missing_capabilities() -> Vec<Capability> {
    let effective = effective_capabilities();
    let has = |bit: u32| effective >> bit & 1 == 1;
    CAPABILITIES
        .into_iter()
        .filter(|capability| !(has(capability.bit) || capability.with_sys_admin && has(SYS_ADMIN)))
        .collect()
}

/// Whether this process may copy other processes' descriptors.
pub(crate) fn has_sys_ptrace() -> bool {
    effective_capabilities() >> SYS_PTRACE & 1 == 1
}

/// Whether this process may do what only CAP_SYS_ADMIN allows.
pub(crate) fn has_sys_admin() -> bool {
    effective_capabilities() >> SYS_ADMIN & 1 == 1
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// The running kernel's release.
pub(crate) fn kernel_version() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| format!("Linux {}", name.release().to_string_lossy()))
}
