//! Keeps the SOCKHASH in the kernel when baton dies: a directory of a BPF file
//! system that holds it and what its members need.
//!
//! When the last holder of a SOCKHASH ends, the kernel throws away what waits in
//! the members' queues. Where all processes of baton are killed at once, as those
//! of a container are, a pin is the holder that stays: members pass everything
//! on as it is, and the next baton takes them over.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{Map, MapData, MapInfo, MapType, ProgramArray, SockHash};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::failure::Failure;
use crate::observe;

/// What is pinned, and how it is laid out: name of the map and of its file, type,
/// size of key and value, and entries. Keep in sync with `maps.rs` of the kernel side.
const PINNED: [(&str, &str, MapType, [u32; 3]); 3] = [
    ("MEMBERS", MEMBERS, MapType::SockHash, [8, 4, 65536]),
    ("DOOR", DOOR, MapType::ProgramArray, [4, 4, 1]),
    ("FROZEN", "frozen", MapType::Hash, [8, 16, baton_common::leave::BATCH]),
];

const MEMBERS: &str = "members";
const DOOR: &str = "door";

/// What names of maps begin with that another version of baton has left. (Names
/// with dots are refused, kernel/bpf/inode.c, `bpf_lookup`.)
const OLD: &str = "members-old-";

/// How long to wait for the end of a baton that has been killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directory, while it is this baton's. What is pinned is removed when this is
/// dropped, if no member is left.
#[derive(Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Pins {
    /// Takes `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Failure::Pins`] if it is in no BPF file system, or another baton's.
    pub(crate) fn take(directory: &Path) -> anyhow::Result<Self> {
        let failure = |why: String| Failure::Pins { path: directory.to_owned(), why };
        if !directory.exists() {
            DirBuilder::new().mode(0o700).create(directory).map_err(|error| failure(error.to_string()))?;
        }
        if !statfs(directory).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
            return Err(failure("it is in no BPF file system, as /sys/fs/bpf is".to_owned()).into());
        }
        let mut file = File::open(directory).map_err(|error| failure(error.to_string()))?;
        let until = Instant::now() + PATIENCE;
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < until => file = back,
                Err((_, Errno::EWOULDBLOCK)) => return Err(failure("another baton uses it".to_owned()).into()),
                Err((_, error)) => return Err(failure(error.to_string()).into()),
            }
            std::thread::sleep(PATIENCE / 100);
        };
        let pins = Self { directory: directory.to_owned(), _lock: lock };
        pins.set_aside()?;
        pins.sweep();
        Ok(pins)
    }

    /// The maps that are pinned, each with its file.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        PINNED.iter().map(|(map, file, ..)| (*map, self.directory.join(file)))
    }

    /// Puts maps of another layout aside. Their members pass everything on as it
    /// is, until their connections end.
    fn set_aside(&self) -> anyhow::Result<()> {
        let known = PINNED.iter().filter(|(_, file, kind, sizes)| {
            MapInfo::from_pin(self.directory.join(file)).is_ok_and(|info| {
                info.map_type().is_ok_and(|found| found == *kind)
                    && [info.key_size(), info.value_size(), info.max_entries()] == *sizes
            })
        });
        if known.count() == PINNED.len() {
            return Ok(());
        }
        let members = self.directory.join(MEMBERS);
        if members.exists() {
            let free = (1..).map(|number| self.directory.join(format!("{OLD}{number}"))).find(|path| !path.exists());
            let aside = free.context("no name is free")?;
            fs::rename(&members, &aside).with_context(|| format!("failed to rename {}", members.display()))?;
            if count(&aside).is_ok_and(|members| members > 0) {
                observe::say(&format!(
                    "another version of baton has left connections in {}: they are not followed until they are opened anew",
                    aside.display()
                ));
            }
        }
        for (_, file, ..) in PINNED {
            remove(&self.directory.join(file));
        }
        Ok(())
    }

    /// Removes maps that were put aside and whose members have ended.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let is_old = entry.file_name().to_str().is_some_and(|name| name.starts_with(OLD));
            if is_old && count(&entry.path()).is_ok_and(|members| members == 0) {
                remove(&entry.path());
            }
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.sweep();
        if count(&self.directory.join(MEMBERS)).is_ok_and(|members| members > 0) {
            // What is behind the door goes; the members stay as they are.
            if let Ok(map) = MapData::from_pin(self.directory.join(DOOR))
                && let Ok(mut door) = ProgramArray::try_from(Map::ProgramArray(map))
            {
                let _ = door.clear_index(&0);
            }
            return;
        }
        for (_, path) in self.maps() {
            remove(&path);
        }
        // It may hold what was put aside.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Number of sockets in the SOCKHASH at `path`.
fn count(path: &Path) -> anyhow::Result<usize> {
    let map: SockHash<MapData, u64> = Map::SockHash(MapData::from_pin(path)?).try_into()?;
    Ok(map.keys().filter(Result::is_ok).count())
}

fn remove(path: &Path) {
    // It may not be there.
    let _ = fs::remove_file(path);
}
