//! Contexts, and which executor runs for which.

pub(crate) mod executor;
mod lifecycle;
pub(crate) mod process;
pub(crate) mod slot;
