//! For the self-test: a peer that sends bytes again together with what comes next, as TCP may after it has lost an
//! acknowledgement.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::sockopt::{ReuseAddr, TcpRepair};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage};
use nix::sys::socket::{bind, connect, setsockopt, socket};

use super::tcp::{option, set_option};

// include/uapi/linux/tcp.h
const TCP_REPAIR_WINDOW: libc::c_int = 29;
const RECEIVE_QUEUE: u32 = 1;
const SEND_QUEUE: u32 = 2;

/// `struct tcp_repair_window`: `snd_wl1`, `snd_wnd`, `max_window`, `rcv_wnd`, `rcv_wup`.
type Window = [u32; 5];

/// Puts another socket in the place of an IPv4 one whose peer has received everything. Its next byte takes the place of the
/// one `back` bytes before, which must be less than ten segments (of 536 bytes): the peer acknowledges only what is new.
///
/// # Errors
/// Without CAP_NET_ADMIN (`TCP_REPAIR`).
pub(super) fn rewind(stream: TcpStream, back: u32) -> io::Result<TcpStream> {
    let lacks = || io::Error::from(io::ErrorKind::Unsupported);
    setsockopt(&stream, TcpRepair, &1)?;
    set_option(&stream, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, &RECEIVE_QUEUE)?;
    let received: u32 = option(&stream, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ).ok_or_else(lacks)?;
    set_option(&stream, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, &SEND_QUEUE)?;
    let sent: u32 = option(&stream, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ).ok_or_else(lacks)?;
    let mut window: Window = option(&stream, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW).ok_or_else(lacks)?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    // Without a word to the peer.
    drop(stream);
    let other = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    setsockopt(&other, ReuseAddr, &true)?;
    setsockopt(&other, TcpRepair, &1)?;
    bind(other.as_raw_fd(), &SockaddrStorage::from(local))?;
    set_option(&other, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, &SEND_QUEUE)?;
    set_option(&other, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, &sent.wrapping_sub(back))?;
    set_option(&other, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, &RECEIVE_QUEUE)?;
    set_option(&other, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, &received)?;
    connect(other.as_raw_fd(), &SockaddrStorage::from(peer))?;
    window[0] = received;
    set_option(&other, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, &window)?;
    setsockopt(&other, TcpRepair, &0)?;
    Ok(TcpStream::from(other))
}
