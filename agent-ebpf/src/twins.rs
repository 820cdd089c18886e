//! Programs that are there more than once.
//!
//! The kernel leaves a program out while another thread is within the same one on the same processor
//! (kernel/trace/bpf_trace.c, `__bpf_trace_run`; kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`). Since Linux 7.0, where
//! threads are preempted there, that may be for as long as the other thread waits for its turn. So user space attaches
//! three twins of a program there, too: an event is lost only where a thread was preempted in each of the four.

/// Whether twins are attached. Set by user space.
#[unsafe(no_mangle)]
static TWINS: u32 = 0;

/// Whether another program may have dealt with an event already. Known to the verifier.
#[inline(always)]
pub(crate) fn are_attached() -> bool {
    // SAFETY: what user space sets before loading; volatile, since the compiler sees another value.
    unsafe { core::ptr::read_volatile(&raw const TWINS) != 0 }
}

/// Programs of one kind on one function that all call `$body` with their context.
macro_rules! four_times {
    ($kind:ident on $function:tt ($context:ident) calls $body:ident: $($program:ident)+) => {
        $(
            #[$kind(function = $function)]
            pub fn $program(ctx: $context) -> i32 {
                $body(&ctx);
                0
            }
        )+
    };
}

pub(crate) use four_times;
