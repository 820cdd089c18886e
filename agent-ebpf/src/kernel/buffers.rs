//! Where the bytes are that a thread has read.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
};

use super::{arch, read};
use crate::source::{MAX_PIECES, Piece, Source};

/// How the bytes of a read are found.
#[derive(Clone, Copy)]
pub(crate) struct Buffers {
    /// Address of the read's `struct iov_iter`; 0 where only the system call is known.
    iter: u64,
}

impl Buffers {
    /// By the arguments of the system call that the current thread is in.
    pub(crate) const OF_SYSCALL: Self = Self { iter: 0 };

    /// By what the kernel itself reads to, right after the read.
    #[inline(always)]
    pub(crate) fn of_iter(iter: Iter) -> Self {
        Self { iter: iter.0 }
    }

    /// Fills `source` with the pieces of memory in which the `len` bytes are that were read. Returns false if they are not
    /// understood.
    #[inline(always)]
    pub(crate) fn fill(self, source: &mut Source, len: u32) -> bool {
        if self.iter == 0 { of_syscall(source, len) } else { Iter(self.iter).before(source, len) }
    }
}

/// Where the kernel copies to: a `struct iov_iter` (include/linux/uio.h). It moves on as bytes are copied.
#[derive(Clone, Copy)]
pub(crate) struct Iter(u64);

impl Iter {
    /// That of a `struct msghdr`.
    #[inline(always)]
    pub(crate) fn of_message(message: u64) -> Self {
        Self(message.wrapping_add(offset!(message_iter) as u64))
    }

    /// The one at this address.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Self {
        Self(address)
    }

    /// Its address.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn get<T: Copy + Default>(self, offset: usize) -> T {
        read(self.0 as *const c_void, offset)
    }

    /// Bytes that may yet be copied.
    #[inline(always)]
    pub(crate) fn left(self) -> u64 {
        self.get(offset!(iter_count))
    }

    /// Fills `source` with the last `len` bytes that were copied. As iov_iter_revert() does it (lib/iov_iter.c): what lies
    /// behind is not cleared.
    #[inline(always)]
    fn before(self, source: &mut Source, len: u32) -> bool {
        source.rewind(len);
        let kind = u32::from(self.get::<u8>(offset!(iter_type)));
        let taken: u64 = self.get(offset!(iter_offset));
        if kind == offset!(iter_is_buffer) as u32 {
            let base: u64 = self.get(offset!(iter_buffer));
            source.set(base.wrapping_add(taken).wrapping_sub(u64::from(len)), len);
            return true;
        }
        if kind != offset!(iter_is_vector) as u32 {
            return false;
        }
        let mut at: u64 = self.get(offset!(iter_vector));
        let mut skip = taken;
        let mut rest = u64::from(len);
        // Back to the piece in which the read began. The last one counts if anything was copied to it.
        let mut pieces = usize::from(taken > 0);
        while rest > skip {
            if pieces >= MAX_PIECES {
                return false;
            }
            rest -= skip;
            at = at.wrapping_sub(size_of::<Piece>() as u64);
            skip = read(at as *const c_void, size_of::<u64>());
            pieces += 1;
        }
        let skip = skip - rest;
        // SAFETY: `pieces` has the layout and room for eight of them; those past the read's end are not looked at.
        let failed = unsafe {
            let to = source.pieces.as_mut_ptr();
            bpf_probe_read_kernel(to.cast(), size_of::<[Piece; MAX_PIECES]>() as u32, at as *const c_void)
        };
        if failed != 0 {
            return false;
        }
        source.pieces[0].base = source.pieces[0].base.wrapping_add(skip);
        source.pieces[0].len = source.pieces[0].len.wrapping_sub(skip);
        source.count = MAX_PIECES as u32;
        true
    }
}

/// Fills `source` with the buffers of the reading system call that the current
/// thread is in. Returns false if they are not understood (io_uring, …).
#[inline(always)]
fn of_syscall(source: &mut Source, len: u32) -> bool {
    // SAFETY: bpf_task_pt_regs returns the current task's saved registers, a
    // pointer whose type the verifier knows.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const c_void;
    // SAFETY: as above.
    let register =
        |offset: usize| unsafe { core::ptr::read_volatile(registers.wrapping_byte_add(offset).cast::<u64>()) };
    let number = register(arch::REG_NUMBER);
    let buffer = register(arch::REG_ARG2);
    source.rewind(len);
    match number {
        arch::READ | arch::RECVFROM => {
            source.set(buffer, len);
            true
        }
        arch::READV => vector(source, buffer, register(arch::REG_ARG3)),
        arch::RECVMSG => {
            // struct user_msghdr, include/linux/socket.h: msg_iov at 16, msg_iovlen at 24.
            let mut header = [0u64; 2];
            // SAFETY: the helper checks the address.
            let failed =
                unsafe { bpf_probe_read_user((&raw mut header).cast(), 16, buffer.wrapping_add(16) as *const c_void) };
            failed == 0 && vector(source, header[0], header[1])
        }
        _ => false,
    }
}

#[inline(always)]
fn vector(source: &mut Source, base: u64, count: u64) -> bool {
    if count == 0 || count > MAX_PIECES as u64 {
        return false;
    }
    source.count = count as u32;
    let mut bytes = (count as u32) << 4;
    // SAFETY: hides the value from LLVM, so that the mask below stays.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) bytes) };
    if bytes > 128 {
        return false;
    }
    // SAFETY: `pieces` has the layout and room for up to eight iovecs.
    unsafe { bpf_probe_read_user(source.pieces.as_mut_ptr().cast(), bytes, base as *const c_void) == 0 }
}
