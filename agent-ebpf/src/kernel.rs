//! The only place that reads kernel structures. Their layout comes from the
//! running kernel's BTF; user space resolves it and sets [`LAYOUT`].

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_skc_to_tcp_sock, bpf_task_pt_regs,
};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use baton_common::layout::Layout;
use baton_common::policy::mapped;

use crate::source::{MAX_PIECES, Source};

/// Offsets in the running kernel's structures.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// Offset of one field of [`Layout`], as user space set it.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: as in `layout`.
        unsafe { core::ptr::read_volatile(&raw const LAYOUT.$field) as usize }
    };
}

/// Reads a `T` at `base + offset` in kernel memory; zero where that fails.
#[inline(always)]
fn read<T: Copy + Default>(base: *const c_void, offset: usize) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address; `T` has no invalid values here.
    unsafe {
        bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, base.cast::<u8>().add(offset).cast());
    }
    value
}

/// Whether a tracepoint's socket has anything in socket storage. One load, which
/// is all that baton costs a socket that is not selected.
#[inline(always)]
pub(crate) fn has_storage(sk: *mut c_void) -> bool {
    let at = sk.wrapping_byte_add(offset!(sock_storage));
    // SAFETY: the verifier knows the type of a tracepoint's `sk`, and checks the load.
    unsafe { core::ptr::read_volatile(at.cast::<u64>()) != 0 }
}

/// Sequence number of the first byte of a packet in a TCP socket's receive queue.
#[inline(always)]
pub(crate) fn packet_seq(skb: *const __sk_buff) -> u32 {
    // In a program's hands the context is the packet itself.
    read(skb.cast(), offset!(skb_seq))
}

/// A TCP socket, as `struct tcp_sock`: a pointer whose type the verifier knows.
#[derive(Clone, Copy)]
pub(crate) struct Tcp(*const c_void);

/// Reads a 32-bit field of a [`Tcp`] with a plain load. The verifier knows the
/// offset, since what user space sets before loading is constant.
macro_rules! field {
    ($tcp:expr, $field:ident as $type:ty) => {{
        let at = $tcp.0.wrapping_byte_add(offset!($field));
        // SAFETY: the verifier checks the load against the structure's type.
        unsafe { core::ptr::read_volatile(at.cast::<$type>()) }
    }};
}

impl Tcp {
    /// From the socket of a program's context or of a tracepoint; `None` if it
    /// is no full TCP socket.
    #[inline(always)]
    pub(crate) fn new(sk: *mut c_void) -> Option<Self> {
        // SAFETY: `sk` is a socket that was checked for null.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sk) };
        if tcp.is_null() { None } else { Some(Self(tcp.cast())) }
    }

    /// Where it is in kernel memory.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// Sequence number after the last byte that was written.
    #[inline(always)]
    pub(crate) fn write_seq(self) -> u32 {
        field!(self, tcp_write_seq as u32)
    }

    /// Sequence number after the last byte that was acknowledged.
    #[inline(always)]
    pub(crate) fn snd_una(self) -> u32 {
        field!(self, tcp_snd_una as u32)
    }

    /// How many bytes were ever written, modulo 2³², as `tcp_info` counts those
    /// that were acknowledged.
    #[inline(always)]
    pub(crate) fn written(self) -> u32 {
        let acknowledged = field!(self, tcp_bytes_acked as u64) as u32;
        acknowledged.wrapping_add(self.write_seq().wrapping_sub(self.snd_una()))
    }

    /// Sequence number after the last byte that was read.
    #[inline(always)]
    pub(crate) fn copied_seq(self) -> u32 {
        field!(self, tcp_copied_seq as u32)
    }

    /// How many bytes were ever read, modulo 2³², as `tcp_info` counts those that were received.
    #[inline(always)]
    pub(crate) fn read(self) -> u32 {
        let received = field!(self, tcp_bytes_received as u64) as u32;
        received.wrapping_sub(field!(self, tcp_rcv_nxt as u32).wrapping_sub(self.copied_seq()))
    }

    /// Size of the send buffer, and how much of it is in use.
    #[inline(always)]
    pub(crate) fn send_buffer(self) -> (i32, i32) {
        (field!(self, sock_sndbuf as i32), field!(self, sock_wmem_queued as i32))
    }

