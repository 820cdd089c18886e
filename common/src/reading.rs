//! What is known of a read that has begun.

/// Where a thread reads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Address of its `struct iov_iter` in kernel memory.
    pub iter: u64,
    /// Bytes that may yet be read when it was looked at last.
    pub left: u64,
    /// Address of the `struct sock` that it reads from. What is read from others meanwhile, in an interrupt, is not this
    /// thread's.
    pub sock: u64,
}
