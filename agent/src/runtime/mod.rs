//! Support for language runtimes: finds out what the processes of a workload
//! run, and attaches what the kernel side needs to tell their light threads apart.

mod code;
mod elf;
mod epoll;
mod file;
mod go;
mod inspect;
mod jvm;
mod kept;
mod mapped;
mod news;
mod pclntab;
mod php;
mod point;
mod python;
mod ruby;
mod sockets;
mod support;
mod tracker;

pub(crate) use inspect::{Inspection, inspect};
pub(crate) use tracker::Tracker;
