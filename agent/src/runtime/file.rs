//! Reads files that a workload may have chosen, or made for the purpose: nothing that it does to them stops this
//! process, takes all its memory, or changes what was read already.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Bytes of the largest executable file or library that is looked at.
pub(super) const LARGEST: u64 = 256 << 20;

/// Bytes that are read of a table in /proc: those of a process with the most mappings that it may have (65530,
/// vm.max_map_count), at usual lengths of paths.
const LONGEST: u64 = 16 << 20;

/// What the file `path` holds.
///
/// # Errors
/// Also if it is no regular file: to open a pipe would wait for somebody who writes, and to open a device may do
/// anything. Or if it is larger than [`LARGEST`].
pub(super) fn content(path: &Path) -> io::Result<Vec<u8>> {
    // This does not open it, but holds it.
    let seen = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let metadata = seen.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", LARGEST >> 20));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(metadata.len()).map_err(|_| too_large())?)?;
    // It may grow meanwhile.
    let file = File::open(format!("/proc/self/fd/{}", seen.as_raw_fd()))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { Err(too_large()) } else { Ok(bytes) }
}

/// What a table in /proc says, but no more than [`LONGEST`], and whole lines. Empty if it cannot be read.
pub(super) fn table(path: &Path) -> String {
    let mut bytes = Vec::new();
    // What has been read before an error counts: the process may have ended.
    let _ = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    if bytes.len() as u64 == LONGEST {
        let last = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(last);
    }
    // Paths need not be UTF-8. Those that are looked for are.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    /// A path that is removed in the end.
    struct Path(PathBuf);

    impl Path {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("baton-file-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_pipe_does_not_make_the_daemon_wait() {
        let path = Path::new("pipe");
        mkfifo(&path.0, Mode::S_IRWXU).expect("a pipe");
        let error = content(&path.0).expect_err("no file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(content(std::path::Path::new("/dev/zero")).is_err() && content(&std::env::temp_dir()).is_err());
    }

    #[test]
    fn a_huge_file_takes_no_memory() {
        let path = Path::new("huge");
        let file = File::create(&path.0).expect("a file");
        file.set_len(1 << 43).expect("a file with a hole");
        assert_eq!(content(&path.0).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
        file.set_len(3).expect("a short file");
        assert_eq!(content(&path.0).expect("short"), [0; 3]);
    }

    #[test]
    fn tables_are_read_as_far_as_they_make_sense() {
        let path = Path::new("table");
        std::fs::write(&path.0, b"a\nb \xff\n").expect("a file");
        assert_eq!(table(&path.0), "a\nb \u{fffd}\n");
        let long = [vec![b'x'; LONGEST as usize - 10], b"\nand another line\n".to_vec()].concat();
        std::fs::write(&path.0, &long).expect("a file");
        assert_eq!(table(&path.0).len(), LONGEST as usize - 9, "no half lines");
        assert_eq!(table(std::path::Path::new("/nonexistent")), "");
    }
}
