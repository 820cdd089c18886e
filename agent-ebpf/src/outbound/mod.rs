//! Connected sockets: request heads that are written.

mod gate;
mod insert;
pub(crate) mod response;
mod verdict;
mod write;
