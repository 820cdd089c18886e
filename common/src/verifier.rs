//! Keeps LLVM from taking away the bounds that the BPF verifier needs to see.

/// Hides where `value` comes from.
///
/// LLVM knows more than the verifier, for example that a count of bits is at
/// most 64, and drops the mask behind it; then the verifier refuses the access:
/// "R1 max value is outside of the allowed memory range".
#[inline(always)]
#[must_use]
pub fn hide(value: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = u64::from(value);
        // SAFETY: moves a register to itself. (An empty string would do, but
        // leaves a line of debug information without an instruction.)
        #[expect(unsafe_code, reason = "inline assembly")]
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// As [`hide`], for an address.
#[inline(always)]
#[cfg(target_arch = "bpf")]
fn hidden(address: *mut u8) -> *mut u64 {
    let mut address = address;
    // SAFETY: moves a register to itself.
    #[expect(unsafe_code, reason = "inline assembly")]
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
    }
    address.cast()
}

/// The word `after` words behind `address`, which need not be aligned.
///
/// Of a word that LLVM knows not to be aligned it makes eight loads of single
/// bytes. (It can be told better since version 22, but then does the same on the
/// stack, where the verifier refuses it.)
///
/// # Safety
/// The word must be valid for reads; in BPF, in a map's memory.
#[inline(always)]
#[expect(unsafe_code, reason = "words that are not aligned")]
pub(crate) unsafe fn load(address: *const u8, after: usize) -> u64 {
    // SAFETY: the caller's. BPF's loads need no alignment.
    #[cfg(target_arch = "bpf")]
    unsafe {
        hidden(address.cast_mut()).add(after).read()
    }
    // SAFETY: the caller's.
    #[cfg(not(target_arch = "bpf"))]
    unsafe {
        address.cast::<u64>().add(after).read_unaligned()
    }
}

/// Writes a word, as [`load`] reads it.
///
/// # Safety
/// The word must be valid for writes; in BPF, in a map's memory.
#[inline(always)]
#[expect(unsafe_code, reason = "words that are not aligned")]
pub(crate) unsafe fn store(address: *mut u8, after: usize, value: u64) {
    // SAFETY: as in `load`.
    #[cfg(target_arch = "bpf")]
    unsafe {
        hidden(address).add(after).write(value);
    }
    // SAFETY: as in `load`.
    #[cfg(not(target_arch = "bpf"))]
    unsafe {
        address.cast::<u64>().add(after).write_unaligned(value);
    }
}
