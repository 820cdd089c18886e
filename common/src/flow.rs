//! Flow events, verdicts and reasons.

use crate::limits::MAX_PATH;

/// What a flow event is about.
pub mod kind {
    /// A request head read from an accepted socket.
    pub const INBOUND: u8 = 0;
    /// A request head written to a connected socket.
    pub const OUTBOUND: u8 = 1;
}

/// What happened to an outbound request.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Header lines were inserted.
    Injected = 0,
    /// The application had sent all of them itself.
    AlreadyPresent = 1,
    /// Its inbound request carried none of the configured headers.
    NothingToInsert = 2,
    /// A loss; the reason says why.
    Lost = 3,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 4] = [Self::Injected, Self::AlreadyPresent, Self::NothingToInsert, Self::Lost];

    /// The verdict's name in flow events and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::AlreadyPresent => "already-present",
            Self::NothingToInsert => "nothing-to-insert",
            Self::Lost => "lost",
        }
    }

    /// The verdict with the value `raw`.
    #[must_use]
    pub fn from_raw(raw: u8) -> Self {
        Self::ALL.into_iter().find(|verdict| *verdict as u8 == raw).unwrap_or(Self::Lost)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal;)+) => {
        /// Why an outbound request lost its context, or an inbound one was not understood.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum Reason {
            /// Nothing was lost.
            #[default]
            None = 0,
            $($(#[$doc])* $variant = $value,)+
        }

        impl Reason {
            /// All reasons, by value from 1 on.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason's name in flow events and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::None => "",
                    $(Self::$variant => $name,)+
                }
            }

            /// The reason with the value `raw`.
            #[inline(always)]
            #[must_use]
            pub const fn from_raw(raw: u8) -> Self {
                match raw {
                    $($value => Self::$variant,)+
                    _ => Self::None,
                }
            }
        }
    };
}

reasons! {
    /// The executor has read no inbound request.
    NoContext = 1, "no-context";
    /// More than one inbound request may have caused it.
    Ambiguous = 2, "ambiguous";
    /// The thread drives an event loop.
    UnsupportedRuntime = 3, "unsupported-runtime";
    /// The causing request has been answered.
    Answered = 4, "answered";
    /// The causing request is older than contexts are kept.
    Expired = 5, "expired";
    /// The connection does not speak HTTP/1.
    NotHttp1 = 6, "not-http1";
    /// The head is longer than is followed.
    HeadTooLarge = 7, "head-too-large";
    /// Other bytes were in flight, or the send buffer was nearly full.
    QueueBusy = 8, "queue-busy";
    /// The peer's address is not in the egress allow-list.
    EgressDenied = 9, "egress-denied";
    /// The kernel refused to make room for the lines.
    InsertFailed = 10, "insert-failed";
    /// All context slots were taken.
    ContextsFull = 11, "contexts-full";
    /// More than one request was written at once.
    Pipelined = 12, "pipelined";
    /// Where messages begin and end is not known on this connection.
    FramingLost = 13, "framing-lost";
    /// The connection changed to another protocol.
    Upgraded = 14, "upgraded";
    /// The table of threads was full.
    ExecutorsFull = 15, "executors-full";
    /// The kernel side had no scratch memory left on this processor.
    ScratchBusy = 16, "scratch-busy";
    /// The request came from a source outside of the ingress allow-list.
    IngressDenied = 17, "ingress-denied";
    /// The connection was in use before baton, and has not shown yet where its messages begin.
    Unproven = 18, "unproven";
    /// A header line was illegal or too long and was dropped whole.
    LineDropped = 19, "line-dropped";
    /// The system call's buffers could not be read.
    Unreadable = 20, "unreadable";
    /// A body filled the send buffer of a blocking connection, which was let go: see [`crate::socket::upload`].
    SendBufferFull = 21, "send-buffer-full";
    /// Another product has the connection in its own sockmap.
    OwnedByAnother = 22, "owned-by-another-sockmap";
}

/// Bits of a counter index that the reason takes; see [`counter`].
pub const REASONS: usize = 32;

