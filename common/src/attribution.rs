//! Who caused this write? The decisions that need no map or hook.
//!
//! An executor holds a [`Claim`] on a context. How it came by the claim says
//! how long the claim is certain.

pub mod connection;

use crate::flow::Reason;
use crate::scan::Lines;
use crate::words::literal;

/// How an executor came by its claim.
pub mod kind {
    /// No claim; [`super::Claim::reason`] says why.
    pub const NONE: u8 = 0;
    /// It read the request's head or body.
    pub const OWN: u8 = 1;
    /// It was started (or its connection opened) by an executor with the claim.
    /// At most certain while the process has had no other request since.
    pub const SHARED: u8 = 2;
    /// It is part of what serves one connection ([`super::connection`]), whichever
    /// request that has.
    pub const CONNECTION: u8 = 3;
    /// It is a goroutine that writes what others hand to a connection of Go's
    /// `net/http`: the claim is that of whoever has done so last.
    pub const WRITER: u8 = 4;
}

/// Bits of [`Claim::flags`].
pub mod flag {
    /// The thread drives an event loop; it never has a claim again.
    pub const EVENT_LOOP: u8 = 1;
    /// Its holder's next request goes to a connection to which others may have handed theirs.
    pub const SHARES: u8 = 1 << 1;
    /// More of the request's body is to come: who has read so far may wait for
    /// it, or hand the request on and do something else.
    pub const INCOMPLETE: u8 = 1 << 2;
    /// Its holder belongs to a pool that takes over what another thread waits for.
    pub const POOLED: u8 = 1 << 3;
    /// Its holder was started by who has the claim, and may work for others, too:
    /// a thread, or a process that runs its parent's program. It runs for nobody.
    pub const STARTED: u8 = 1 << 4;
    /// Its holder is a program that was started by who has the claim, or was started by such a program.
    pub const PROGRAM: u8 = 1 << 5;
}

/// That an executor runs on behalf of a context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The context; for [`kind::CONNECTION`] the connection's key, for
    /// [`kind::WRITER`] where its connection is in memory.
    pub id: u64,
    /// For [`kind::SHARED`]: the newest head of the process when it was made.
    /// For [`kind::OWN`]: the key of the connection whose tasks it comes from, or 0.
    pub stamp: u64,
    /// Index of the context's slot.
    pub slot: u32,
    /// For [`kind::SHARED`]: the process whose requests count. For
    /// [`kind::CONNECTION`]: the process whose object the key is; 0 for a socket's cookie.
    pub tgid: u32,
    /// A constant of [`kind`].
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// For [`kind::NONE`]: a [`Reason`].
    pub reason: u8,
    /// Keeps the layout free of padding; not one array, for which LLVM would
    /// call memset().
    pub reserved: u8,
    /// As above.
    pub reserved_too: u32,
}

/// Whether a thread that reads a head must be taken for one that serves several
/// requests at a time, by what the accepted socket shows.
///
/// `watched`: somebody waits for the socket while the thread reads, which is
/// an epoll instance nearly always. `nonblocking`: so is its file.
/// `only_thread`: the process has no other that could wait in epoll.
///
/// A thread that serves one request at a time reads a socket that nobody
/// watches, or has had it made blocking by whoever watched it (Java's
/// HttpServer; there the watch ends a moment later).
#[inline(always)]
#[must_use]
pub const fn reads_for_many(watched: bool, nonblocking: bool, only_thread: bool) -> bool {
    watched && (nonblocking || only_thread)
}

/// Whether a thread with this name runs Java's virtual threads. Only ever a
/// reason to refuse: names prove nothing.
#[inline(always)]
#[must_use]
pub const fn is_carrier(comm: [u64; 2]) -> bool {
    comm[0] == literal("ForkJoin") && comm[1] & 0xffff_ffff == literal("Pool")
}

/// State of a context.
pub mod state {
    /// The slot belongs to no context.
    pub const FREE: u32 = 0;
    /// Read and not answered.
    pub const LIVE: u32 = 1;
    /// Its response is complete, or its connection is gone.
    pub const ANSWERED: u32 = 2;
    /// Another head arrived on the connection before this one was answered.
    pub const AMBIGUOUS: u32 = 3;
}

