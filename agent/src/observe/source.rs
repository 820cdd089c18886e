//! Where flow events come from: the running daemon, or a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context as _;

use super::flow::Record;
use crate::cli::From;
use crate::failure::Failure;

/// A stream of flow events.
pub(crate) struct Source {
    lines: Lines<Box<dyn BufRead + Send>>,
    /// The file's name; `None` for the daemon.
    file: Option<String>,
    number: usize,
}

impl Source {
    /// Opens what `from` names.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] if no daemon answers, [`Failure::Usage`] if there is no such file.
    pub(crate) fn open(from: &From) -> Result<Self, Failure> {
        let input: Box<dyn BufRead + Send> = match &from.from {
            None => Box::new(BufReader::new(
                UnixStream::connect(&from.socket)
                    .map_err(|error| Failure::NoDaemon { path: from.socket.clone(), error })?,
            )),
            Some(path) if path == Path::new("-") => Box::new(BufReader::new(std::io::stdin())),
            Some(path) => Box::new(BufReader::new(File::open(path).map_err(|error| {
                Failure::Usage(format!("cannot read the flow events in {}: {error}", path.display()))
            })?)),
        };
        let file = from.from.as_ref().map(|path| path.display().to_string());
        Ok(Self { lines: input.lines(), file, number: 0 })
    }

    /// Whether it is a daemon that goes on.
    pub(crate) const fn is_live(&self) -> bool {
        self.file.is_none()
    }

    /// The next line as it is, and what it says; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read, or says nothing that is known.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<(String, Record)>> {
        let place = |number| match &self.file {
            None => "what the daemon sends".to_owned(),
            Some(file) => format!("line {number} of {file}"),
        };
        self.number += 1;
        let Some(line) = self.lines.next() else { return Ok(None) };
        let line = line.with_context(|| format!("failed to read {}", place(self.number)))?;
        let record = Record::parse(&line).with_context(|| format!("cannot use {}", place(self.number)))?;
        Ok(Some((line, record)))
    }
}
