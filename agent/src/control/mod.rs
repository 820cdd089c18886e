//! Decides what is selected: commands of `baton exec`, cgroups and pods of `baton run`.

pub(crate) mod cgroup;
pub(crate) mod confine;
pub(crate) mod exec;
pub(crate) mod guard;
mod health;
mod kubernetes;
mod leaving;
mod namespace;
pub(crate) mod plan;
pub(crate) mod run;
mod scrape;
mod signals;
pub(crate) mod socket;
