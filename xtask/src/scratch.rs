//! A directory for one run of a task.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// A fresh directory, removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(task: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("baton-{task}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("failed to create the directory {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            crate::say::warning(&format!("failed to remove {}: {error}", self.0.display()));
        }
    }
}
