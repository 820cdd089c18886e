//! Where programs of the kernel side go in a process.

/// A program of the kernel side, and where in a file it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) program: &'static str,
    pub(super) offset: u64,
}
