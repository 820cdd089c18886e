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
}

/// Something of one process: a goroutine, or a connection object of its libraries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    /// Where it is in the process's memory.
    pub address: u64,
    /// The process.
    pub tgid: u64,
}

/// What [`Notice`]s are about.
pub mod notice {
    /// A process of a workload began to run a program.
    pub const STARTED: u32 = 0;
    /// A process that is in none of the other notices has read a request.
    pub const SERVES: u32 = 1;
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
