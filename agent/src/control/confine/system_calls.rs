//! The system calls that stay: a seccomp filter for all threads.
//!
//! What is not listed fails with EPERM, and does not kill: a call that was forgotten here costs what needs it, and not
//! propagation. (What is not of this architecture kills; nobody asks for that by mistake.)

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::Needs;

/// Calls without a look at their arguments. None of them starts another program, looks into another process or changes
/// it, loads code into the kernel, mounts, or changes who this process is.
const PLAIN: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, their signals and locks; forks, for another guard.
    // This one is refused by the other filter: of two refusals that of the filter which came last would count.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setsid,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Who and where this is.
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Files.
    libc::SYS_chdir,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Events.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets. No listen: nobody can be invited later.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Other processes' sockets.
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
];

/// The same that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_fork,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Commands of bpf() (include/uapi/linux/bpf.h, `enum bpf_cmd`) on what this process holds. None of those that find
/// others' programs, maps and links by number.
const BPF: &[u32] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    5,  // BPF_PROG_LOAD: programs for processes, when the first is seen that needs them
    8,  // BPF_PROG_ATTACH
    9,  // BPF_PROG_DETACH
    15, // BPF_OBJ_GET_INFO_BY_FD
    16, // BPF_PROG_QUERY
    21, // BPF_MAP_LOOKUP_AND_DELETE_ELEM
    24, // BPF_MAP_LOOKUP_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    28, // BPF_LINK_CREATE
    33, // BPF_ITER_CREATE
];

/// BPF_OBJ_GET: a map by its path.
const BPF_OBJ_GET: u32 = 7;

/// What may be asked of the device or socket behind a descriptor, in 32 bits (fs/ioctl.c). Nothing that writes to a terminal's input.
const IOCTL: &[u32] = &[
    libc::FIONREAD as u32,
    libc::FIONBIO as u32,
    libc::FIOCLEX as u32,
    libc::TCGETS as u32,
    libc::TIOCGWINSZ as u32,
    // PERF_EVENT_IOC_ENABLE, _DISABLE, _SET_BPF (include/uapi/linux/perf_event.h)
    0x2400,
    0x2401,
    0x4004_2408,
];

/// Of prctl(): names of threads and of memory, and with which parent to end.
const PRCTL: &[u32] = &[libc::PR_SET_NAME as u32, libc::PR_GET_NAME as u32, libc::PR_SET_PDEATHSIG as u32, PR_SET_VMA];

/// include/uapi/linux/prctl.h
const PR_SET_VMA: u32 = 0x5356_4d41;

/// Kinds of sockets: none with raw packets, nor the kernel's cryptography.
const FAMILIES: &[u32] = &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// Flags of clone() that make namespaces (include/uapi/linux/sched.h): time, mount, cgroup, UTS, IPC, user, PID, network.
const NEW_NAMESPACES: u64 = 0x7e02_0080;

/// What a call's argument must be.
type Rules = Vec<SeccompRule>;

/// Restricts all threads of this process, and its forks. Returns how many system calls are left.
pub(super) fn restrict(needs: Needs) -> Result<usize, Error> {
    let calls = allowed(needs)?;
    let count = calls.len();
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply(unknown()?, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))?;
    // The last, since it allows no more filters.
    apply(calls, refused, SeccompAction::Allow)?;
    Ok(count)
}

fn apply(calls: BTreeMap<c_long, Rules>, mismatch: SeccompAction, matched: SeccompAction) -> Result<(), Error> {
    seccompiler::apply_filter_all_threads(&compiled(calls, mismatch, matched)?)
}

fn compiled(
    calls: BTreeMap<c_long, Rules>,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(calls, mismatch, matched, architecture)?.try_into()?)
}

/// Calls that are said not to exist: the C library then uses others, whose arguments can be looked at.
fn unknown() -> Result<BTreeMap<c_long, Rules>, Error> {
    Ok(BTreeMap::from([(libc::SYS_clone3, Vec::new())]))
}

/// What stays, by the call's number; without rules, whatever the arguments are.
fn allowed(needs: Needs) -> Result<BTreeMap<c_long, Rules>, Error> {
    let mut all: BTreeMap<c_long, Rules> = PLAIN.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    let mut commands = BPF.to_vec();
    if needs.pins {
        commands.push(BPF_OBJ_GET);
    }
    all.insert(libc::SYS_bpf, one_of(0, &commands)?);
    if needs.perf {
        all.insert(libc::SYS_perf_event_open, Vec::new());
    }
    if needs.signals {
        all.insert(libc::SYS_kill, Vec::new());
    }
    all.insert(libc::SYS_clone, vec![rule(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
    all.insert(libc::SYS_ioctl, one_of(1, IOCTL)?);
    all.insert(libc::SYS_prctl, one_of(0, PRCTL)?);
    // Asks, and of this process.
    all.insert(libc::SYS_prlimit64, one_of(0, &[0])?);
    all.insert(libc::SYS_setns, one_of(1, &[libc::CLONE_NEWNET.cast_unsigned()])?);
    all.insert(libc::SYS_socket, one_of(0, FAMILIES)?);
    all.insert(libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX.cast_unsigned()])?);
    // Memory is written to or run, not both.
    let absent =
        |flag: i32| rule(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned())), 0);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        all.insert(call, vec![absent(libc::PROT_WRITE)?, absent(libc::PROT_EXEC)?]);
    }
    Ok(all)
}

/// The argument `index` is one of `values`, of 32 bits.
fn one_of(index: u8, values: &[u32]) -> Result<Rules, Error> {
    values.iter().map(|value| rule(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(*value))).collect()
}

fn rule(index: u8, length: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(vec![SeccompCondition::new(index, length, operator, value)?])?)
}

/// Whether this kernel has seccomp filters (CONFIG_SECCOMP_FILTER).
pub(super) fn is_supported() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Seccomp:")))
        && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

#[cfg(test)]
mod tests;
