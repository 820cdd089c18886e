//! Types that cross into maps.
#![expect(unsafe_code, reason = "values of the kernel side as bytes")]

use aya::Pod;
use baton_common::attribution::{Claim, Context};
use baton_common::flow::{Carrying, Event, Response};
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

/// What the kernel side sends in records.
pub(crate) trait Sent: Copy {}

impl Sent for Carrying {}
impl Sent for Event {}
impl Sent for Leaver {}
impl Sent for Notice {}
impl Sent for Response {}

/// The record that `bytes` hold, if they have its size.
pub(crate) fn record<T: Sent>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the size is right, and all that are `Sent` are made of integers.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}
