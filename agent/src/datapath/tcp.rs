//! TCP sockets of other processes: copies of their descriptors, and what the
//! kernel knows of them.
#![expect(unsafe_code, reason = "system calls that nix does not have")]

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername, getsockname};

/// How long a connection must have been silent to count as idle.
const IDLE: Duration = Duration::from_millis(100);

/// `TCP_ESTABLISHED`, `TCP_CLOSE_WAIT` and `TCP_LISTEN` (include/net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;

/// include/uapi/linux/tcp.h, `struct tcp_info` (up to `tcpi_bytes_sent`, 4.19).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info {
    state: u8,
    others: [u8; 7],
    timers: [u32; 4],
    unacked: u32,
    counts: [u32; 4],
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    metrics: [u32; 8],
    receive_rtt: [u32; 2],
    total_retrans: u32,
    rates: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
    segments: [u32; 2],
    not_sent: u32,
    minimum_rtt: u32,
    data_segments: [u32; 2],
    delivery_rate: u64,
    times: [u64; 3],
    delivered: [u32; 2],
    bytes_sent: u64,
}

impl Info {
    /// Whether both ends can send.
    pub(crate) const fn is_established(&self) -> bool {
        self.state == ESTABLISHED
    }

    /// Whether this end can send.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, ESTABLISHED | CLOSE_WAIT)
    }

    /// Whether it waits for connections.
    pub(crate) const fn is_listening(&self) -> bool {
        self.state == LISTEN
    }

    /// Whether no byte was ever sent or received.
    pub(crate) const fn has_no_bytes(&self) -> bool {
        self.bytes_sent == 0 && self.bytes_received == 0
    }

    /// Whether the other end has everything that was written.
    pub(crate) const fn all_acknowledged(&self) -> bool {
        self.unacked == 0 && self.not_sent == 0
    }

    /// Whether the last data was sent, or sent and received in the same moment.
    pub(crate) const fn sent_last(&self) -> bool {
        self.bytes_sent > 0 && self.last_data_sent <= self.last_data_recv
    }

    /// Whether the last data was received, or sent and received in the same moment.
    pub(crate) const fn received_last(&self) -> bool {
        self.bytes_received > 0 && self.last_data_recv <= self.last_data_sent
    }

    /// Whether nothing was sent or received of late.
    pub(crate) const fn is_idle(&self) -> bool {
        self.is_silent(IDLE)
    }

    /// Whether nothing was sent or received for so long.
    pub(crate) const fn is_silent(&self, time: Duration) -> bool {
        let recent = if self.last_data_sent < self.last_data_recv { self.last_data_sent } else { self.last_data_recv };
        recent as u128 >= time.as_millis()
    }

    /// How many bytes were written, modulo 2³², as the kernel counts: one more at
    /// the end that has opened the connection. Right if all are acknowledged.
    pub(crate) const fn written(&self) -> u32 {
        self.bytes_acked as u32
    }

    /// How many bytes were received, modulo 2³², as the kernel counts. All of them are read if none is unread.
    pub(crate) const fn received(&self) -> u32 {
        self.bytes_received as u32
    }

    /// Whether no byte has passed between `before` and this.
    pub(crate) const fn has_same_bytes(&self, before: &Self) -> bool {
        self.bytes_sent == before.bytes_sent
            && self.bytes_received == before.bytes_received
            && self.not_sent == before.not_sent
    }
}

/// A handle for the process `id` (pidfd_open, Linux 5.3).
pub(crate) fn process(id: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a new descriptor is this process's own.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) })
}

/// A copy of descriptor `number` of `process` (pidfd_getfd, Linux 5.6, needs
/// CAP_SYS_PTRACE).
pub(crate) fn copy(process: &OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: as in `process`.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made it for this process.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the kernel knows of a TCP socket; `None` for any other.
pub(crate) fn info(socket: &impl AsRawFd) -> Option<Info> {
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// The kernel's cookie of a socket.
pub(crate) fn cookie(socket: &impl AsRawFd) -> Option<u64> {
    option(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// A socket option that is made of integers, if the kernel fills all of it.
pub(super) fn option<T: Copy>(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<T>()).ok()?;
    // SAFETY: the kernel writes at most `len` bytes.
    let failed = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    // SAFETY: all of it was zeroed, and `T` is made of integers.
    (failed == 0 && len as usize == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

/// Sets a socket option that is made of integers.
pub(super) fn set_option<T: Copy>(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads at most `len` bytes, which are there.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that wait to be read.
pub(crate) fn unread(socket: &impl AsRawFd) -> Option<i32> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    (failed == 0).then_some(count)
}

/// Whether packets for a socket pass a filter.
pub(crate) fn has_filter(socket: &impl AsRawFd) -> bool {
    let mut len: libc::socklen_t = 0;
    // SAFETY: with length 0 the kernel only writes how many instructions there are.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_GET_FILTER, std::ptr::null_mut(), &raw mut len)
    };
    // Those of eBPF cannot be read (net/core/filter.c, `sk_get_filter`).
    failed != 0 || len != 0
}

/// Waits until all that now runs in RCU's read side has left it, as packets do on
/// their way to a socket (kernel/sched/membarrier.c: MEMBARRIER_CMD_GLOBAL is
/// synchronize_rcu(), since 4.3; refused with `nohz_full`).
pub(crate) fn wait_for_readers() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address that a socket is bound to.
pub(crate) fn local(socket: &impl AsRawFd) -> Option<SocketAddr> {
    address(&getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?)
}

/// The address that a socket is connected to.
pub(crate) fn peer(socket: &impl AsRawFd) -> Option<SocketAddr> {
    address(&getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?)
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        nix::sys::socket::AddressFamily::Inet => {
            storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()))
        }
        nix::sys::socket::AddressFamily::Inet6 => {
            storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_counts_as_expected() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("listening");
        let (mut server, _) = listener.accept().expect("connected");
        assert!(info(&listener).is_some_and(|info| info.is_listening()));
        assert!(info(&client).is_some_and(|info| info.is_established() && info.has_no_bytes()));
        client.write_all(b"four").expect("connected");
        server.read_exact(&mut [0; 4]).expect("sent");
        let (sent, received) = (info(&client).expect("TCP"), info(&server).expect("TCP"));
        assert_eq!((sent.bytes_sent, received.bytes_received), (4, 4));
        assert!(sent.sent_last() && !sent.is_idle() && !received.has_no_bytes());
        assert_eq!((peer(&client), unread(&server)), (Some(address), Some(0)));
        assert!(cookie(&client).is_some() && cookie(&client) != cookie(&server));
    }
}
