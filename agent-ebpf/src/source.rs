//! Where an event's bytes are, and how they come into the window.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user, bpf_skb_load_bytes};
use baton_common::names::Names;
use baton_common::scan::{self, CARRY, Lines, Scan, Turn, WINDOW_INPUT, Window, phase, stop};

use crate::scratch::Scratch;

/// Pieces of memory that one event may consist of.
pub(crate) const MAX_PIECES: usize = 8;

/// Steps that one event may take: a head of 16 KiB in 64-byte steps, a step
/// for each of its lines, and the framing of a body.
const MAX_STEPS: u32 = 2048;

/// A kind of memory that an event's bytes are in. One program knows one kind,
/// since not every program may call every helper.
pub(crate) trait Memory {
    /// Copies `len` bytes at `from` to `to`; returns 0 if it did.
    ///
    /// # Safety
    /// `to` must have room for `len` bytes.
    unsafe fn copy(run: &Run, to: *mut c_void, len: u32, from: u64) -> i64;
}

/// The current task's memory.
pub(crate) enum User {}

impl Memory for User {
    #[inline(always)]
    unsafe fn copy(_run: &Run, to: *mut c_void, len: u32, from: u64) -> i64 {
        // SAFETY: `to` is the caller's; the helper checks `from`.
        unsafe { bpf_probe_read_user(to, len, from as *const c_void) }
    }
}

/// The kernel's memory.
pub(crate) enum Kernel {}

impl Memory for Kernel {
    #[inline(always)]
    unsafe fn copy(_run: &Run, to: *mut c_void, len: u32, from: u64) -> i64 {
        // SAFETY: as above.
        unsafe { bpf_probe_read_kernel(to, len, from as *const c_void) }
    }
}

/// A packet, from its network header on.
pub(crate) enum Packet {}

impl Memory for Packet {
    #[inline(always)]
    unsafe fn copy(run: &Run, to: *mut c_void, len: u32, from: u64) -> i64 {
        // SAFETY: as above; `packet` is the program's context.
        unsafe { bpf_skb_load_bytes(run.packet.cast(), from as u32, to, len) }
    }
}

/// A piece of memory; the layout of `struct iovec` (include/uapi/linux/uio.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// An event's bytes.
#[repr(C)]
pub(crate) struct Source {
    pub(crate) pieces: [Piece; MAX_PIECES],
    pub(crate) count: u32,
    piece: u32,
    /// Bytes of the current piece that have been loaded or passed over.
    taken: u64,
    /// Bytes of the event that may be looked at.
    left: u64,
    /// The window's first new byte, counted from the event's beginning.
    offset: u64,
    /// Bytes of the event up to the end of the window.
    passed: u64,
}

impl Source {
    /// One piece of `len` bytes.
    #[inline(always)]
    pub(crate) fn set(&mut self, base: u64, len: u32) {
        self.pieces[0] = Piece { base, len: u64::from(len) };
        self.count = 1;
        self.rewind(len);
    }

    /// Starts at the beginning, for an event of `len` bytes.
    #[inline(always)]
    pub(crate) fn rewind(&mut self, len: u32) {
        self.piece = 0;
        self.taken = 0;
        self.left = u64::from(len);
        self.offset = 0;
        self.passed = 0;
    }
}

/// The pointers that the loop's callback needs; all scalars are in map memory,
/// where the verifier does not follow their values from turn to turn.
#[repr(C)]
pub(crate) struct Run {
    pub(crate) scratch: *mut Scratch,
    pub(crate) scan: *mut Scan,
    pub(crate) lines: *mut Lines,
    pub(crate) names: *const Names,
    /// For [`Packet`]; else null.
    pub(crate) packet: *mut __sk_buff,
}

/// Scans on from where `scratch` stands until something is complete or the
/// event's bytes are used up. Returns a constant of [`stop`].
#[inline(always)]
pub(crate) fn run<M: Memory>(run: &mut Run) -> u32 {
    // SAFETY: the pointers are map values that outlive the call.
    unsafe {
        (*run.scratch).turn.stop = stop::NO;
        bpf_loop(MAX_STEPS, step::<M> as *mut c_void, ptr::from_mut(run).cast(), 0);
        match (*run.scratch).turn.stop {
            stop::NO => (*run.scan).lose(scan::lost::FRAMING),
            said => said,
        }
    }
}

