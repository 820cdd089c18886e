//! Which addresses a workload may take contexts from and send them to.

use aya_ebpf::maps::lpm_trie::Key;
use baton_common::policy::{AddressKey, INGRESS, KEY_BITS, attribution};
use baton_common::socket::{Socket, flag};

use crate::maps::{ADDRESSES, WORKLOADS};

/// Whether what was learnt of workload `index` in its `generation` is valid: it
/// is switched on, and was not switched off since.
#[inline(always)]
pub(crate) fn is_valid(index: u32, generation: u32) -> bool {
    match WORKLOADS.get(index) {
        Some(settings) => settings.enabled != 0 && settings.generation == generation,
        None => false,
    }
}

/// Whether `socket` is to be followed.
#[inline(always)]
pub(crate) fn is_selected(socket: &Socket) -> bool {
    is_valid(socket.workload, socket.generation)
}

/// Whether what is likely is enough for workload `index`.
#[inline(always)]
pub(crate) fn is_balanced(index: u32) -> bool {
    WORKLOADS.get(index).is_some_and(|settings| settings.attribution == attribution::BALANCED)
}

/// Bits of the names that workload `index` carries.
#[inline(always)]
pub(crate) fn carried(index: u32) -> u64 {
    WORKLOADS.get(index).map_or(0, |settings| settings.names)
}

/// Whether the peer of `socket` is allowed in the direction in which this
/// connection's requests go. Asked once: the policy of a workload's generation
/// does not change.
#[inline(always)]
pub(crate) fn allows(socket: &mut Socket, direction: u16) -> bool {
    if socket.flags & flag::JUDGED == 0 {
        let key = AddressKey { workload: socket.workload as u16, direction, address: socket.peer };
        let allowed = ADDRESSES.get(Key::new(KEY_BITS + 128, key)).is_some();
        socket.flags |= if allowed { flag::JUDGED | flag::ALLOWED } else { flag::JUDGED };
    }
    socket.flags & flag::ALLOWED != 0
}

/// Whether workload `index` takes contexts from all sources, and so from those without an address.
#[inline(always)]
pub(crate) fn allows_all_sources(index: u32) -> bool {
    let key = AddressKey { workload: index as u16, direction: INGRESS, address: [0; 16] };
    // A key without address bits finds the range of all addresses alone.
    ADDRESSES.get(Key::new(KEY_BITS, key)).is_some()
}
