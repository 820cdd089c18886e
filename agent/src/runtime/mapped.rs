//! The files that a process has mapped.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file;

/// File names of C libraries: glibc's, and that of old releases; musl's.
const C_LIBRARIES: [&str; 3] = ["libc.so.", "libc-2.", "ld-musl-"];

/// The C library of process `id`; `None` if it is not loaded yet.
pub(super) fn c_library(id: u32) -> Option<Mapped> {
    find(id, |name| C_LIBRARIES.iter().any(|library| name.starts_with(library)))
}

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The path, as this process can open it.
    pub(super) path: PathBuf,
    /// Where its first byte is in the process's memory; 0 if that is not mapped.
    pub(super) start: u64,
}

/// All files that a process has mapped, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(String);

impl Files {
    /// Those of process `id`; none if there is no such process.
    pub(super) fn of(id: u32) -> Self {
        Self(file::table(Path::new(&format!("/proc/{id}/maps"))))
    }

    /// The first one that `is` right, by the name of its folder and its own, opened through process `id`.
    pub(super) fn find(&self, id: u32, is: impl Fn(&str, &str) -> bool) -> Option<Mapped> {
        // proc(5): address, permissions, offset, device, inode, path.
        self.0.lines().find_map(|line| {
            let path = Path::new(&line[line.find('/')?..]);
            let folder = path.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
            if !is(folder, path.file_name()?.to_str()?) {
                return None;
            }
            let mut fields = line.split_ascii_whitespace();
            let start = fields.next()?.split('-').next()?;
            let offset = fields.nth(1)?;
            let start = if offset.bytes().all(|byte| byte == b'0') { u64::from_str_radix(start, 16).ok()? } else { 0 };
            let inode = fields.nth(1)?.parse().ok()?;
            Some(Mapped { path: reachable(id, path, inode), start })
        })
    }
}

/// The file that process `id` has mapped from `path`, as this process can open
/// it. In a container the path is the container's; in a mere chroot(2) it is
/// this process's own (fs/d_path.c), where the file must have this `inode`.
fn reachable(id: u32, path: &Path, inode: u64) -> PathBuf {
    let within = PathBuf::from(format!("/proc/{id}/root{}", path.display()));
    let is_own = || std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode);
    if !within.exists() && is_own() { path.to_owned() } else { within }
}

/// The first mapped file of process `id` whose name `is` right.
pub(super) fn find(id: u32, is: impl Fn(&str) -> bool) -> Option<Mapped> {
    Files::of(id).find(id, |_, name| is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_changed_root_is_found_by_its_full_path() {
        let program = std::env::current_exe().expect("a program");
        let inode = std::fs::metadata(&program).expect("it runs").ino();
        let id = std::process::id();
        assert_eq!(reachable(id, &program, inode), Path::new(&format!("/proc/{id}/root{}", program.display())));
        // As if it had been in a folder of its own: there is nothing at this path below its root.
        let none = u32::MAX;
        assert_eq!(reachable(none, &program, inode), program);
        assert_ne!(reachable(none, &program, inode + 1), program, "another file");
    }

    #[test]
    fn this_process_has_mapped_its_own_program() {
        let program = std::env::current_exe().expect("a program");
        let name = program.file_name().expect("a name").to_string_lossy();
        let found = find(std::process::id(), |mapped| mapped == name).expect("it runs");
        assert!(found.start > 0 && found.path.ends_with(program.strip_prefix("/").expect("absolute")));
        assert_eq!(find(std::process::id(), |mapped| mapped == "libjvm.so"), None);
    }
}
