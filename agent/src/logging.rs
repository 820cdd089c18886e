//! What is logged to standard error, and how.

use std::io::{IsTerminal as _, stderr};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The environment's filter, where the command line has none.
const VARIABLE: &str = "BATON_LOG";

/// Levels, from nothing at all to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Of baton and its libraries, warnings and errors alone.
const QUIET: &str = "warn";

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(String);

impl FromStr for Filter {
    type Err = String;

    /// Reads a level, or targets with levels (`baton::runtime=debug,kube=info`). A level is baton's own: its libraries, and
    /// its kernel side (`baton_ebpf`), say no more than warnings unless they are named.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = vec![QUIET.to_owned()];
        for part in text.split(',').map(str::trim) {
            match LEVELS.into_iter().find(|level| part.eq_ignore_ascii_case(level)) {
                Some(level @ ("off" | "error" | "warn")) => parts.push(level.to_owned()),
                Some(level) => parts.extend([format!("baton={level}"), format!("baton_ebpf={QUIET}")]),
                // A word alone would be a target with all that it says: more likely it is a mistake.
                None if !part.contains(['=', '[']) => return Err(unusable(text)),
                None => parts.push(part.to_owned()),
            }
        }
        let filter = parts.join(",");
        EnvFilter::builder().parse(&filter).map_err(|error| format!("{} ({error})", unusable(text)))?;
        Ok(Self(filter))
    }
}

fn unusable(text: &str) -> String {
    let levels = LEVELS.join(", ");
    format!(
        "`{text}` is no filter for the log: write a level ({levels}), or targets with levels (baton=info,kube=debug)"
    )
}

/// Begins to log: what `asked` names, else the environment, else warnings. Where the terminal `is_taken` nothing goes to
/// it.
///
/// # Errors
/// [`Failure::Usage`] if the environment's filter cannot be used.
pub(crate) fn start(asked: Option<Filter>, is_taken: bool) -> Result<(), Failure> {
    let filter = match asked {
        Some(filter) => filter,
        None => of_environment()?,
    };
    if is_taken && stderr().is_terminal() {
        return Ok(());
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && !is_plain)
        .with_env_filter(EnvFilter::new(filter.0))
        .init();
    Ok(())
}

fn of_environment() -> Result<Filter, Failure> {
    let text = std::env::var_os(VARIABLE).map(|text| text.to_string_lossy().into_owned());
    let text = text.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| QUIET.to_owned());
    text.parse().map_err(|why| Failure::Usage(format!("in ${VARIABLE}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<String, String> {
        text.parse().map(|filter: Filter| filter.0)
    }

    #[test]
    fn a_level_is_batons_own() {
        assert_eq!(filter("warn").as_deref(), Ok("warn,warn"));
        assert_eq!(filter("off").as_deref(), Ok("warn,off"));
        assert_eq!(filter("DEBUG").as_deref(), Ok("warn,baton=debug,baton_ebpf=warn"));
        assert_eq!(filter("info,kube=debug").as_deref(), Ok("warn,baton=info,baton_ebpf=warn,kube=debug"));
        assert_eq!(filter("baton_ebpf=debug").as_deref(), Ok("warn,baton_ebpf=debug"));
    }

    #[test]
    fn what_is_named_last_counts() {
        let directives = EnvFilter::new(filter("debug,baton_ebpf=debug").expect("legal").as_str()).to_string();
        assert!(directives.contains("baton_ebpf=debug") && !directives.contains("baton_ebpf=warn"), "{directives}");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in ["", "verbose", "baton=loud", "baton", "info,", "warn;info"] {
            let why = filter(bad).expect_err(bad);
            assert!(why.contains("write a level (off, error,"), "{bad}: {why}");
        }
    }
}
