//! Language runtimes that the kernel side knows, and what it tells user space about processes.

/// What a process's runtime is, as user space found it.
pub mod kind {
    /// Not known, or none that is supported.
    pub const NONE: u32 = 0;
    /// User space has been asked.
    pub const ASKED: u32 = 1;
    /// As [`ASKED`], and something was noted in case that it is Go.
    pub const NOTED: u32 = 4;
    /// Go: a goroutine is an executor.
    pub const GO: u32 = 2;
    /// A Java virtual machine: it is known which threads wait in epoll.
    pub const JVM: u32 = 3;
    /// CPython: where a thread runs code in a context (`contextvars`), that is an executor.
    pub const PYTHON: u32 = 5;
    /// None that is supported, but it is known when its event loops wait.
    pub const LOOPS: u32 = 6;
    /// As [`NONE`], and user space has said so for good.
    pub const FINAL: u32 = 7;
    /// As [`JVM`]; and a thread of a pool was seen to answer the request that it had read.
    pub const JVM_SERVES: u32 = 10;
    /// As [`JVM`]; but a thread has answered a request that another one had
    /// read: who reads one need not work for it.
    pub const JVM_HANDS_ON: u32 = 9;
    /// PHP-FPM: it is known when a worker begins and ends a request.
    pub const PHP_FPM: u32 = 8;
    /// Ruby with Puma: it is known which threads wait in epoll.
    pub const PUMA: u32 = 11;
}

/// Something of one process: a goroutine, a Python context, or a connection object of its libraries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    /// Where it is in the process's memory.
    pub address: u64,
    /// The process.
    pub tgid: u64,
}

/// Where a Python interpreter keeps what its threads run in. Offsets are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Python {
    /// Address of the pointer to the main `PyInterpreterState`.
    pub interpreter: u64,
    /// The first `PyThreadState`, in `PyInterpreterState`.
    pub threads: u32,
    /// The next one, in `PyThreadState`.
    pub next: u32,
    /// What pthread_self() is in the thread, in `PyThreadState`.
    pub thread: u32,
    /// The current context (`PyContext`), in `PyThreadState`.
    pub context: u32,
    /// What else is known of the process, bits of [`loaded`].
    pub flags: u32,
    /// Set by the kernel side once it has asked user space to look at what the process has loaded.
    pub asked: u32,
}

/// Bits of [`Python::flags`].
pub mod loaded {
    /// uvloop's functions are probed.
    pub const UVLOOP: u32 = 1;
    /// Greenlets may run on its threads (gevent, eventlet), which nothing tells apart.
    pub const GREENLETS: u32 = 1 << 1;
    /// It has a library that starts requests in the context of others.
    pub const QUEUES: u32 = 1 << 2;
    /// The interpreter is not understood.
    pub const UNKNOWN: u32 = 1 << 3;
}

/// What [`Notice`]s are about.
pub mod notice {
    /// A process of a workload began to run a program.
    pub const STARTED: u32 = 0;
    /// A process reads requests, or is about to, in a way that asks for another look.
    pub const SERVES: u32 = 1;
    /// A process without a runtime that is supported has an event loop, in a workload with balanced attribution.
    pub const LOOPS: u32 = 3;
    /// A process of which user space was told has ended.
    pub const ENDED: u32 = 2;
}

/// One record for user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The process.
    pub tgid: u32,
    /// A constant of [`notice`].
    pub about: u32,
}
