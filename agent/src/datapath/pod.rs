//! Types that cross into maps.
#![expect(unsafe_code, reason = "values of the kernel side as bytes")]

use aya::Pod;
use baton_common::attribution::{Claim, Context};
use baton_common::flow::Event;
use baton_common::layout::Layout;
use baton_common::leave::{Frozen, Leaver};
use baton_common::names::Names;
use baton_common::policy::{AddressKey, Settings, Workload};
use baton_common::runtime::{Notice, Object, Python};
use baton_common::socket::Socket;

/// A value as the kernel side lays it out.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<T>(pub(crate) T);

macro_rules! pod {
    ($($type:ty),+) => {
        $(
            // SAFETY: `repr(C)`, `Copy`, made of integers and without padding
            // that matters: values come from the kernel or from a default.
            unsafe impl Pod for Raw<$type> {}
        )+
    };
}

pod!(Claim, Context, Frozen, Layout, Names, AddressKey, Object, Python, Settings, Workload, Socket);

/// The flow event that `bytes` hold, if they have its size.
pub(crate) fn event(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<Event>() {
        return None;
    }
    // SAFETY: the size is right, and `Event` is made of integers.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// The member that `bytes` tell of, if they have its size.
pub(crate) fn leaver(bytes: &[u8]) -> Option<Leaver> {
    if bytes.len() != size_of::<Leaver>() {
        return None;
    }
    // SAFETY: as in `event`.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// The news of a process that `bytes` hold, if they have its size.
pub(crate) fn notice(bytes: &[u8]) -> Option<Notice> {
    if bytes.len() != size_of::<Notice>() {
        return None;
    }
    // SAFETY: as in `event`.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}
