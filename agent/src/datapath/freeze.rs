//! Takes members out of the SOCKHASH that are in network namespaces which may not
//! be entered (it takes CAP_SYS_ADMIN).
//!
//! The iterator over the SOCKHASH sees them, but does not lock them. So data might
//! come between the look at a member's queue and its removal, and be lost. What
//! arrives is dropped for that moment, by a filter, and the peer sends it again.
//! Hence only idle connections leave in this way.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::MapData;
use aya::programs::{Iter, SocketFilter};
use baton_common::leave::{BATCH, Frozen, Leaver, STANDSTILL};
use nix::time::{ClockId, clock_gettime};

use super::load::Datapath;
use super::pod::{self, Raw};
use super::{bpf, descriptors, tcp};

/// How long a connection must have been silent.
const SILENT: Duration = Duration::from_secs(1);

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Members that have left.
    pub(crate) left: usize,
    /// Members that shall leave and did not.
    pub(crate) waiting: usize,
}

/// Lets members leave that shall and can, in all network namespaces.
pub(crate) fn pass(datapath: &mut Datapath) -> anyhow::Result<Passed> {
    let members = walk(datapath)?;
    let nothing = Passed { left: 0, waiting: members.len() };
    let ready: HashMap<u64, u64> =
        members.iter().filter(|member| member.cookie != 0).map(|member| (member.cookie, member.cgroup)).collect();
    if ready.is_empty() {
        return Ok(nothing);
    }
    let known: Vec<u64> = frozen(datapath)?.keys().flatten().collect();
    let mut sockets = descriptors::find(&ready);
    sockets.retain(|cookie, socket| {
        let idle = tcp::info(socket).is_some_and(|info| info.is_open() && info.is_silent(SILENT));
        // A filter of the application's own stays, and so does the socket. One
        // that an earlier baton has left is replaced.
        idle && (known.contains(cookie) || !tcp::has_filter(socket))
    });
    let batch: HashMap<u64, OwnedFd> = sockets.into_iter().take(BATCH as usize).collect();
    if batch.is_empty() {
        return Ok(nothing);
    }
    let stopped = stop(datapath, &ready, &batch).and_then(|()| walk(datapath));
    for (cookie, socket) in &batch {
        thaw(datapath, *cookie, socket);
    }
    let waiting = stopped?.len();
    Ok(Passed { left: members.len().saturating_sub(waiting), waiting })
}

/// Gives back to sockets what a baton has left there that was killed in the middle
/// of a pass.
pub(crate) fn recover(datapath: &mut Datapath) -> anyhow::Result<()> {
    let frozen: HashMap<u64, u64> =
        frozen(datapath)?.iter().flatten().map(|(cookie, Raw(frozen))| (cookie, frozen.cgroup)).collect();
    if frozen.is_empty() {
        return Ok(());
    }
    let sockets = descriptors::find(&frozen);
    for (cookie, socket) in &sockets {
        thaw(datapath, *cookie, socket);
    }
    for cookie in frozen.keys().filter(|cookie| !sockets.contains_key(cookie)) {
        // The socket has ended.
        self::frozen(datapath)?.remove(cookie).context("failed to forget a socket")?;
    }
    Ok(())
}

/// Makes the receive side of all sockets stand still. When this returns, nothing
/// is on its way to their queues.
fn stop(datapath: &mut Datapath, cgroups: &HashMap<u64, u64>, sockets: &HashMap<u64, OwnedFd>) -> anyhow::Result<()> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).context("failed to read the clock")?);
    let until = u64::try_from(now.as_nanos())? + STANDSTILL;
    for (cookie, socket) in sockets {
        let cgroup = cgroups.get(cookie).copied().unwrap_or_default();
        frozen(datapath)?.insert(cookie, Raw(Frozen { until, cgroup }), 0).context("failed to note a socket")?;
        let filter: &mut SocketFilter = datapath.program("socket_filter_freeze")?;
        filter.attach(socket).context("failed to attach a filter to a socket")?;
    }
    // What has passed the filter's place before runs in RCU's read side.
    tcp::wait_for_readers().context("failed to wait for packets on their way")?;
    for socket in sockets.values() {
        // Takes the socket's lock, and so waits for who holds it, who takes in
        // what has arrived meanwhile (net/core/sock.c, `release_sock`).
        let _ = tcp::info(socket);
    }
    Ok(())
}

/// Lets a socket receive again.
fn thaw(datapath: &mut Datapath, cookie: u64, socket: &OwnedFd) {
    // What fails here does so for a socket that has no filter, and what is noted
    // of one is needed only as long as it has.
    let _ = SocketFilter::detach(socket);
    let _ = frozen(datapath).map(|mut frozen| frozen.remove(&cookie));
}

/// Walks all members: those that shall leave and stand still do. Returns the others
/// that shall.
fn walk(datapath: &mut Datapath) -> anyhow::Result<Vec<Leaver>> {
    let members = datapath.members()?.fd().try_clone().context("failed to copy the map's descriptor")?;
    let program: &mut Iter = datapath.program("iter_sockmap_leave")?;
    let mut output =
        bpf::iterate(program.fd()?.as_fd(), &members).context("failed to start the iterator over members")?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).context("failed to walk the members")?;
    Ok(bytes.chunks_exact(size_of::<Leaver>()).filter_map(pod::record::<Leaver>).collect())
}

fn frozen(datapath: &mut Datapath) -> anyhow::Result<aya::maps::HashMap<&mut MapData, u64, Raw<Frozen>>> {
    datapath.map("FROZEN")
}
