//! How Java virtual machines are recognised. What tells their threads apart is
//! who waits in epoll: the others give a request all of their time.

use super::elf::Executable;
use super::mapped;

/// The function of the launcher's library that starts the virtual machine.
const LAUNCH: &str = "JLI_Launch";

/// The virtual machine.
const MACHINE: &str = "libjvm.so";

/// Whether `executable` is the `java` command, or one made like it.
pub(super) fn is_launcher(executable: &Executable<'_>) -> bool {
    executable.imports(LAUNCH)
}

/// Whether the virtual machine is loaded in process `id`, whatever its program is.
pub(super) fn is_loaded(id: u32) -> bool {
    mapped::find(id, |name| name == MACHINE).is_some()
}
