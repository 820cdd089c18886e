//! The terminal, taken for as long as something is drawn, and given back as it was.

use std::io::{IsTerminal as _, Stdout, stdout};
use std::sync::Once;

use anyhow::Context as _;
use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::failure::Failure;

/// A terminal that is drawn on. Dropped, it is as it was before.
#[derive(Debug)]
pub(super) struct Screen {
    /// What draws.
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal of standard output.
    ///
    /// # Errors
    /// If it cannot be prepared.
    pub(super) fn take() -> anyhow::Result<Self> {
        give_back_on_panic();
        let failed = "failed to prepare the terminal";
        enable_raw_mode().context(failed)?;
        // From here on it is given back, whatever happens.
        let terminal =
            execute!(stdout(), EnterAlternateScreen).and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error).context(failed)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether there is a terminal to draw on.
///
/// # Errors
/// [`Failure::Usage`] if there is none.
pub(super) fn require_terminal() -> Result<(), Failure> {
    let why = if !stdout().is_terminal() {
        "standard output is none"
    } else if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        "$TERM names none that can be drawn on"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(format!("--top needs a terminal, and {why}: leave it out, or use --json")))
}

/// Whether colours may be used (<https://no-color.org>).
pub(super) fn is_coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn give_back() {
    // There is nobody left to tell.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

/// A panic aborts the process, and drops nothing: what it says must be seen, on a terminal that works.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            say(panic);
        }));
    });
}
