//! Which addresses a workload may take contexts from and send them to.

use aya_ebpf::maps::lpm_trie::Key;
use baton_common::policy::{AddressKey, KEY_BITS, Workload};
use baton_common::socket::Socket;

use crate::maps::{ADDRESSES, WORKLOADS};

/// The settings of the workload of `socket`, if it is switched on.
#[inline(always)]
pub(crate) fn workload(socket: &Socket) -> Option<Workload> {
    let settings = *WORKLOADS.get(socket.workload)?;
    if settings.enabled != 0 { Some(settings) } else { None }
}

/// Whether the peer of `socket` is allowed in `direction`.
#[inline(always)]
pub(crate) fn allows(socket: &Socket, direction: u16) -> bool {
    let key = AddressKey { workload: socket.workload as u16, direction, address: socket.peer };
    ADDRESSES.get(Key::new(KEY_BITS + 128, key)).is_some()
}
