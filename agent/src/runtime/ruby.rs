//! How Ruby is recognised, and Puma. What tells Puma's threads apart is who waits
//! in epoll, as in a Java virtual machine: its reactor does.

use super::elf::Executable;
use super::mapped;

/// The function with which the `ruby` command starts a program, its own or of its library.
const RUN: &str = "ruby_run_node";

/// How a shared library with the interpreter is named.
const LIBRARY: &str = "libruby";

/// Puma's parser of requests. Other servers wait in epoll in other ways: Unicorn's only
/// thread for connections to come, Falcon's for all that its fibers wait for.
const PUMA: &str = "puma_http11.so";

/// Whether `executable` is the `ruby` command, or one made like it.
pub(super) fn is_interpreter(executable: &Executable<'_>) -> bool {
    executable.imports(RUN) || executable.exported(RUN).is_some()
}

/// Whether the interpreter is loaded in process `id`, whatever its program is.
pub(super) fn is_loaded(id: u32) -> bool {
    mapped::find(id, |name| name.starts_with(LIBRARY)).is_some()
}

/// Whether process `id` has loaded Puma.
pub(super) fn has_puma(id: u32) -> bool {
    mapped::find(id, |name| name == PUMA).is_some()
}
