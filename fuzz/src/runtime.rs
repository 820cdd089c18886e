//! The agent's `runtime`, as far as it looks at files.

#[path = "../../agent/src/runtime/code.rs"]
mod code;
#[path = "../../agent/src/runtime/elf.rs"]
pub(crate) mod elf;
#[path = "../../agent/src/runtime/epoll.rs"]
mod epoll;
#[path = "../../agent/src/runtime/file.rs"]
mod file;
#[path = "../../agent/src/runtime/go.rs"]
mod go;
#[path = "../../agent/src/runtime/kept.rs"]
mod kept;
#[path = "../../agent/src/runtime/mapped.rs"]
mod mapped;
#[path = "../../agent/src/runtime/pclntab.rs"]
mod pclntab;
#[path = "../../agent/src/runtime/php.rs"]
mod php;
#[path = "../../agent/src/runtime/point.rs"]
mod point;
#[path = "../../agent/src/runtime/python.rs"]
mod python;

use object::Architecture;

/// All that is asked of a file which a workload runs or loads.
pub(crate) fn examine(data: &[u8]) {
    let Some(executable) = elf::Executable::parse(data) else { return };
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let _ = go::examine(&executable, architecture);
    }
    let _ = php::examine(&executable);
    let _ = python::is_interpreter(&executable);
    let _ = python::interpreter(&executable);
    let _ = executable.functions(&["runtime.newproc1", "epoll_wait"]);
}
