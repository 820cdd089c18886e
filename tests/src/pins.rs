//! A directory for what outlives a daemon, in a BPF file system of the test's own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::bpf;
use crate::scratch::Scratch;

/// The directory; on drop its file system goes away, and all that is in it.
#[derive(Debug)]
pub struct Pins {
    mounted: Scratch,
}

impl Pins {
    /// Mounts one.
    pub fn new() -> Result<Self> {
        let mounted = Scratch::new()?;
        mount(Some("bpf"), mounted.path(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("failed to mount a BPF file system")?;
        Ok(Self { mounted })
    }

    /// The directory, which daemons make.
    pub fn directory(&self) -> PathBuf {
        self.mounted.join("baton")
    }

    /// How many connections are members.
    pub fn members(&self) -> Result<usize> {
        bpf::elements(&self.directory().join("members"))
    }

    /// Whether daemons have left nothing.
    pub fn is_empty(&self) -> bool {
        !self.directory().exists()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = umount2(self.mounted.path(), MntFlags::MNT_DETACH);
    }
}
