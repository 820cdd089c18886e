//! Where programs of the kernel side go in a process.

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint};

/// A program of the kernel side, and where in a file it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) program: &'static str,
    pub(super) offset: u64,
    /// What the program is told there.
    pub(super) cookie: Option<u64>,
}

impl Point {
    pub(super) const fn new(program: &'static str, offset: u64) -> Self {
        Self { program, offset, cookie: None }
    }

    /// The same place, as aya has it.
    pub(super) fn place(&self) -> UProbeAttachPoint<'static> {
        UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(self.offset), cookie: self.cookie }
    }
}
