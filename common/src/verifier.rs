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
