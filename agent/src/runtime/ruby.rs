//! How Ruby is recognised. What tells its threads apart is who waits in epoll,
//! as in a Java virtual machine: Puma's reactor does, and loops on fibers do.

use super::elf::Executable;
use super::mapped;

/// The function with which the `ruby` command starts a program, its own or of its library.
const RUN: &str = "ruby_run_node";

/// How a shared library with the interpreter is named.
const LIBRARY: &str = "libruby";

/// Whether `executable` is the `ruby` command, or one made like it.
pub(super) fn is_interpreter(executable: &Executable<'_>) -> bool {
    executable.imports(RUN) || executable.exported(RUN).is_some()
}

/// Whether the interpreter is loaded in process `id`, whatever its program is.
pub(super) fn is_loaded(id: u32) -> bool {
    mapped::find(id, |name| name.starts_with(LIBRARY)).is_some()
}
