//! Connected sockets: request heads that are written.

mod insert;
mod verdict;
mod write;
