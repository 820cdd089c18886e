//! What the processes of an executable file need.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use object::Architecture;

use super::elf::Executable;
use super::go::{self, Go};
use super::point::Point;
use super::{file, jvm, php, python, ruby};

/// An executable file: its file system, its number there, and when it changed last, which nobody can make look older.
pub(super) type Identity = (u64, u64, i64, i64);

/// What the processes of an executable file need.
#[derive(Clone, Debug)]
pub(super) enum Support {
    /// Nothing, or it is not known yet.
    None,
    /// A Go program.
    Go(Go),
    /// A Java virtual machine.
    Jvm,
    /// Ruby.
    Ruby,
    /// Python.
    Python,
    /// PHP-FPM.
    Fpm(Vec<Point>),
    /// A runtime that is known but not understood.
    Refused {
        /// Its name.
        runtime: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Support {
    /// The runtime, in a word.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::None => "threads",
            Self::Go(_) => "go",
            Self::Jvm => "java",
            Self::Ruby => "ruby",
            Self::Python => "python",
            Self::Fpm(_) => "php-fpm",
            Self::Refused { runtime, .. } => runtime,
        }
    }

    /// What process `id` needs, whose executable file needs this: it may have
    /// loaded a virtual machine or an interpreter as a library.
    pub(super) fn of_process(self, id: u32) -> Self {
        match self {
            Self::None if jvm::is_loaded(id) => Self::Jvm,
            Self::None if python::is_loaded(id) => Self::Python,
            Self::None if ruby::is_loaded(id) => Self::Ruby,
            known => known,
        }
    }
}

/// Which file `path` leads to; `None` if it is gone.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

/// Finds out what the executable file of a process is; `None` if it is not in the ELF format.
pub(super) fn examine(path: &Path) -> Option<Support> {
    // Not mapped: once the program has ended, its file may be cut off, and who looks behind its end is killed (SIGBUS).
    let data = match file::content(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Some(Support::Refused { runtime: "unknown", reason: error.to_string() });
        }
        Err(_) => return None,
    };
    let executable = &Executable::parse(&data)?;
    let architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };
    Some(match go::examine(executable, architecture) {
        Some(Ok(go)) => Support::Go(go),
        Some(Err(reason)) => Support::Refused { runtime: "go", reason },
        None if jvm::is_launcher(executable) => Support::Jvm,
        None if python::is_interpreter(executable) => Support::Python,
        None if ruby::is_interpreter(executable) => Support::Ruby,
        None => match php::examine(executable) {
            Some(Ok(points)) => Support::Fpm(points),
            Some(Err(reason)) => Support::Refused { runtime: "php-fpm", reason },
            None => Support::None,
        },
    })
}