/// A context: the header lines of one inbound request. One slot a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Unique on the node while it runs; 0 while the slot is being filled.
    pub id: u64,
    /// Bits of the names that have lines here.
    pub have: u64,
    /// Bits of the names that must not be inserted: a line of their group was
    /// dropped, or the workload does not carry them.
    pub unsafe_names: u64,
    /// When the head was complete, in ticks of the kernel's clock (jiffies).
    pub since: u64,
    /// Where in kernel memory its connection's `struct tcp_sock` is.
    pub sock: u64,
    /// Bytes after `sent` without which the response is certainly not complete.
    pub left: u64,
    /// A constant of [`state`].
    pub state: u32,
    /// Index of its workload's settings.
    pub workload: u32,
    /// The workload's generation when it was read.
    pub generation: u32,
    /// The header name table's epoch when it was read.
    pub epoch: u32,
    /// The process that read it.
    pub tgid: u32,
    /// Sequence number up to which the response was seen leaving.
    pub sent: u32,
    /// Bytes of lines.
    pub lines_len: u32,
    /// Number of lines.
    pub line_count: u32,
    /// The thread that read it.
    pub tid: u32,
    /// The lines.
    pub lines: Lines,
}

impl Context {
    /// Whether bytes that were written up to sequence number `written`, and have
    /// not left yet (a full window, Nagle's algorithm), may complete the response.
    #[inline(always)]
    #[must_use]
    pub const fn may_be_answered(written: u32, sent: u32, left: u64) -> bool {
        let waiting = written.wrapping_sub(sent);
        waiting != 0 && waiting as u64 >= left
    }
}

/// What is known of a process that reads requests.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Id of the newest context.
    pub newest: u64,
    /// Contexts not answered, plus connections whose requests cannot be seen.
    pub open: u64,
}

impl Claim {
    /// No claim, for `reason`.
    #[inline(always)]
    #[must_use]
    pub const fn none(reason: Reason) -> Self {
        Self {
            id: 0,
            stamp: 0,
            slot: 0,
            tgid: 0,
            kind: kind::NONE,
            flags: 0,
            reason: reason as u8,
            reserved: 0,
            reserved_too: 0,
        }
    }

    /// The claim of a thread that drives an event loop, and has none of its own.
    #[inline(always)]
    #[must_use]
    pub const fn event_loop() -> Self {
        let mut claim = Self::none(Reason::UnsupportedRuntime);
        claim.flags = flag::EVENT_LOOP;
        claim
    }

    /// The claim of the executor that read a head or body.
    #[inline(always)]
    #[must_use]
    pub const fn own(id: u64, slot: u32, tgid: u32) -> Self {
        Self { id, stamp: 0, slot, tgid, kind: kind::OWN, flags: 0, reason: 0, reserved: 0, reserved_too: 0 }
    }

    /// The claim of what serves the connection `key` of process `tgid`.
    #[inline(always)]
    #[must_use]
    pub const fn connection(key: u64, tgid: u32) -> Self {
        let mut claim = Self::none(Reason::NoContext);
        claim.id = key;
        claim.tgid = tgid;
        claim.kind = kind::CONNECTION;
        claim
    }

    /// The claim of a goroutine that writes for the connection object at `address`.
    #[inline(always)]
    #[must_use]
    pub const fn writer(address: u64) -> Self {
        let mut claim = Self::none(Reason::NoContext);
        claim.id = address;
        claim.kind = kind::WRITER;
        claim
    }

