//! What a task says: results on stdout, everything about its progress on stderr.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Error;

/// The steps so far, and when each began.
static STEPS: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());

/// One line of a result.
#[expect(clippy::print_stdout, reason = "the one place that writes results")]
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// Begins a step that may take a while.
pub(crate) fn step(text: &str) {
    eprintln!("{} {text}", paint(Colour::Bold, "==>", std::io::stderr().is_terminal()));
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), text.to_owned()));
}

/// What the steps so far took, those of at least a second, a line each.
pub(crate) fn durations() -> Vec<String> {
    let steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = steps.iter().skip(1).map(|(start, _)| *start).chain([Instant::now()]);
    steps
        .iter()
        .zip(ends)
        .map(|((start, text), end)| (end.duration_since(*start).as_secs(), text))
        .filter(|(seconds, _)| *seconds > 0)
        .map(|(seconds, text)| format!("{seconds:>5} s  {text}"))
        .collect()
}

/// A line about the step at hand.
pub(crate) fn note(text: &str) {
    eprintln!("    {text}");
}

/// Something that went wrong without ending the task.
pub(crate) fn warning(text: &str) {
    eprintln!("{} {text}", paint(Colour::Yellow, "warning:", std::io::stderr().is_terminal()));
}

/// Why the task ends: the error and its causes, one line each.
pub(crate) fn failure(error: &Error) {
    eprintln!("{} {error}", paint(Colour::Red, "error:", std::io::stderr().is_terminal()));
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

/// Text in a colour when stdout is a terminal that wants colours.
pub(crate) fn coloured(colour: Colour, text: &str) -> String {
    paint(colour, text, std::io::stdout().is_terminal())
}

fn paint(colour: Colour, text: &str, terminal: bool) -> String {
    // https://no-color.org: any non-empty value switches colours off.
    if !terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Bold => 1,
        Colour::Dim => 2,
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
