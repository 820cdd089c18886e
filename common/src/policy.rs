//! Settings that the kernel side reads, and the addresses that policy allows.

/// Workloads at once.
pub const MAX_WORKLOADS: usize = 256;

/// Settings of one workload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Bits of the names in the table that it carries.
    pub names: u64,
    /// Whether propagation is on.
    pub enabled: u32,
    /// Number of the time that it was switched on: what was learnt of its
    /// sockets before is void.
    pub generation: u32,
    /// A constant of [`attribution`].
    pub attribution: u32,
    /// Always zero: what the kernel would see of padding is undefined.
    pub reserved: u32,
}

/// How sure it must be which request caused another.
pub mod attribution {
    /// Certain.
    pub const STRICT: u32 = 0;
    /// Likely: what an event loop does in one go after it has read a request is that one's.
    pub const BALANCED: u32 = 1;
}

/// Settings of the whole node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Longest time that a context is current, in ticks of the kernel's clock (jiffies).
    pub max_age: u64,
    /// Most flow events of a workload in one second on one processor, of each [`class`](crate::flow::class); 0 if nobody
    /// reads them.
    pub events: u32,
    /// Context slots that may be taken.
    pub slots: u32,
    /// Whether received data passes through the sockmap's own queue.
    pub cure: u32,
    /// Number of the header name table: what was read with another is void.
    pub epoch: u32,
}

/// Key of the address policy: a workload, a direction, an address.
///
/// The layout is what an LPM trie wants after its prefix length; the trie
/// compares the bytes in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressKey {
    /// The workload's index.
    pub workload: u16,
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u16,
    /// The address; IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
}

/// Sources of inbound requests.
pub const INGRESS: u16 = 0;
/// Destinations of outbound requests.
pub const EGRESS: u16 = 1;

/// Bits of an [`AddressKey`] before its address.
pub const KEY_BITS: u32 = 32;

/// An IPv4 address, in network order, as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).
#[inline(always)]
#[must_use]
pub const fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
