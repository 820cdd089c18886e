//! What baton tells its users.

mod conclusion;
pub(crate) mod discover;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod explain;
mod filter;
pub(crate) mod flow;
pub(crate) mod flows;
mod journey;
mod line;
mod live;
pub(crate) mod metrics;
pub(crate) mod names;
mod neighbour;
mod open;
mod origin;
pub(crate) mod otlp;
pub(crate) mod page;
mod process;
mod processes;
pub(crate) mod record;
mod remedy;
mod source;
mod style;
pub(crate) mod summary;
pub(crate) mod top;
mod tree;
pub(crate) mod watch;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::failure::Failure;

/// Makes the file `path` for flow events, or empties it. For its owner only: paths and values say what people do.
///
/// # Errors
/// [`Failure::Usage`] if it cannot be written.
fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|error| Failure::Usage(format!("cannot write the flow events to {}: {error}", path.display())))
}

/// Says one line on standard error, as baton's.
pub(crate) fn say(text: &str) {
    // It may quote labels, paths and what other programs say.
    say_raw(&format!("baton: {}", flow::harmless(text)));
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
