//! Accepted connections: request heads that are read, responses that are written.

mod answer;
mod head;
mod hook;
mod pass;
pub(crate) mod php;
mod read;
mod segment;
mod skim;
