//! Accepted connections: request heads that are read, responses that are written.

mod answer;
mod head;
mod read;
mod segment;
