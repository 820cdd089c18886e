//! What the file descriptors of a process stand for.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use baton_common::policy::mapped;

use super::read;

/// The cookie of the socket that the current process's file descriptor `fd`
/// stands for; 0 if it has none. `fd` must be a socket's.
#[inline(always)]
pub(crate) fn cookie_of(fd: u32) -> u64 {
    read(socket_of(fd), offset!(sock_cookie))
}

/// The other end of the socket that the current process's file descriptor `fd`
/// stands for, which must be a socket's.
#[inline(always)]
pub(crate) fn peer_of(fd: u32) -> Peer {
    // include/linux/socket.h
    const AF_UNIX: u16 = 1;
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let sock = socket_of(fd);
    let port = u16::from_be(read(sock, offset!(sock_peer_port)));
    match read::<u16>(sock, offset!(sock_family)) {
        AF_UNIX => Peer::Local,
        AF_INET => Peer::Address(mapped(read(sock, offset!(sock_peer))), port),
        AF_INET6 => Peer::Address(read(sock, offset!(sock_peer6)), port),
        _ => Peer::Unknown,
    }
}

/// The other end of a socket.
pub(crate) enum Peer {
    /// A process of this host, by a Unix socket.
    Local,
    /// An address, IPv4 as IPv4-mapped IPv6, and a port.
    Address([u8; 16], u16),
    /// Neither is known.
    Unknown,
}

/// The `struct sock` that the current process's file descriptor `fd` stands
/// for; null if it is not open. `fd` must be a socket's.
#[inline(always)]
fn socket_of(fd: u32) -> *const c_void {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    let files: u64 = read(task, offset!(task_files));
    let table: u64 = read(files as *const c_void, offset!(files_table));
    if fd >= read::<u32>(table as *const c_void, offset!(table_size)) {
        return core::ptr::null();
    }
    let entries: u64 = read(table as *const c_void, offset!(table_files));
    let file: u64 = read(entries as *const c_void, fd as usize * 8);
    let socket: u64 = read(file as *const c_void, offset!(file_private));
    let sock: u64 = read(socket as *const c_void, offset!(socket_sk));
    sock as *const c_void
}
