//! Which threads wait in epoll, and when, and who begins to listen: probes in the C library.

use std::path::Path;

use super::elf::in_library;
use super::point::Point;

/// Functions of the C library that wait in epoll, or may.
const FUNCTIONS: [&str; 3] = ["epoll_wait", "epoll_pwait", "epoll_pwait2"];

/// How errors call the C library of a process.
pub(super) const C_LIBRARY: &str = "its C library";

/// Makes a socket accept connections.
pub(super) const LISTEN: &str = "listen";

/// Makes any system call.
const SYSCALL: &str = "syscall";

/// Numbers of the system calls (arch/x86/entry/syscalls/syscall_64.tbl,
/// include/uapi/asm-generic/unistd.h): `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
#[cfg(target_arch = "x86_64")]
const WAITS: [u32; 3] = [232, 281, 441];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: [u32; 2] = [22, 441];

/// What is to be attached to the C library in the file `path`, so that it is
/// known which threads wait in epoll.
pub(super) fn points(path: &Path) -> Result<Vec<Point>, String> {
    find(path, "libc_epoll_wait", Some("libc_syscall"))
}

/// What is to be attached to it, so that it is known when loops wait.
pub(super) fn loop_points(path: &Path) -> Result<Vec<Point>, String> {
    find(path, "libc_loop_waits", None)
}

/// What is to be attached to it, so that it is known when a server begins to listen.
pub(super) fn listen_points(path: &Path) -> Result<Vec<Point>, String> {
    in_library(path, C_LIBRARY, |library| {
        let listen = library.functions(&[LISTEN]).remove(LISTEN).ok_or("its C library has no listen")?;
        Ok(vec![Point::new("libc_listen", library.entry(listen))])
    })
}

fn find(path: &Path, waits: &'static str, syscall: Option<&'static str>) -> Result<Vec<Point>, String> {
    in_library(path, C_LIBRARY, |library| {
        let functions = library.functions(&[FUNCTIONS[0], FUNCTIONS[1], FUNCTIONS[2], SYSCALL]);
        if !functions.contains_key(FUNCTIONS[0]) {
            return Err(format!("its C library has no {}", FUNCTIONS[0]));
        }
        let wanted = FUNCTIONS.map(|name| (name, waits)).into_iter().chain(syscall.map(|program| (SYSCALL, program)));
        let found = wanted.filter_map(|(name, program)| {
            functions.get(name).map(|function| Point::new(program, library.entry(*function)))
        });
        Ok(found.collect())
    })
}

/// Those threads of process `id` that wait in epoll at this moment.
pub(super) fn waiting(id: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let call = std::fs::read_to_string(task.path().join("syscall")).ok()?;
            let number = call.split_whitespace().next()?.parse().ok()?;
            WAITS.contains(&number).then(|| task.file_name().to_string_lossy().parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::mapped;

    #[test]
    fn the_c_library_of_this_process_has_epoll_wait() {
        let library = mapped::c_library(std::process::id()).expect("a C library");
        for (points, program) in
            [(points(&library.path), "libc_epoll_wait"), (loop_points(&library.path), "libc_loop_waits")]
        {
            let points = points.expect("it has epoll_wait");
            assert!(points.iter().any(|point| point.program == program && point.offset > 0), "{points:?}");
        }
    }
}
