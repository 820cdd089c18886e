//! The file of `--flows`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
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
        let path_text = path.display().to_string();
        // For its owner only: paths and values say what people do.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file =
            file.map_err(|error| Failure::Usage(format!("cannot write the flow events to {path_text}: {error}")))?;
        Ok(Self { file: Some(BufWriter::new(file)), path: path_text, show_values })
    }

    /// Writes what `reader` has. An error ends the writing, and is said; the
    /// command goes on.
    pub(crate) fn write(&mut self, reader: &mut Reader, workloads: &Workloads) {
        let Some(file) = &mut self.file else { return };
        let show_values = self.show_values;
        let written = reader.read(workloads, |event| {
            if show_values || event.values.is_empty() {
                serde_json::to_writer(&mut *file, event)?;
            } else {
                let mut event = event.clone();
                event.redact();
                serde_json::to_writer(&mut *file, &event)?;
            }
            Ok(file.write_all(b"\n")?)
        });
        if let Err(error) = written.and_then(|()| Ok(file.flush()?)) {
            super::say(&format!("no more flow events are written to {}: {error:#}", self.path));
            self.file = None;
        }
    }
}
