//! Connected sockets: request heads that are written.

mod gate;
mod insert;
mod verdict;
mod write;
