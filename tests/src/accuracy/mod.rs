//! The accuracy bench: applications on many runtimes, each under load of many handlers at once, each outbound request
//! judged by what its own inbound request carried.

mod application;
mod cell;
mod handler;
mod judge;
mod start;
mod traffic;

pub use application::{APPLICATIONS, Application};
pub use cell::{Attribution, Cell, measure};
pub use handler::Handler;
pub use judge::Count;
