//! A connection on which a part of the stream is sent again together with what comes next, as TCP may after it has lost
//! an acknowledgement.
#![expect(unsafe_code, reason = "the options of TCP_REPAIR have no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::sockopt::{ReuseAddr, TcpMaxSeg, TcpNoDelay, TcpRepair};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};

use crate::wait;

// include/uapi/linux/tcp.h
const TCP_REPAIR_OPTIONS: libc::c_int = 22;
const TCP_REPAIR_WINDOW: libc::c_int = 29;
const SEND_QUEUE: u32 = 2;
const RECEIVE_QUEUE: u32 = 1;
const OPTION_WINDOW: u32 = 3;

/// Of include/net/tcp.h: the most that TCP_MAXSEG takes.
const MAX_TCP_WINDOW: u32 = 32_767;

/// `struct tcp_repair_window`
#[repr(C)]
#[derive(Clone, Copy)]
struct Window {
    snd_wl1: u32,
    snd_wnd: u32,
    max_window: u32,
    rcv_wnd: u32,
    rcv_wup: u32,
}

/// Puts another socket in the place of one, whose next byte takes the place of the one `back` bytes before.
///
/// # Errors
/// Without CAP_NET_ADMIN, or if the peer has not got everything after a while.
pub fn rewind(stream: TcpStream, back: u32) -> Result<TcpStream> {
    wait::until("the peer to have everything", Duration::from_secs(10), || {
        Ok((unacknowledged(&stream)? == 0).then_some(()))
    })?;
    let info: libc::tcp_info = get(&stream, libc::TCP_INFO)?;
    setsockopt(&stream, TcpRepair, &1).context("TCP_REPAIR")?;
    let sent = sequence(&stream, SEND_QUEUE)?;
    let received = sequence(&stream, RECEIVE_QUEUE)?;
    let window: Window = get(&stream, TCP_REPAIR_WINDOW)?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    // Without a word to the peer. Closing would not do: another thread's child may still have the descriptor, too.
    disconnect(&stream)?;
    drop(stream);
    let other = unbound(local)?;
    setsockopt(&other, ReuseAddr, &true)?;
    setsockopt(&other, TcpRepair, &1)?;
    setsockopt(&other, TcpMaxSeg, &info.tcpi_snd_mss.min(MAX_TCP_WINDOW))?;
    bind(other.as_raw_fd(), &SockaddrStorage::from(local))?;
    set_sequence(&other, SEND_QUEUE, sent.wrapping_sub(back))?;
    set_sequence(&other, RECEIVE_QUEUE, received)?;
    connect(other.as_raw_fd(), &SockaddrStorage::from(peer))?;
    let scales = u32::from(info.tcpi_snd_rcv_wscale);
    // In the first four bits what the peer's windows are shifted by, then what ours are.
    let scales = (scales & 15) | ((scales >> 4) << 16);
    set(&other, TCP_REPAIR_OPTIONS, &[OPTION_WINDOW, scales])?;
    set(&other, TCP_REPAIR_WINDOW, &Window { snd_wl1: received, ..window })?;
    setsockopt(&other, TcpRepair, &0)?;
    setsockopt(&other, TcpNoDelay, &true)?;
    Ok(TcpStream::from(other))
}

fn unbound(like: SocketAddr) -> Result<OwnedFd> {
    let family = if like.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?)
}

/// connect(2) with AF_UNSPEC: what was connected is not.
fn disconnect(socket: &impl AsRawFd) -> Result<()> {
    // SAFETY: an address made of integers.
    let mut nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    nowhere.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    let len = libc::socklen_t::try_from(size_of_val(&nowhere))?;
    // SAFETY: the kernel reads `len` bytes, which is what there is.
    let failed = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, len) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("AF_UNSPEC") }
}

/// How many bytes the peer has not acknowledged.
fn unacknowledged(socket: &impl AsRawFd) -> Result<libc::c_int> {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if failed == 0 { Ok(count) } else { Err(io::Error::last_os_error()).context("SIOCOUTQ") }
}

fn sequence(socket: &impl AsRawFd, queue: u32) -> Result<u32> {
    set(socket, libc::TCP_REPAIR_QUEUE, &queue)?;
    get(socket, libc::TCP_QUEUE_SEQ)
}

fn set_sequence(socket: &impl AsRawFd, queue: u32, number: u32) -> Result<()> {
    set(socket, libc::TCP_REPAIR_QUEUE, &queue)?;
    set(socket, libc::TCP_QUEUE_SEQ, &number)
}

/// A TCP option that is made of integers.
fn get<T: Copy>(socket: &impl AsRawFd, name: libc::c_int) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<T>())?;
    // SAFETY: the kernel writes at most `len` bytes.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, value.as_mut_ptr().cast(), &raw mut len)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("getsockopt({name})"));
    }
    // SAFETY: all of it was zeroed, and `T` is made of integers.
    Ok(unsafe { value.assume_init() })
}

fn set<T: Copy>(socket: &impl AsRawFd, name: libc::c_int, value: &T) -> Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>())?;
    // SAFETY: the kernel reads `len` bytes, which is what there is.
    let failed =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, std::ptr::from_ref(value).cast(), len) };
    if failed != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("setsockopt({name})"));
    }
    Ok(())
}
