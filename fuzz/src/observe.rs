//! The agent's `observe`.

#[path = "../../agent/src/observe/flow.rs"]
pub(crate) mod flow;
