//! What baton tells its users.

pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod explain;
mod filter;
pub(crate) mod flow;
pub(crate) mod flows;
mod journey;
mod line;
mod open;
mod process;
pub(crate) mod record;
mod remedy;
mod runtime;
mod source;
pub(crate) mod summary;
mod tree;
pub(crate) mod watch;

use std::io::Write as _;

/// Says one line on standard error, as baton's.
pub(crate) fn say(text: &str) {
    say_raw(&format!("baton: {text}"));
}

/// Writes one line on standard error.
pub(crate) fn say_raw(text: &str) {
    // Nobody can be told that nobody listens.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes one line on standard output. Returns whether somebody reads it.
pub(crate) fn print(text: &str) -> bool {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush()).is_ok()
}