/// Counters, per workload: requests seen, verdicts, losses by reason.
pub mod counter {
    /// Inbound requests.
    pub const INBOUND: usize = 0;
    /// Outbound requests.
    pub const OUTBOUND: usize = 1;
    /// Outbound requests with verdict `injected`.
    pub const INJECTED: usize = 2;
    /// Outbound requests with verdict `already-present`.
    pub const ALREADY_PRESENT: usize = 3;
    /// Outbound requests with verdict `nothing-to-insert`.
    pub const NOTHING_TO_INSERT: usize = 4;
    /// Flow events that found the ring buffer full.
    pub const EVENTS_DROPPED: usize = 5;
    /// Inbound requests of which a header line was dropped.
    pub const LINES_DROPPED: usize = 6;
    /// Sockets that could not be enrolled.
    pub const NOT_ENROLLED: usize = 7;
    /// Connected sockets that are not followed any more and shall leave the SOCKHASH.
    pub const TO_LEAVE: usize = 8;
    /// Flow events that were more than may be sent in one second.
    pub const EVENTS_SKIPPED: usize = 9;
    /// Outbound requests that were only counted, see [`skim`](crate::skim).
    pub const NOT_LOOKED_AT: usize = 10;
    /// No counter: the second in which flow events were sent last, on this processor.
    pub const SECOND: usize = 12;
    /// Flow events that were sent in it, by [`class`](super::class): this plus the class.
    pub const IN_SECOND: usize = 13;
    /// Inbound requests that were not understood, by reason: this plus the reason.
    pub const INBOUND_LOST: usize = 32;
    /// Outbound losses, by reason: this plus the reason.
    pub const OUTBOUND_LOST: usize = 64;
    /// Counters of one workload.
    pub const COUNT: usize = 96;
}

/// Kinds of records whose number in one second is limited, each by itself: so a loss is seen among many successes.
pub mod class {
    /// Requests of which nothing was lost.
    pub const FINE: usize = 0;
    /// Losses.
    pub const LOSS: usize = 1;
    /// Responses.
    pub const RESPONSE: usize = 2;
}

/// What runs a request's code.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// A thread of the operating system.
    Thread = 0,
    /// A goroutine.
    Goroutine = 1,
    /// What a thread runs in a context of Python's `contextvars`: a task of asyncio or uvloop.
    Task = 2,
    /// An event loop's thread, whose requests are not told apart.
    EventLoop = 3,
    /// What an event loop does in one go (balanced attribution).
    Turn = 4,
}

impl Executor {
    /// All of them, by value.
    pub const ALL: [Self; 5] = [Self::Thread, Self::Goroutine, Self::Task, Self::EventLoop, Self::Turn];

    /// The name in flow events and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Goroutine => "goroutine",
            Self::Task => "task",
            Self::EventLoop => "event-loop",
            Self::Turn => "turn",
        }
    }

    /// The one with the value `raw`.
    #[must_use]
    pub fn from_raw(raw: u8) -> Self {
        Self::ALL.into_iter().find(|executor| *executor as u8 == raw).unwrap_or(Self::Thread)
    }
}

/// One record in the ring buffer: a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// The causing context, or 0.
    pub context: u64,
    /// Bits of the names found or inserted; with [`Verdict::AlreadyPresent`], of those that the application sent.
    pub names: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// First bytes of the method.
    pub method: u64,
    /// Process and thread.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Index of the workload.
    pub workload: u32,
    /// Bytes of `path` in use, at most [`MAX_PATH`].
    pub path_len: u16,
    /// An [`Executor`].
    pub executor: u16,
    /// The peer's address; IPv4 as IPv4-mapped IPv6.
    pub peer: [u8; 16],
    /// This end's address, in the same form; zero where it is not known.
    pub local: [u8; 16],
    /// The thread's name.
    pub comm: [u8; 16],
    /// The peer's port.
    pub peer_port: u16,
    /// This end's port.
    pub local_port: u16,
    /// A constant of [`kind`].
    pub kind: u8,
    /// A [`Verdict`].
    pub verdict: u8,
    /// A [`Reason`].
    pub reason: u8,
    /// Which request of its connection it is, modulo 256.
    pub ordinal: u8,
    /// The request target's beginning.
    pub path: [u64; MAX_PATH / 8],
}

/// Bytes of header lines that a record has room for.
pub const SHOWN_LINES: usize = 512;

/// A record of an inbound request that carries configured headers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Carrying {
    /// The request.
    pub event: Event,
    /// Bytes of `lines` in use; more than there is room for if not all are here.
    pub lines_len: u64,
    /// Its lines as in [`Lines`](crate::scan::Lines).
    pub lines: [u64; SHOWN_LINES / 8],
}

/// A record of a response.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Index of the workload.
    pub workload: u32,
    /// Its status.
    pub status: u16,
    /// What kind of request it answers: a constant of [`kind`].
    pub kind: u8,
    /// Which request of its connection it answers, modulo 256.
    pub ordinal: u8,
}

impl Reason {
    /// Why a stream was lost; `lost` is a constant of [`crate::scan::lost`].
    #[inline(always)]
    #[must_use]
    pub const fn of_lost(lost: u32) -> Self {
        match lost {
            crate::scan::lost::NOT_HTTP1 => Self::NotHttp1,
            crate::scan::lost::HEAD_TOO_LARGE => Self::HeadTooLarge,
            crate::scan::lost::UPGRADED => Self::Upgraded,
            crate::scan::lost::PIPELINED => Self::Pipelined,
            _ => Self::FramingLost,
        }
    }
}
