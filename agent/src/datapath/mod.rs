//! The kernel side: what it needs, loading it, attaching it to workloads,
//! testing it, and getting rid of it without a trace.

pub(crate) mod adopt;
mod bpf;
mod btf;
mod clock;
pub(crate) mod counters;
mod descriptors;
pub(crate) mod drain;
pub(crate) mod freeze;
mod gate;
pub(crate) mod hook;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod messages;
pub(crate) mod pins;
pub(crate) mod pod;
pub(crate) mod probe;
mod program;
mod rewind;
pub(crate) mod selftest;
pub(crate) mod statistics;
mod tcp;
mod totals;
mod twins;
pub(crate) mod uprobe;
pub(crate) mod workload;
