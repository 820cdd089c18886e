//! What of baton's executable goes into the image, and what it needs beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::scratch::Scratch;

/// The executable without what only debuggers read, which is most of it.
pub(crate) fn stripped(executable: &Path) -> Result<Vec<u8>> {
    let scratch = Scratch::new("image")?;
    let output = scratch.join("baton");
    process::read(Command::new("strip").arg("--strip-debug").arg("-o").arg(&output).arg(executable))
        .context("failed to strip baton; `strip` comes with the C compiler's linker (Debian: binutils)")?;
    fs::read(&output).with_context(|| format!("failed to read {}", output.display()))
}

/// The dynamic linker and the shared libraries of an executable, where the linker looks for them.
pub(crate) fn of(executable: &Path) -> Result<Vec<PathBuf>> {
    // A search path of this machine's user means nothing in the image.
    let printed = process::read(Command::new("ldd").arg(executable).env_remove("LD_LIBRARY_PATH"))
        .context("failed to ask `ldd` which libraries baton needs")?;
    parse(&printed)
}

/// Reads lines of the forms `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`. Others, such as the kernel's vdso, are no files.
fn parse(printed: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in printed.lines().map(str::trim) {
        let place = line.split_once(" => ").map_or(line, |(_, place)| place);
        if place == "not found" {
            bail!("a shared library of baton is missing on this machine, so that no image can be made: {line}");
        }
        let path = place.split_once(" (").map_or(place, |(path, _)| path);
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_among_what_ldd_prints() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffd2a5f2000)\n\
                       \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f0a4c1d0000)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0a4bfef000)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f0a4c9d4000)\n";
        let expected =
            ["/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(printed).expect("legal"), expected.map(PathBuf::from));
        assert_eq!(parse("\tstatically linked\n").expect("legal"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_missing_library_is_an_error() {
        assert!(parse("\tlibc.so.6 => not found\n").is_err());
    }
}
