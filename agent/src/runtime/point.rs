//! Where programs of the kernel side go in a process.

use std::num::NonZeroU32;
use std::path::Path;

use crate::datapath::uprobe::Place;

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

    /// The same place in the file `path`, in one process or in all.
    pub(super) const fn of<'a>(&self, path: &'a Path, process: Option<NonZeroU32>) -> Place<'a> {
        Place { path, offset: self.offset, cookie: self.cookie, process }
    }
}
