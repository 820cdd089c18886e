//! What baton needs of the process's rights and of the kernel.

use std::path::Path;

use btf_rs::Btf;

use super::layout::BTF_PATH;
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

/// Tracepoints without which nothing works, and the kernel version that brought them.
pub(crate) const TRACEPOINTS: [&str; 1] = ["sock_recv_length"];

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

/// Refuses a kernel that `btf` describes and that lacks a tracepoint.
///
/// # Errors
/// [`Failure::KernelLacks`].
pub(crate) fn require_tracepoints(btf: &Btf) -> Result<(), Failure> {
    match missing_of(btf) {
        None => Ok(()),
        Some(missing) => Err(Failure::KernelLacks(format!(
            "it has no tracepoint {missing}, which came with Linux 6.3; this is {}",
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

/// A needed tracepoint that the kernel does not have.
///
/// # Errors
/// [`Failure::NoBtf`] if the kernel does not describe its types.
pub(crate) fn missing_tracepoint() -> Result<Option<&'static str>, Failure> {
    let btf = Btf::from_file(Path::new(BTF_PATH)).map_err(|error| Failure::NoBtf(error.to_string()))?;
    Ok(missing_of(&btf))
}

fn missing_of(btf: &Btf) -> Option<&'static str> {
    let is_missing = |name: &&str| btf.resolve_types_by_name(&format!("btf_trace_{name}")).is_err();
    TRACEPOINTS.into_iter().find(is_missing)
}

/// The running kernel's release.
pub(crate) fn kernel_version() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| format!("Linux {}", name.release().to_string_lossy()))
}
