//! Connected sockets: request heads that are written.

mod gate;
mod insert;
pub(crate) mod response;
mod skim;
pub(crate) mod upload;
pub(crate) mod verdict;
mod write;
