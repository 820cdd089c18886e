//! Lets messages through to `sk_msg_write` as long as baton lives, where the
//! SOCKHASH outlives it.
//!
//! Members keep the program that was attached to the map when they came in
//! (net/core/sock_map.c, `sock_map_link`), for good. So that a later baton can
//! take them over, this program is but a door to whatever is in [`DOOR`], which
//! is pinned beside the map.
//!
//! Nothing must be inserted once baton is dead: its other programs go, and no
//! answer is seen any more. [`ALIVE`] tells: the kernel takes an element out of
//! such an array in the moment that the file is closed through which it was put
//! in (kernel/bpf/arraymap.c, `perf_event_fd_array_release`). User space sees to
//! it that this is the first file that is closed. [`GATE`] is cleared a little
//! later (`prog_array_map_clear`), and frees all the rest of a dead baton.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::generated::bpf_perf_event_output;
use aya_ebpf::macros::sk_msg;
use aya_ebpf::programs::SkMsgContext;

use crate::maps::{ALIVE, DOOR, GATE};

/// Attached to the SOCKHASH; stays the same for ever.
#[sk_msg]
pub fn sk_msg_door(ctx: SkMsgContext) -> u32 {
    // SAFETY: nothing is held that would have to be given back.
    unsafe { DOOR.tail_call(&ctx, 0) };
    SK_PASS
}

/// Behind the door: baton's own.
#[sk_msg]
pub fn sk_msg_gate(ctx: SkMsgContext) -> u32 {
    if is_alive(&ctx) {
        // SAFETY: as above.
        unsafe { GATE.tail_call(&ctx, 0) };
    }
    SK_PASS
}

/// Whether baton's event is there. It is one that takes no output, which the
/// kernel says after it has found it (kernel/trace/bpf_trace.c, `__bpf_perf_event_output`).
#[inline(always)]
fn is_alive(ctx: &SkMsgContext) -> bool {
    /// include/uapi/asm-generic/errno-base.h
    const EINVAL: i64 = 22;
    let nothing = 0u64;
    // SAFETY: the context and the map are valid; the word lives on the stack.
    let said = unsafe {
        bpf_perf_event_output(
            ctx.as_ptr(),
            ptr::from_ref(&ALIVE).cast_mut().cast::<c_void>(),
            0,
            (&raw const nothing).cast_mut().cast(),
            8,
        )
    };
    said == -EINVAL
}