    /// Whether this is the claim of the connection `key`, or was taken from it.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_connection(&self, key: u64) -> bool {
        (self.kind == kind::CONNECTION && self.id == key) || (self.kind == kind::OWN && self.stamp == key)
    }

    /// Whether the request's body is not complete.
    #[inline(always)]
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.flags & flag::INCOMPLETE != 0
    }

    /// Whether the holder drives an event loop.
    #[inline(always)]
    #[must_use]
    pub const fn is_event_loop(&self) -> bool {
        self.flags & flag::EVENT_LOOP != 0
    }

    /// This claim, made by a read, of an executor that had the claim `before`, which `is_open` knows to be on an
    /// open request that it read itself: with two of them at a time it drives an event loop.
    #[inline(always)]
    #[must_use]
    pub fn beside(mut self, before: &Self, is_open: impl FnOnce(&Self) -> bool) -> Self {
        if before.slot != self.slot && is_open(before) {
            self.flags |= flag::EVENT_LOOP;
        }
        self
    }

    /// This claim as it counts for what its holder starts; see [`Self::passed_on`].
    ///
    /// A shell that was started for a request forks itself for what it runs in
    /// parentheses, or in a pipe: that sends nothing, and starts programs.
    #[inline(always)]
    #[must_use]
    pub const fn of_creator(&self) -> Self {
        let mut claim = *self;
        if claim.flags & flag::PROGRAM != 0 {
            claim.flags &= !flag::STARTED;
        }
        claim
    }

    /// The claim that a thread or process gets which this claim's holder starts.
    /// `process` is the state of the claim's process; `balanced`: what is likely
    /// is enough for the request's workload.
    ///
    /// A pool's thread is started while one request is handled and then works
    /// for others, for timers, and for what answered requests have left behind;
    /// nothing in the kernel tells its jobs apart. So it is likely that what is started
    /// works for its creator's request, if its process had no other open request then
    /// and has read none since. It is certain only once it runs a program of its
    /// own ([`Self::executed`]).
    #[inline(always)]
    #[must_use]
    pub const fn passed_on(&self, process: Process, balanced: bool) -> Self {
        let mut claim = *self;
        claim.flags = self.flags & flag::PROGRAM | if balanced { 0 } else { flag::STARTED };
        if self.is_event_loop() {
            return Self::none(Reason::UnsupportedRuntime);
        }
        if self.flags & flag::STARTED != 0 {
            return Self::none(Reason::Ambiguous);
        }
        if self.kind == kind::OWN {
            if process.open != 1 {
                return Self::none(Reason::Ambiguous);
            }
            claim.kind = kind::SHARED;
            claim.stamp = process.newest;
        }
        claim
    }

    /// The claim that a connection remembers which this claim's holder opens, for
    /// its first request; see [`Self::passed_on`] and [`Self::is_left_to_connection`].
    ///
    /// Who opens a connection may put it into a pool, from which anybody takes it.
    #[inline(always)]
    #[must_use]
    pub const fn remembered(&self, process: Process, balanced: bool) -> Self {
        if balanced { self.passed_on(process, true) } else { Self::none(Reason::NoContext) }
    }

    /// Whether the holder is one of whom nothing is known, so that its connection's
    /// claim counts if it has one ([`Self::remembered`]).
    #[inline(always)]
    #[must_use]
    pub const fn is_left_to_connection(&self) -> bool {
        self.kind == kind::NONE && self.reason == Reason::NoContext as u8 && !self.is_event_loop()
    }

    /// The claim of a process that begins to run another program, where this was that of
    /// the thread that asked for it. `leads`: that thread is the process's first one.
    ///
    /// A process that was started for a program works for who has started it. A
    /// pool's thread that gives up its process for a program works for anybody.
    #[inline(always)]
    #[must_use]
    pub const fn executed(&self, leads: bool) -> Self {
        if self.is_event_loop() {
            return Self::none(Reason::NoContext);
        }
        let mut claim = *self;
        if leads && claim.kind == kind::SHARED {
            claim.flags = claim.flags & !flag::STARTED | flag::PROGRAM;
        }
        claim
    }

    /// Whether this claim makes its context current now. `newest` is the newest
    /// context of the claim's process; `context` is what the claim's slot holds.
    ///
    /// # Errors
    /// The reason why it does not.
    #[inline(always)]
    pub const fn check(
        &self,
        id: u64,
        state: u32,
        since: u64,
        newest: u64,
        now: u64,
        max_age: u64,
    ) -> Result<(), Reason> {
        if self.is_event_loop() {
            return Err(Reason::UnsupportedRuntime);
        }
        if self.kind == kind::NONE {
            return Err(Reason::from_raw(self.reason));
        }
        // Whatever became of the request that it was started for.
        if self.flags & flag::STARTED != 0 {
            return Err(Reason::Ambiguous);
        }
        // The slot was taken for the connection's next request, or given away.
        if self.id != id || state == state::ANSWERED || state == state::FREE {
            return Err(Reason::Answered);
        }
        if state == state::AMBIGUOUS {
            return Err(Reason::Ambiguous);
        }
        if self.is_incomplete() || self.kind == kind::SHARED && self.stamp != newest {
            return Err(Reason::Ambiguous);
        }
        if now.saturating_sub(since) > max_age {
            return Err(Reason::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;
