//! The file of `--flows`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::event::Reader;
use crate::datapath::workload::Workloads;
use crate::failure::Failure;

/// Flow events as JSON lines.
#[derive(Debug)]
pub(crate) struct FlowFile {
    /// `None` after an error, which is said once.
    file: Option<BufWriter<File>>,
    path: String,
    show_values: bool,
}

impl FlowFile {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it cannot be written.
    pub(crate) fn create(path: &Path, show_values: bool) -> Result<Self, Failure> {
        let file = BufWriter::new(super::create(path)?);
        Ok(Self { file: Some(file), path: path.display().to_string(), show_values })
    }

    /// Writes what `reader` has. An error ends the writing, and is said; the
    /// command goes on.
    pub(crate) fn write(&mut self, reader: &mut Reader, workloads: &Workloads) {
        let Some(file) = &mut self.file else { return };
        let show_values = self.show_values;
        let written = reader.read(workloads, |event| Ok(writeln!(file, "{}", event.json(show_values)?)?));
        if let Err(error) = written.and_then(|()| Ok(file.flush()?)) {
            super::say(&format!("no more flow events are written to {}: {error:#}", self.path));
            self.file = None;
        }
    }
}
