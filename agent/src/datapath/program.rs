//! Loading one program.

use aya::Btf;
use aya::programs::Program;

use super::twins;
use crate::failure::{Failure, chain};

/// Has the kernel verify `program`, which is called `name`.
pub(super) fn load(name: &str, program: &mut Program, btf: &Btf) -> anyhow::Result<()> {
    let hook = twins::original(name);
    let loaded = match program {
        Program::SockOps(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::BtfTracePoint(program) => program.load(hook, btf),
        Program::FExit(program) => program.load(hook, btf),
        Program::KProbe(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        Program::Iter(program) if name == "iter_sockmap_leave" => program.load("sockmap", btf),
        Program::Iter(program) => program.load("tcp", btf),
        _ => anyhow::bail!("nobody knows how to load the program {name}"),
    };
    Ok(loaded.map_err(|error| refused(name, &chain(&error)))?)
}

/// A program that the kernel refused, with the verifier's last words.
pub(super) fn refused(name: &str, text: &str) -> Failure {
    tracing::debug!(program = name, error = text, "refused");
    // The verifier explains itself at length; what matters is at the end.
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(6);
    let text = if last > 1 { format!("{} … {}", lines[0], lines[last..].join("; ")) } else { lines.join("; ") };
    Failure::KernelLacks(format!("it refuses the program {name}: {text}"))
}
