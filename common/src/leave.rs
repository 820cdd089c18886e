//! How members leave the SOCKHASH whose socket cannot be locked.

/// Most sockets that stand still at once.
pub const BATCH: u32 = 64;

/// For so long in nanoseconds a socket stands still at most, whatever becomes of baton.
pub const STANDSTILL: u64 = 2_000_000_000;

/// What must be left of that for a socket to leave.
pub const MARGIN: u64 = 1_000_000_000;

/// A socket whose receive side stands still.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Until when: nanoseconds of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// Id of the socket's cgroup.
    pub cgroup: u64,
}

/// A member that shall leave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaver {
    /// Its key in the SOCKHASH; 0 if it has to wait: data was not read yet, or a
    /// thread is within a system call on it.
    pub cookie: u64,
    /// Id of the socket's cgroup.
    pub cgroup: u64,
}
