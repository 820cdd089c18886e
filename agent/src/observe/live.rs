//! The running daemon's flow events, until they end or somebody interrupts.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::flow::Record;
use crate::control::socket::MORE;
use crate::failure::Failure;

/// A stream of flow events that can be waited for beside other things.
#[derive(Debug)]
pub(super) struct Live {
    lines: Lines<BufReader<OwnedReadHalf>>,
    wishes: OwnedWriteHalf,
    interrupt: Signal,
    terminate: Signal,
    /// Whether the daemon is this process's own: nobody is told that it ends.
    is_own: bool,
}

/// Time between two looks for a daemon that is to come.
const SOON: Duration = Duration::from_millis(20);

impl Live {
    /// Begins to watch the daemon at `socket`.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] if none answers.
    pub(super) async fn open(socket: &Path) -> anyhow::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stream =
            UnixStream::connect(socket).await.map_err(|error| Failure::NoDaemon { path: socket.to_owned(), error })?;
        let (stream, wishes) = stream.into_split();
        Ok(Self { lines: BufReader::new(stream).lines(), wishes, interrupt, terminate, is_own: false })
    }

    /// Asks for more flow events than people can read, to find one among many.
    ///
    /// # Errors
    /// If the daemon is gone.
    pub(super) async fn ask_for_more(&mut self) -> anyhow::Result<()> {
        self.wishes.write_all(&[MORE]).await.context("the daemon ended")
    }

    /// Waits for this process's own daemon at `socket`, and begins to watch it.
    ///
    /// # Errors
    /// If signals cannot be waited for.
    pub(super) async fn open_own(socket: &Path) -> anyhow::Result<Self> {
        loop {
            match Self::open(socket).await {
                Err(error) if error.is::<Failure>() => tokio::time::sleep(SOON).await,
                opened => return Ok(Self { is_own: true, ..opened? }),
            }
        }
    }

    /// The next line as it is, and what it says; `None` at the end. Nothing is lost where somebody stops waiting.
    ///
    /// # Errors
    /// If it cannot be read, or says nothing that is known.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<(String, Record)>> {
        let line = tokio::select! {
            _ = self.interrupt.recv() => return Ok(None),
            _ = self.terminate.recv() => return Ok(None),
            line = self.lines.next_line() => line.context("failed to read what the daemon sends")?,
        };
        let Some(line) = line else {
            if !self.is_own {
                super::say("the daemon ended");
            }
            return Ok(None);
        };
        let record = Record::parse(&line).context("cannot use what the daemon sends")?;
        Ok(Some((line, record)))
    }
}
