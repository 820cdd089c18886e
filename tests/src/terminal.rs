//! A pseudo terminal that a program draws on, and what is seen there.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, ttyname};

use crate::programs;
use crate::wait;

/// A terminal with a program in the foreground. On drop the program is killed.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Keeps the terminal's settings when the program is gone.
    line: Option<OwnedFd>,
    before: Termios,
    parser: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts `command` on a new terminal of so many columns and lines.
    pub fn start(command: &Command, columns: u16, lines: u16) -> Result<Self> {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).context("failed to open a pseudo terminal")?;
        let before = tcgetattr(&pair.slave)?;
        // It becomes the terminal of the program's session: only then a change of its size is told.
        let mut outer = programs::command("setsid")?;
        outer.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm-256color");
        crate::baton::copy_surroundings(command, &mut outer);
        let end = || pair.slave.try_clone().map(Stdio::from);
        let child = outer.stdin(end()?).stdout(end()?).stderr(end()?).spawn().context("failed to start setsid")?;
        let parser = Arc::new(Mutex::new(vt100::Parser::new(cells(lines)?, cells(columns)?, 0)));
        let (mut output, seen) = (File::from(pair.master.try_clone()?), Arc::clone(&parser));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        let (keyboard, line, reader) = (File::from(pair.master), Some(pair.slave), Some(reader));
        Ok(Self { child, keyboard, line, before, parser, reader })
    }

    /// Presses keys, as the bytes that a terminal sends for them.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("failed to press keys")
    }

    /// What is seen, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.screen(|screen| screen.rows(0, screen.size().1.get()).map(|line| line.trim_end().to_owned()).collect())
    }

    /// What `look` finds on the screen.
    pub fn screen<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.parser.lock().unwrap_or_else(PoisonError::into_inner).screen())
    }

    /// Waits until `is_it` fits what is seen. All that is asked for belongs there: a look may fall into the middle of
    /// what the program draws.
    pub fn wait(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Result<()> {
        wait::until(what, Duration::from_secs(20), || Ok(is_it(&self.lines()).then_some(())))
            .with_context(|| format!("it is seen:\n{}", self.lines().join("\n")))
    }

    /// Gives it another size, and tells the program.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        let line = self.line.as_ref().context("the terminal is closed")?;
        let mut stty = programs::command("stty")?;
        stty.arg("-F").arg(ttyname(line)?).args(["cols", &columns.to_string(), "rows", &lines.to_string()]);
        let mut parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        parser.screen_mut().set_size(cells(lines)?, cells(columns)?);
        drop(parser);
        programs::succeed(stty, "stty").map(drop)
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).context("failed to send a signal")
    }

    /// Waits for the program's end.
    pub fn finish(&mut self) -> Result<ExitStatus> {
        wait::until("the end of the program", Duration::from_secs(20), || Ok(self.child.try_wait()?))
            .with_context(|| format!("it is seen:\n{}", self.lines().join("\n")))
    }

    /// Whether all is as before the program: its settings, the screen that is shown, and the cursor.
    pub fn is_restored(&mut self) -> Result<()> {
        let line = self.line.take().context("the terminal is closed")?;
        let after = tcgetattr(&line)?;
        drop(line);
        // All that it has written is read then.
        self.reader.take().map(JoinHandle::join);
        ensure!(after == self.before, "the settings are others: {after:?}, not {:?}", self.before);
        ensure!(!self.screen(vt100::Screen::alternate_screen), "the other screen is shown");
        ensure!(!self.screen(vt100::Screen::hide_cursor), "the cursor is hidden");
        Ok(())
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Terminal").field("child", &self.child).finish_non_exhaustive()
    }
}

fn cells(count: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(count).context("a terminal without cells")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.line.take());
        self.reader.take().map(JoinHandle::join);
    }
}