/// Opens an empty window, so that the first step loads.
#[inline(always)]
pub(crate) fn open(scratch: *mut Scratch, collect: bool) {
    // SAFETY: the caller owns `scratch`.
    let turn = unsafe { &mut (*scratch).turn };
    turn.pos = CARRY;
    turn.line = CARRY;
    turn.end = CARRY;
    turn.collect = u32::from(collect);
}

/// Bytes of the event up to the scanner's position.
#[inline(always)]
pub(crate) fn position(scratch: *const Scratch) -> u32 {
    // SAFETY: the caller owns `scratch`.
    let (turn, source) = unsafe { (&(*scratch).turn, &(*scratch).source) };
    (source.offset as u32).wrapping_add(turn.pos).wrapping_sub(CARRY)
}

extern "C" fn step<M: Memory>(_index: u32, run: *mut Run) -> i64 {
    // SAFETY: `run` lives in the caller's frame; its pointers are map values.
    let (run, scratch, scan, names, lines) =
        unsafe { (&*run, &mut *(*run).scratch, &mut *(*run).scan, &*(*run).names, &mut *(*run).lines) };
    // An empty window has no line to put away.
    let said = if scratch.turn.line >= scratch.turn.end && scan.phase != phase::COPY {
        stop::INPUT
    } else {
        scan_step(scan, &mut scratch.turn, &scratch.window, names, lines)
    };
    if said == stop::INPUT && load::<M>(run, scratch, scan) {
        return 0;
    }
    scratch.turn.stop = said;
    i64::from(said != stop::NO)
}

/// One step of the scanner. A function with a global symbol is verified once,
/// by itself, and not again for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_step(
    scan: *mut Scan,
    turn: *mut Turn,
    window: *const Window,
    names: *const Names,
    lines: *mut Lines,
) -> u32 {
    if scan.is_null() || turn.is_null() || window.is_null() || names.is_null() || lines.is_null() {
        return stop::LOST;
    }
    // SAFETY: checked for null; the verifier checks the rest at each call.
    unsafe { scan::step(&mut *scan, &mut *turn, &*window, &*names, &mut *lines) }
}

/// Loads the next bytes into the window. Returns false if there are none.
#[inline(always)]
fn load<M: Memory>(run: &Run, scratch: &mut Scratch, scan: &mut Scan) -> bool {
    let source = &mut scratch.source;
    if source.piece >= source.count || source.left == 0 {
        return false;
    }
    let piece = source.pieces[source.piece as usize & (MAX_PIECES - 1)];
    let mut available = piece.len.wrapping_sub(source.taken).min(source.left);
    // What is only counted need not be looked at.
    if scan.phase == phase::BODY || scan.phase == phase::CHUNK_DATA {
        let pass = scan.body.min(available);
        // The last byte is left for the scanner, which ends the body with it.
        let pass = if pass == scan.body { pass.saturating_sub(1) } else { pass };
        scan.body -= pass;
        source.taken += pass;
        source.left -= pass;
        source.passed += pass;
        available -= pass;
    }
    let mut input = available as u32;
    if available > u64::from(WINDOW_INPUT) {
        input = WINDOW_INPUT;
    }
    if input == 0 {
        source.piece += 1;
        source.taken = 0;
    } else {
        // The verifier must see the bounds on the register that is passed. Before 6.8 it learns nothing from a comparison
        // for equality: with the least that there is, in a register, LLVM compares as it is written here.
        let mut least = 1u32;
        // SAFETY: hides the values from LLVM, which would drop the comparisons.
        unsafe { core::arch::asm!("{0} = {0}", "{1} = {1}", inout(reg) input, inout(reg) least) };
        if input < least || input > WINDOW_INPUT {
            return false;
        }
        // SAFETY: the window holds CARRY + WINDOW_INPUT bytes.
        let failed = unsafe {
            let to = scratch.window.as_words_mut().as_mut_ptr().add(CARRY as usize / 8).cast();
            M::copy(run, to, input, piece.base.wrapping_add(source.taken))
        };
        if failed != 0 {
            scan.lose(scan::lost::FRAMING);
            return false;
        }
        source.taken += u64::from(input);
        source.left -= u64::from(input);
    }
    source.offset = source.passed;
    source.passed += u64::from(input);
    scratch.turn.open(scan, &mut scratch.window, input);
    true
}