    /// Ids of the socket's cgroup and its ancestors, upwards; 0 past the root.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> Cgroup {
        Cgroup(read(self.0, offset!(sock_cgroup)))
    }

    /// The sockmap's own state of the socket; null where it is no member.
    #[inline(always)]
    fn psock(self) -> *const c_void {
        // The low bits of sk_user_data are flags (include/net/sock.h, SK_USER_DATA_PTRMASK).
        (read::<u64>(self.0, offset!(sock_user_data)) & !7) as *const c_void
    }

    /// Whether the socket is a member, or somebody still works on it as one.
    #[inline(always)]
    pub(crate) fn is_member(self) -> bool {
        !self.psock().is_null()
    }

    /// How many use the socket as a member: the map, and every thread that is
    /// within a system call on it.
    #[inline(always)]
    pub(crate) fn member_users(self) -> u32 {
        let psock = self.psock();
        if psock.is_null() { 0 } else { read(psock, offset!(psock_refs)) }
    }

    /// Whether received data waits in the sockmap's own queues.
    #[inline(always)]
    pub(crate) fn has_ingress(self) -> bool {
        let psock = self.psock();
        if psock.is_null() {
            return false;
        }
        let head = psock as u64 + offset!(psock_ingress_msg) as u64;
        let first: u64 = read(psock, offset!(psock_ingress_msg));
        let queued: u32 = read(psock, offset!(psock_ingress_skb_len));
        first != head || queued != 0
    }

    /// Whether somebody waits for the socket: an epoll instance that watches it,
    /// or another thread. The current one does not, since it runs.
    #[inline(always)]
    pub(crate) fn is_watched(self) -> bool {
        let queue = field!(self, sock_wq as *const c_void).wrapping_byte_add(offset!(wq_first));
        // SAFETY: the verifier checks the load against the structure's type.
        let first = unsafe { core::ptr::read_volatile(queue.cast::<u64>()) };
        // An empty list's head points at itself.
        first != queue as u64
    }

    /// Whether the socket's file is in non-blocking mode.
    #[inline(always)]
    pub(crate) fn is_nonblocking(self) -> bool {
        /// `O_NONBLOCK` (include/uapi/asm-generic/fcntl.h), the same on both CPU architectures.
        const NONBLOCK: u32 = 0o4000;
        let socket = field!(self, sock_socket as *const c_void).wrapping_byte_add(offset!(socket_file));
        // SAFETY: the verifier checks the loads against the structures' types; they
        // give zero where there is no file.
        let file = unsafe { core::ptr::read_volatile(socket.cast::<*const c_void>()) };
        let flags = file.wrapping_byte_add(offset!(file_flags)).cast::<u32>();
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(flags) & NONBLOCK != 0 }
    }
}

/// Sequence number after the last byte that was written to the TCP socket at
/// `address`; 0 if there is none.
#[inline(always)]
pub(crate) fn write_seq_at(address: u64) -> u32 {
    read(address as *const c_void, offset!(tcp_write_seq))
}

/// Whether a thread works on the TCP socket at `address`. What is sent then is
/// sent by that thread, which is the current one.
#[inline(always)]
pub(crate) fn is_owned(address: u64) -> bool {
    read::<u32>(address as *const c_void, offset!(sock_owned)) != 0
}

/// A cgroup, as `struct cgroup`.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup(u64);

impl Cgroup {
    /// The cgroup's id (its inode number in cgroup2).
    #[inline(always)]
    pub(crate) fn id(self) -> u64 {
        let node: u64 = read(self.0 as *const c_void, offset!(cgroup_kn));
        read(node as *const c_void, offset!(kernfs_node_id))
    }

    /// The parent; `None` at the root.
    #[inline(always)]
    pub(crate) fn parent(self) -> Option<Self> {
        // `struct cgroup_subsys_state self` is the first member of struct cgroup.
        let parent: u64 = read(self.0 as *const c_void, offset!(cgroup_parent));
        if parent == 0 { None } else { Some(Self(parent)) }
    }

    /// Whether there is one.
    #[inline(always)]
    pub(crate) const fn exists(self) -> bool {
        self.0 != 0
    }
}

/// Thread id and process id of a `struct task_struct`.
#[inline(always)]
pub(crate) fn task_ids(task: *const c_void) -> (u32, u32) {
    (read(task, offset!(task_pid)), read(task, offset!(task_tgid)))
}

