//! baton carries the headers of inbound requests to the outbound requests that
//! they cause, through unmodified applications. See `docs/DESIGN.md`.

mod app;
mod cli;
mod config;
mod control;
mod datapath;
mod failure;
mod logging;
mod observe;
mod runtime;

use std::process::ExitCode;

use crate::failure::Failure;

/// Exit status of failures that have none of their own (sysexits.h, `EX_SOFTWARE`).
const OTHER: u8 = 74;

fn main() -> ExitCode {
    let ended = cli::read().map_err(Into::into).and_then(|cli| cli.map_or(Ok(0), app::run));
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            observe::say(&format!("{error:#}"));
            ExitCode::from(error.downcast_ref::<Failure>().map_or(OTHER, Failure::status))
        }
    }
}
