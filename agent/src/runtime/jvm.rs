//! What is attached to Java virtual machines: probes that tell which of their
//! threads wait in epoll. The others give a request all of their time.

use std::path::Path;

use super::elf::Executable;
use super::mapped;
use super::point::Point;

/// The function of the launcher's library that starts the virtual machine.
const LAUNCH: &str = "JLI_Launch";

/// The virtual machine.
const MACHINE: &str = "libjvm.so";

/// Functions of the C library that wait in epoll, or may.
const FUNCTIONS: [(&str, &str); 4] = [
    ("epoll_wait", "libc_epoll_wait"),
    ("epoll_pwait", "libc_epoll_wait"),
    ("epoll_pwait2", "libc_epoll_wait"),
    ("syscall", "libc_syscall"),
];

/// Numbers of the system calls (arch/x86/entry/syscalls/syscall_64.tbl,
/// include/uapi/asm-generic/unistd.h): `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
#[cfg(target_arch = "x86_64")]
const WAITS: [u32; 3] = [232, 281, 441];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: [u32; 2] = [22, 441];

/// Whether `executable` is the `java` command, or one made like it.
pub(super) fn is_launcher(executable: &Executable<'_>) -> bool {
    executable.imports(LAUNCH)
}

/// Whether the virtual machine is loaded in process `id`, whatever its program is.
pub(super) fn is_loaded(id: u32) -> bool {
    mapped::find(id, |name| name == MACHINE).is_some()
}

/// What is to be attached to the C library in the file `path`.
pub(super) fn points(path: &Path) -> Result<Vec<Point>, String> {
    let data = std::fs::read(path).map_err(|error| format!("its C library cannot be read: {error}"))?;
    let library = Executable::parse(&data).ok_or("its C library is no ELF file")?;
    let functions = library.functions(&FUNCTIONS.map(|(name, _)| name));
    if !functions.contains_key(FUNCTIONS[0].0) {
        return Err(format!("its C library has no {}", FUNCTIONS[0].0));
    }
    let found = FUNCTIONS.iter().filter_map(|(name, program)| {
        functions.get(name).map(|function| Point { program, offset: library.entry(*function) })
    });
    Ok(found.collect())
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

    #[test]
    fn the_c_library_of_this_process_has_epoll_wait() {
        let library = mapped::c_library(std::process::id()).expect("a C library");
        let points = points(&library.path).expect("it has epoll_wait");
        assert!(points.iter().any(|point| point.program == "libc_epoll_wait" && point.offset > 0));
        assert!(!is_loaded(std::process::id()));
    }
}
