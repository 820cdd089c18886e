//! Scratch memory for one program run.

use baton_common::scan::{Lines, Turn, Window};
use baton_common::select::Select;
use baton_common::socket::Socket;

use crate::atomic;
use crate::inbound::php::Variables;
use crate::maps::SCRATCH;
use crate::source::Source;

/// Pieces of scratch memory per processor.
pub(crate) const COUNT: u32 = 4;

/// What a run needs that does not fit on its stack. Nothing in it survives the
/// run: every field is written before it is read.
#[repr(C)]
pub(crate) struct Scratch {
    busy: u64,
    pub(crate) source: Source,
    pub(crate) turn: Turn,
    pub(crate) window: Window,
    pub(crate) lines: Lines,
    pub(crate) select: Select,
    /// Stands for a connection whose socket has no state of its own.
    pub(crate) socket: Socket,
    pub(crate) variables: Variables,
    /// Bytes of lines to write into the message, and written.
    pub(crate) to_write: u32,
    pub(crate) written: u32,
    /// Where in the message's readable part they go.
    pub(crate) write_at: u32,
}

/// Takes a free piece of scratch memory. Programs can be preempted and another
/// one can run on the same processor, so each piece has an owner.
#[inline(always)]
pub(crate) fn acquire() -> Option<*mut Scratch> {
    for index in 0..COUNT {
        if let Some(scratch) = SCRATCH.get_ptr_mut(index) {
            // SAFETY: a word of a map value.
            if unsafe { atomic::replace(&raw mut (*scratch).busy, 0, 1) } {
                return Some(scratch);
            }
        }
    }
    None
}

/// Gives `scratch` back.
#[inline(always)]
pub(crate) fn release(scratch: *mut Scratch) {
    // SAFETY: the caller owns `scratch`; one aligned word is written.
    unsafe { core::ptr::write_volatile(&raw mut (*scratch).busy, 0) };
}
