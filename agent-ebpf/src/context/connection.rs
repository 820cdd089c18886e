//! Accepted connections that light threads serve.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use baton_common::attribution::connection::{Connection, Inherits};
use baton_common::attribution::{Claim, kind};
use baton_common::flow::Reason;
use baton_common::runtime::Object;

use super::task;

/// By the socket's cookie (with 0 as process), or by a number that was given to
/// a library's object for the connection. One that was dropped for want of room has no request.
#[map]
static CONNECTIONS: LruHashMap<Object, Connection> = LruHashMap::with_max_entries(8192, 0);

/// The key of the connection of which `claim` is.
#[inline(always)]
fn key(claim: &Claim) -> Object {
    Object { address: claim.id, tgid: u64::from(claim.tgid) }
}

/// The connection of `claim`, which must be one of [`kind::CONNECTION`].
#[inline(always)]
fn get(claim: &Claim) -> Option<&'static mut Connection> {
    // SAFETY: words of a map value; a connection has one reader at a time.
    CONNECTIONS.get_ptr_mut(key(claim)).map(|connection| unsafe { &mut *connection })
}

/// A light thread is made for the connection that `claim` names.
#[inline(always)]
pub(crate) fn begin(claim: &Claim) {
    let _ = CONNECTIONS.insert(key(claim), Connection::default(), 0);
}

/// The request `own` came on the connection of `claim`; `reader`, or nobody if
/// 0, read it. Returns false if no light thread was made for the connection.
#[inline(always)]
pub(crate) fn reads(claim: &Claim, own: &Claim, reader: u64) -> bool {
    let Some(connection) = get(claim) else { return false };
    connection.reader = reader;
    connection.slot = own.slot;
    connection.request = own.id;
    true
}

/// The connection of `claim` cannot be followed any more.
#[inline(always)]
pub(crate) fn forget(claim: &Claim) {
    let _ = CONNECTIONS.remove(key(claim));
}

/// The claim that `task` has now: where it serves a connection, on the request that it has read from that.
#[inline(always)]
pub(crate) fn current(claim: Claim, task: u64, tgid: u32) -> Claim {
    if claim.kind != kind::CONNECTION {
        return claim;
    }
    let Some(connection) = get(&claim) else { return Claim::none(Reason::NoContext) };
    if connection.is_current_for(task) {
        return connection.claim(claim.id, tgid);
    }
    connection.writes = 1;
    Claim::none(if connection.request == 0 { Reason::NoContext } else { Reason::Ambiguous })
}

/// The claim that a light thread gets from its creator `parent`.
#[inline(always)]
pub(crate) fn passed_on(parent: Object) -> Claim {
    let claim = task::of(parent);
    if claim.kind != kind::CONNECTION {
        return claim;
    }
    let Some(connection) = get(&claim) else { return Claim::none(Reason::NoContext) };
    match connection.passed_on(parent.address) {
        Inherits::Connection => claim,
        Inherits::Request => connection.claim(claim.id, parent.tgid as u32),
        Inherits::Nothing => Claim::none(Reason::Ambiguous),
    }
}

/// `task` writes to the connection in context slot `slot`. If it serves that, and did not
/// read from it, it runs requests' own code.
#[inline(always)]
pub(crate) fn writes(task: Object, slot: u32) {
    let claim = task::of(task);
    if claim.kind == kind::CONNECTION
        && let Some(connection) = get(&claim)
        && connection.slot == slot
        && connection.reader != task.address
    {
        connection.writes = 1;
    }
}
