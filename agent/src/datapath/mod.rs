//! The kernel side: what it needs, loading it, attaching it to workloads.

pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod pod;
