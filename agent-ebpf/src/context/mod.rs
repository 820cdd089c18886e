//! Contexts, and which executor runs for which.

pub(crate) mod executor;
pub(crate) mod goroutine;
mod lifecycle;
pub(crate) mod process;
pub(crate) mod runtime;
pub(crate) mod slot;
mod waiter;
