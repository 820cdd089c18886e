//! What differs between CPU architectures: numbers of system calls, and where registers are saved.

pub(super) use own::*;

#[cfg(bpf_target_arch = "x86_64")]
mod own {
    // arch/x86/entry/syscalls/syscall_64.tbl
    pub(crate) const READ: u64 = 0;
    pub(crate) const READV: u64 = 19;
    pub(crate) const RECVFROM: u64 = 45;
    pub(crate) const RECVMSG: u64 = 47;
    pub(crate) const WAITS: [u64; 3] = [232, 281, 441];
    /// write, sendfile, sendto, sendmsg, writev, splice, sendmmsg
    pub(crate) const SENDS: [u64; 7] = [1, 40, 44, 46, 20, 275, 307];
    // struct pt_regs, arch/x86/include/asm/ptrace.h
    pub(crate) const REG_NUMBER: usize = 120;
    pub(crate) const REG_ARG2: usize = 104;
    pub(crate) const REG_ARG3: usize = 96;
    // C's first argument: RDI. Go's registers: RAX, RBX, R14.
    pub(crate) const C_FIRST: usize = 112;
    pub(crate) const GO_FIRST: usize = 80;
    pub(crate) const GO_SECOND: usize = 40;
    pub(crate) const GO_GOROUTINE: usize = 8;
    // RIP, RSP
    pub(crate) const INSTRUCTION: usize = 128;
    pub(crate) const STACK: usize = 152;
    // The flags, and whether JBE branches: CF or ZF is set (Intel SDM, Jcc).
    pub(crate) const FLAGS: usize = 144;
    pub(crate) const fn is_lower_or_same(flags: u64) -> bool {
        flags & 0x41 != 0
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod own {
    // include/uapi/asm-generic/unistd.h
    pub(crate) const READ: u64 = 63;
    pub(crate) const READV: u64 = 65;
    pub(crate) const RECVFROM: u64 = 207;
    pub(crate) const RECVMSG: u64 = 212;
    pub(crate) const WAITS: [u64; 3] = [22, 22, 441];
    /// As above.
    pub(crate) const SENDS: [u64; 7] = [64, 71, 206, 211, 66, 76, 269];
    // struct pt_regs, arch/arm64/include/asm/ptrace.h: x8 holds the number.
    pub(crate) const REG_NUMBER: usize = 64;
    pub(crate) const REG_ARG2: usize = 8;
    pub(crate) const REG_ARG3: usize = 16;
    // C's first argument: R0. Go's registers: R0, R1, R28.
    pub(crate) const C_FIRST: usize = 0;
    pub(crate) const GO_FIRST: usize = 0;
    pub(crate) const GO_SECOND: usize = 8;
    pub(crate) const GO_GOROUTINE: usize = 224;
    // PC, SP
    pub(crate) const INSTRUCTION: usize = 256;
    pub(crate) const STACK: usize = 248;
    // PSTATE, and whether B.LS branches: C is clear or Z is set (Arm ARM, C1.2.4).
    pub(crate) const FLAGS: usize = 264;
    pub(crate) const fn is_lower_or_same(flags: u64) -> bool {
        flags & 1 << 29 == 0 || flags & 1 << 30 != 0
    }
}
