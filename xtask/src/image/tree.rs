//! Files of an image: the same ones give the same bytes, whenever and wherever they are packed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// Everything belongs to root, is readable, and can be executed: programs, libraries and directories.
const MODE: u32 = 0o755;

/// Directories and files by their paths in the image, without a first slash.
#[derive(Debug, Default)]
pub(super) struct Tree {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    pub(super) fn add(&mut self, path: &str, bytes: Vec<u8>) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.add_directory(parent);
        }
        self.files.insert(path.to_owned(), bytes);
    }

    /// Adds a directory and those that it is in.
    pub(super) fn add_directory(&mut self, path: &str) {
        if self.directories.insert(path.to_owned())
            && let Some((parent, _)) = path.rsplit_once('/')
        {
            self.add_directory(parent);
        }
    }

    /// The tree as a tar archive. A directory sorts before what is in it.
    pub(super) fn pack(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for path in &self.directories {
            archive.append_data(&mut header(EntryType::Directory, 0), format!("{path}/"), &[][..])?;
        }
        for (path, bytes) in &self.files {
            archive.append_data(&mut header(EntryType::Regular, bytes.len()), path, bytes.as_slice())?;
        }
        archive.into_inner().context("failed to pack files")
    }

    /// Writes the tree into a new directory.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let failed = |path: &Path| format!("failed to write {}; it must not exist before", path.display());
        fs::create_dir(directory).with_context(|| failed(directory))?;
        for path in &self.directories {
            fs::create_dir(directory.join(path)).with_context(|| failed(&directory.join(path)))?;
        }
        for (path, bytes) in &self.files {
            let path = directory.join(path);
            fs::write(&path, bytes)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(MODE)))
                .with_context(|| failed(&path))?;
        }
        Ok(())
    }
}

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(MODE);
    header.set_size(size as u64);
    // Else zero is what these are: root's, and of no time.
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