/// Whether the current thread is the only one of its process.
#[inline(always)]
pub(crate) fn is_only_thread() -> bool {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    let signal: u64 = read(task, offset!(task_signal));
    read::<u32>(signal as *const c_void, offset!(signal_threads)) == 1
}

/// Thread id and process id of the current thread, where the helper for it is
/// not to be had.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    // SAFETY: the verifier checks the loads against the structure's type.
    let id = |offset: usize| unsafe { core::ptr::read_volatile(task.wrapping_byte_add(offset).cast::<u32>()) };
    (id(offset!(task_pid)), id(offset!(task_tgid)))
}

/// What pthread_self() is in the current thread, with glibc and musl.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    // SAFETY: no arguments.
    read(unsafe { bpf_get_current_task_btf() }.cast_const().cast(), offset!(task_thread_pointer))
}

/// The cookie of the socket that the current process's file descriptor `fd`
/// stands for; 0 if it has none. `fd` must be a socket's.
#[inline(always)]
pub(crate) fn cookie_of(fd: u32) -> u64 {
    read(socket_of(fd), offset!(sock_cookie))
}

/// The other end of the socket that the current process's file descriptor `fd`
/// stands for, which must be a socket's.
#[inline(always)]
pub(crate) fn peer_of(fd: u32) -> Peer {
    // include/linux/socket.h
    const AF_UNIX: u16 = 1;
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let sock = socket_of(fd);
    let port = u16::from_be(read(sock, offset!(sock_peer_port)));
    match read::<u16>(sock, offset!(sock_family)) {
        AF_UNIX => Peer::Local,
        AF_INET => Peer::Address(mapped(read(sock, offset!(sock_peer))), port),
        AF_INET6 => Peer::Address(read(sock, offset!(sock_peer6)), port),
        _ => Peer::Unknown,
    }
}

/// The other end of a socket.
pub(crate) enum Peer {
    /// A process of this host, by a Unix socket.
    Local,
    /// An address, IPv4 as IPv4-mapped IPv6, and a port.
    Address([u8; 16], u16),
    /// Neither is known.
    Unknown,
}

/// The `struct sock` that the current process's file descriptor `fd` stands
/// for; null if it is not open. `fd` must be a socket's.
#[inline(always)]
fn socket_of(fd: u32) -> *const c_void {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    let files: u64 = read(task, offset!(task_files));
    let table: u64 = read(files as *const c_void, offset!(files_table));
    if fd >= read::<u32>(table as *const c_void, offset!(table_size)) {
        return core::ptr::null();
    }
    let entries: u64 = read(table as *const c_void, offset!(table_files));
    let file: u64 = read(entries as *const c_void, fd as usize * 8);
    let socket: u64 = read(file as *const c_void, offset!(file_private));
    let sock: u64 = read(socket as *const c_void, offset!(socket_sk));
    sock as *const c_void
}

/// System calls whose buffers are understood.
#[cfg(bpf_target_arch = "x86_64")]
mod syscall {
    // arch/x86/entry/syscalls/syscall_64.tbl
    pub(super) const READ: u64 = 0;
    pub(super) const READV: u64 = 19;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const RECVMSG: u64 = 47;
    pub(super) const WAITS: [u64; 3] = [232, 281, 441];
    // struct pt_regs, arch/x86/include/asm/ptrace.h
    pub(super) const REG_NUMBER: usize = 120;
    pub(super) const REG_ARG2: usize = 104;
    pub(super) const REG_ARG3: usize = 96;
    // C's first argument: RDI. Go's registers: RAX, RBX, R14.
    pub(super) const C_FIRST: usize = 112;
    pub(super) const GO_FIRST: usize = 80;
    pub(super) const GO_SECOND: usize = 40;
    pub(super) const GO_GOROUTINE: usize = 8;
    // RIP, RSP
    pub(super) const INSTRUCTION: usize = 128;
    pub(super) const STACK: usize = 152;
    // The flags, and whether JBE branches: CF or ZF is set (Intel SDM, Jcc).
    pub(super) const FLAGS: usize = 144;
    pub(super) const fn is_lower_or_same(flags: u64) -> bool {
        flags & 0x41 != 0
    }
}

