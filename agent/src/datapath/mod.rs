//! The kernel side: what it needs, loading it, attaching it to workloads,
//! testing it, and getting rid of it without a trace.

pub(crate) mod adopt;
mod clock;
pub(crate) mod drain;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod pod;
pub(crate) mod probe;
pub(crate) mod selftest;
mod tcp;
pub(crate) mod workload;
