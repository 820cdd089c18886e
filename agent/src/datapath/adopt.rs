//! Takes in connections that were open before their workload was switched on.
//!
//! Only between two messages as far as the kernel's counters tell: all that was
//! sent is read, and the last word was not a request still without an answer. What
//! follows must begin with a request line, else the connection is not followed. If
//! a byte passes while a connection is taken in, it is looked at again later.
//! Connections that the workload has opened, and that are not idle, must show more
//! before anything is inserted, see [`proof`].

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use baton_common::head::IN_REQUEST;
use baton_common::policy::mapped;
use baton_common::socket::{Socket, flag, proof, role};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::descriptors;
use super::load::Datapath;
use super::pod::Raw;
use super::tcp::{self, Info};
use super::workload::Attached;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Connections that are followed from their next message on, if it turns out to be one.
    pub(crate) taken: usize,
    /// Connections that are not, since they were in use or cannot be safely.
    pub(crate) left: usize,
    /// Processes whose connections could not be looked at.
    pub(crate) hidden: usize,
}

/// Adopts the connections of all processes in the directory of `workload`.
///
/// # Errors
/// If the kernel refuses to set a socket's state.
pub(crate) fn adopt(datapath: &mut Datapath, workload: &Attached) -> anyhow::Result<Adopted> {
    let (sockets, hidden) = descriptors::within(&workload.desired.cgroup);
    let mut adopted = Adopted { hidden, ..Adopted::default() };
    let listening: HashSet<u16> = sockets
        .values()
        .filter(|socket| tcp::info(*socket).is_some_and(|info| info.is_listening()))
        .filter_map(|socket| Some(tcp::local(socket)?.port()))
        .collect();
    let members: HashSet<u64> = datapath.members()?.keys().flatten().collect();
    for socket in sockets.values() {
        let Some(info) = tcp::info(socket).filter(Info::is_established) else { continue };
        let Some((local, peer)) = tcp::local(socket).zip(tcp::peer(socket)) else { continue };
        let accepted = listening.contains(&local.port());
        match take(datapath, workload, socket, &info, peer, accepted, &members)? {
            Outcome::Followed => {}
            Outcome::Taken => adopted.taken += 1,
            Outcome::Left => adopted.left += 1,
        }
    }
    Ok(adopted)
}

enum Outcome {
    /// It was followed before, or has been used since it was taken.
    Followed,
    /// It was taken in, and is to be looked at again until it is used.
    Taken,
    Left,
}

fn take(
    datapath: &mut Datapath,
    workload: &Attached,
    socket: &OwnedFd,
    before: &Info,
    peer: SocketAddr,
    accepted: bool,
    members: &HashSet<u64>,
) -> anyhow::Result<Outcome> {
    // A member may be written to before it has its state, and an accepted connection read from, and the rest of a
    // message pass after: the kernel side compares, and follows it only then.
    let mark = if accepted { before.received() } else { before.written() };
    let Some((cookie, local)) = tcp::cookie(socket).zip(tcp::local(socket)) else { return Ok(Outcome::Left) };
    let is_member = members.contains(&cookie);
    let known = datapath.sockets()?.get(socket, 0).ok().map(|Raw(state)| state);
    if let Some(state) =
        known.filter(|state| state.generation == workload.generation && state.workload == workload.index)
    {
        if state.flags & flag::ADOPTED == 0 {
            return Ok(Outcome::Followed);
        }
        // It was adopted and not used since, unless something has passed meanwhile, or it left in the moment in which it
        // was taken for a member.
        if state.mark == mark && (accepted || is_member) {
            return Ok(Outcome::Taken);
        }
    }
    let joins = !accepted && !is_member;
    if !is_between_messages(socket, before, accepted) || joins && !can_join(datapath, socket)? {
        return Ok(Outcome::Left);
    }
    let known = known.unwrap_or_default();
    let mut state = Socket {
        cookie,
        workload: workload.index,
        generation: workload.generation,
        role: if accepted { role::ACCEPTED } else { role::CONNECTED },
        flags: flag::ADOPTED | flag::USED | known.flags & flag::COUNTED,
        peer_port: peer.port(),
        peer: octets(peer.ip()),
        local_port: local.port(),
        local: octets(local.ip()),
        mark,
        // What this connection holds from an earlier time stays its own.
        slot: known.slot,
        context: known.context,
        proof: if accepted || before.has_no_bytes() || before.is_idle() { proof::DONE } else { proof::HEAD },
        tgid: known.tgid,
        ..Socket::default()
    };
    state.request.flags = IN_REQUEST;
    datapath.sockets()?.insert(socket, Raw(state), 0).context("failed to set a socket's state")?;
    let is_untouched = || tcp::info(socket).is_some_and(|now| now.has_same_bytes(before));
    if joins {
        if !is_untouched() {
            // No program has this state yet: it can be taken back.
            state.generation = 0;
            datapath.sockets()?.insert(socket, Raw(state), 0).context("failed to set a socket's state")?;
            return Ok(Outcome::Left);
        }
        // It may have been closed meanwhile.
        let _ = datapath.members()?.insert(cookie, socket.as_raw_fd(), 0);
    }
    // Where a byte has passed, the kernel side may have given the connection up. The next look will tell.
    Ok(if is_untouched() { Outcome::Taken } else { Outcome::Left })
}

/// An address as the kernel side has it.
const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Whether nothing is under way on a connection, as far as can be told.
fn is_between_messages(socket: &OwnedFd, info: &Info, accepted: bool) -> bool {
    let all_read = tcp::unread(socket) == Some(0);
    // A response was the last word. Peers take their time to acknowledge one, and
    // what was written counts where something is inserted only.
    let answered = if accepted { info.sent_last() } else { info.received_last() && info.all_acknowledged() };
    all_read && (info.has_no_bytes() || answered)
}

/// Whether a connected socket can become a member while it is in use.
///
/// With the stream verdict, received data goes to a queue that a thread which
/// sleeps in a blocking read already would never look at. Threads do not sleep
/// in reads of non-blocking sockets. And what has arrived between our look at the
/// socket and now may have been read in part.
fn can_join(datapath: &Datapath, socket: &OwnedFd) -> anyhow::Result<bool> {
    if !datapath.is_cured() {
        return Ok(true);
    }
    if !datapath.is_cut() {
        return Ok(false);
    }
    let flags = fcntl(socket, FcntlArg::F_GETFL).context("failed to read a socket's flags")?;
    Ok(OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK))
}