/// System calls whose buffers are understood.
#[cfg(bpf_target_arch = "aarch64")]
mod syscall {
    // include/uapi/asm-generic/unistd.h
    pub(super) const READ: u64 = 63;
    pub(super) const READV: u64 = 65;
    pub(super) const RECVFROM: u64 = 207;
    pub(super) const RECVMSG: u64 = 212;
    pub(super) const WAITS: [u64; 3] = [22, 22, 441];
    // struct pt_regs, arch/arm64/include/asm/ptrace.h: x8 holds the number.
    pub(super) const REG_NUMBER: usize = 64;
    pub(super) const REG_ARG2: usize = 8;
    pub(super) const REG_ARG3: usize = 16;
    // C's first argument: R0. Go's registers: R0, R1, R28.
    pub(super) const C_FIRST: usize = 0;
    pub(super) const GO_FIRST: usize = 0;
    pub(super) const GO_SECOND: usize = 8;
    pub(super) const GO_GOROUTINE: usize = 224;
    // PC, SP
    pub(super) const INSTRUCTION: usize = 256;
    pub(super) const STACK: usize = 248;
    // PSTATE, and whether B.LS branches: C is clear or Z is set (Arm ARM, C1.2.4).
    pub(super) const FLAGS: usize = 264;
    pub(super) const fn is_lower_or_same(flags: u64) -> bool {
        flags & 1 << 29 == 0 || flags & 1 << 30 != 0
    }
}

/// The goroutine that has made the system call which the current thread is in.
/// Go's own code is compiled so that the register holds it there, too.
#[inline(always)]
pub(crate) fn current_goroutine() -> u64 {
    // SAFETY: as in `syscall_buffers`.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
        core::ptr::read_volatile(registers.wrapping_byte_add(syscall::GO_GOROUTINE).cast::<u64>())
    }
}

/// The file descriptor of the system call that the current thread is in.
#[inline(always)]
pub(crate) fn current_descriptor() -> u32 {
    // SAFETY: as in `syscall_buffers`.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
        core::ptr::read_volatile(registers.wrapping_byte_add(syscall::C_FIRST).cast::<u64>()) as u32
    }
}

/// Whether `number` is that of `epoll_wait`, `epoll_pwait` or `epoll_pwait2`.
#[inline(always)]
pub(crate) const fn waits_in_epoll(number: u64) -> bool {
    let [wait, pwait, pwait2] = syscall::WAITS;
    number == wait || number == pwait || number == pwait2
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
        self.at(syscall::C_FIRST)
    }

    /// A Go function's first argument; at a return of C's its result.
    #[inline(always)]
    pub(crate) fn first(self) -> u64 {
        self.at(syscall::GO_FIRST)
    }

    /// Whether a probed branch after the check of a goroutine's stack is taken:
    /// the stack grows then, and the function begins anew.
    #[inline(always)]
    pub(crate) fn stack_grows(self) -> bool {
        syscall::is_lower_or_same(self.at(syscall::FLAGS))
    }

    /// Its second argument.
    #[inline(always)]
    pub(crate) fn second(self) -> u64 {
        self.at(syscall::GO_SECOND)
    }

    /// Where the probed instruction is.
    #[inline(always)]
    pub(crate) fn instruction(self) -> u64 {
        self.at(syscall::INSTRUCTION)
    }

    /// The stack pointer.
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        self.at(syscall::STACK)
    }

    /// The current goroutine.
    #[inline(always)]
    pub(crate) fn goroutine(self) -> u64 {
        self.at(syscall::GO_GOROUTINE)
    }
}

/// Fills `source` with the buffers of the reading system call that the current
/// thread is in. Returns false if they are not understood (io_uring, …).
#[inline(always)]
pub(crate) fn syscall_buffers(source: &mut Source, len: u32) -> bool {
    // SAFETY: bpf_task_pt_regs returns the current task's saved registers, a
    // pointer whose type the verifier knows.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const c_void;
    // SAFETY: as above.
    let register =
        |offset: usize| unsafe { core::ptr::read_volatile(registers.wrapping_byte_add(offset).cast::<u64>()) };
    let number = register(syscall::REG_NUMBER);
    let buffer = register(syscall::REG_ARG2);
    source.rewind(len);
    match number {
        syscall::READ | syscall::RECVFROM => {
            source.set(buffer, len);
            true
        }
        syscall::READV => vector(source, buffer, register(syscall::REG_ARG3)),
        syscall::RECVMSG => {
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
