//! Saved registers: of the system call that the current thread is in, and at a probe.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::arch;

/// The goroutine that has made the system call which the current thread is in.
/// Go's own code is compiled so that the register holds it there, too.
#[inline(always)]
pub(crate) fn current_goroutine() -> u64 {
    // SAFETY: the registers of the current task are a pointer whose type the verifier knows.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
        core::ptr::read_volatile(registers.wrapping_byte_add(arch::GO_GOROUTINE).cast::<u64>())
    }
}

/// The file descriptor of the system call that the current thread is in.
#[inline(always)]
pub(crate) fn current_descriptor() -> u32 {
    // SAFETY: the registers of the current task are a pointer whose type the verifier knows.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
        core::ptr::read_volatile(registers.wrapping_byte_add(arch::C_FIRST).cast::<u64>()) as u32
    }
}

/// Whether `number` is that of `epoll_wait`, `epoll_pwait` or `epoll_pwait2`.
#[inline(always)]
pub(crate) const fn waits_in_epoll(number: u64) -> bool {
    let [wait, pwait, pwait2] = arch::WAITS;
    number == wait || number == pwait || number == pwait2
}

/// Whether the current thread is in a system call that sends. Not all of them are known, nor those of 32-bit programs.
#[inline(always)]
pub(crate) fn is_sending() -> bool {
    // SAFETY: the registers of the current task are a pointer whose type the verifier knows.
    let number = unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
        core::ptr::read_volatile(registers.wrapping_byte_add(arch::REG_NUMBER).cast::<u64>())
    };
    let [write, sendfile, sendto, sendmsg, writev, splice, sendmmsg] = arch::SENDS;
    number == write
        || number == sendfile
        || number == sendto
        || number == sendmsg
        || number == writev
        || number == splice
        || number == sendmmsg
}

/// The registers at a probe.
#[derive(Clone, Copy)]
pub(crate) struct Registers(*const c_void);

impl Registers {
    #[inline(always)]
    pub(crate) fn of(ctx: &ProbeContext) -> Self {
        Self(ctx.regs.cast::<c_void>())
    }

    #[inline(always)]
    pub(crate) fn at_return(ctx: &RetProbeContext) -> Self {
        Self(ctx.regs.cast::<c_void>())
    }

    #[inline(always)]
    fn at(self, offset: usize) -> u64 {
        // SAFETY: an aligned member of the program's context.
        unsafe { core::ptr::read_volatile(self.0.wrapping_byte_add(offset).cast::<u64>()) }
    }

    /// A C function's first argument.
    #[inline(always)]
    pub(crate) fn c_first(self) -> u64 {
        self.at(arch::C_FIRST)
    }

    /// A Go function's first argument; at a return of C's its result.
    #[inline(always)]
    pub(crate) fn first(self) -> u64 {
        self.at(arch::GO_FIRST)
    }

    /// Whether a probed branch after the check of a goroutine's stack is taken:
    /// the stack grows then, and the function begins anew.
    #[inline(always)]
    pub(crate) fn stack_grows(self) -> bool {
        arch::is_lower_or_same(self.at(arch::FLAGS))
    }

    /// Its second argument.
    #[inline(always)]
    pub(crate) fn second(self) -> u64 {
        self.at(arch::GO_SECOND)
    }

    /// Where the probed instruction is.
    #[inline(always)]
    pub(crate) fn instruction(self) -> u64 {
        self.at(arch::INSTRUCTION)
    }

    /// The stack pointer.
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        self.at(arch::STACK)
    }

    /// The current goroutine.
    #[inline(always)]
    pub(crate) fn goroutine(self) -> u64 {
        self.at(arch::GO_GOROUTINE)
    }
}
