#![expect(unsafe_code, reason = "system calls in a child of this process")]

use std::ffi::CStr;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::*;

/// A system call; negative if it fails.
type Attempt = fn() -> c_long;

/// What `attempt` leads to behind the filter for `needs`: 0, or the error.
fn behind(needs: Needs, attempt: Attempt) -> i32 {
    let deny = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = compiled(allowed(needs).expect("rules"), deny, SeccompAction::Allow).expect("a filter");
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let absent = compiled(unknown().expect("rules"), SeccompAction::Allow, absent).expect("a filter");
    // SAFETY: the child makes system calls and ends, and takes no lock.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            let is_on = seccompiler::apply_filter_all_threads(&absent).is_ok()
                && seccompiler::apply_filter_all_threads(&filter).is_ok();
            let result = if is_on { attempt() } else { 0 };
            // SAFETY: errno is this thread's own; the child ends without destructors.
            unsafe {
                let error = if result < 0 { *libc::__errno_location() } else { 0 };
                libc::_exit(if is_on { error } else { 255 })
            }
        }
        ForkResult::Parent { child } => match waitpid(child, None).expect("it ends") {
            WaitStatus::Exited(_, status) => status,
            other => panic!("{other:?}"),
        },
    }
}

/// What `attempt` leads to behind the usual filter.
fn usually(attempt: Attempt) -> i32 {
    behind(Needs::default(), attempt)
}

const PROGRAM: &CStr = c"/bin/true";

#[test]
fn programs_cannot_be_started() {
    let execute = || {
        let arguments = [PROGRAM.as_ptr(), std::ptr::null()];
        // SAFETY: both strings and the list end as they should.
        unsafe { libc::syscall(libc::SYS_execve, PROGRAM.as_ptr(), arguments.as_ptr(), std::ptr::null::<u8>()) }
    };
    assert_eq!(usually(execute), libc::EPERM);
    // SAFETY: as above.
    let at = || unsafe { libc::syscall(libc::SYS_execveat, libc::AT_FDCWD, PROGRAM.as_ptr(), 0, 0, 0) };
    assert_eq!(usually(at), libc::EPERM);
}

/// Calls that fail for other reasons where no filter refuses them.
fn call(number: c_long, arguments: [c_long; 3]) -> c_long {
    // SAFETY: none of the arguments in these tests is a valid address.
    unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) }
}

#[test]
fn what_an_attacker_would_want_is_refused() {
    const NOWHERE: c_long = -1;
    let attempts: [(&str, Attempt); 16] = [
        ("ptrace", || call(libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), NOWHERE, 0])),
        ("process_vm_writev", || call(libc::SYS_process_vm_writev, [NOWHERE, 0, 0])),
        ("mount", || call(libc::SYS_mount, [NOWHERE, NOWHERE, NOWHERE])),
        ("init_module", || call(libc::SYS_init_module, [NOWHERE, 0, NOWHERE])),
        ("kexec_load", || call(libc::SYS_kexec_load, [0, 0, 0])),
        ("keyctl", || call(libc::SYS_keyctl, [NOWHERE, 0, 0])),
        ("setuid", || call(libc::SYS_setuid, [1, 0, 0])),
        ("unshare", || call(libc::SYS_unshare, [0, 0, 0])),
        ("setns", || call(libc::SYS_setns, [NOWHERE, libc::CLONE_NEWNS.into(), 0])),
        ("listen", || call(libc::SYS_listen, [NOWHERE, 1, 0])),
        ("kill", || call(libc::SYS_kill, [c_long::from(i32::MAX), 0, 0])),
        ("perf_event_open", || call(libc::SYS_perf_event_open, [NOWHERE, 0, 0])),
        ("bpf(BPF_PROG_GET_FD_BY_ID)", || call(libc::SYS_bpf, [13, NOWHERE, 8])),
        ("bpf(BPF_OBJ_GET)", || call(libc::SYS_bpf, [7, NOWHERE, 8])),
        ("ioctl(TIOCSTI)", || call(libc::SYS_ioctl, [NOWHERE, libc::TIOCSTI as c_long, NOWHERE])),
        ("socket(AF_PACKET)", || call(libc::SYS_socket, [libc::AF_PACKET.into(), 0, 0])),
    ];
    for (name, attempt) in attempts {
        assert_eq!(usually(attempt), libc::EPERM, "{name}");
    }
    let writable_code = || call(libc::SYS_mprotect, [0, 0, (libc::PROT_WRITE | libc::PROT_EXEC).into()]);
    assert_eq!(usually(writable_code), libc::EPERM);
    let namespace = || call(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD).into(), 0, 0]);
    assert_eq!(usually(namespace), libc::EPERM);
}

#[test]
fn what_is_needed_is_possible() {
    let attempts: [(&str, Attempt, i32); 6] = [
        ("bpf(BPF_MAP_LOOKUP_ELEM)", || call(libc::SYS_bpf, [1, -1, 32]), libc::EFAULT),
        ("setns", || call(libc::SYS_setns, [-1, libc::CLONE_NEWNET.into(), 0]), libc::EBADF),
        ("code", || call(libc::SYS_mprotect, [0, 0, (libc::PROT_READ | libc::PROT_EXEC).into()]), 0),
        ("clone3", || call(libc::SYS_clone3, [0, 0, 0]), libc::ENOSYS),
        ("a socket", || call(libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0]), 0),
        ("a thread's name", || call(libc::SYS_prctl, [libc::PR_SET_NAME.into(), c"x".as_ptr() as c_long, 0]), 0),
    ];
    for (name, attempt, expected) in attempts {
        assert_eq!(usually(attempt), expected, "{name}");
    }
    let fork = || match call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0]) {
        // SAFETY: the fork of the fork.
        0 => unsafe { libc::_exit(0) },
        result => result,
    };
    assert_eq!(usually(fork), 0, "another guard");
}

#[test]
fn some_is_possible_where_it_is_needed() {
    let perf = || call(libc::SYS_perf_event_open, [-1, 0, 0]);
    assert_eq!(behind(Needs { perf: true, ..Needs::default() }, perf), libc::EFAULT);
    let by_path = || call(libc::SYS_bpf, [7, -1, 8]);
    assert_eq!(behind(Needs { pins: true, ..Needs::default() }, by_path), libc::EFAULT);
    let signal = || call(libc::SYS_kill, [c_long::from(i32::MAX), 0, 0]);
    assert_eq!(behind(Needs { signals: true, ..Needs::default() }, signal), libc::ESRCH);
}
