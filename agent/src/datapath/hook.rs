//! How baton sees what applications read: which kinds of hooks there are, which of them this kernel has, and which one is
//! used.

use aya::Btf;
use aya::programs::{FExit, KProbe, Program, ProgramError};
use clap::ValueEnum;
use serde::Serialize;

use super::load::Datapath;
use crate::failure::{Failure, chain};

/// A kind of hook that sees reads. The first of [`ReadHook::ALL`] that the kernel has is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReadHook {
    /// At the return of the kernel's inet_recvmsg() and inet6_recvmsg()
    Fentry,
    /// The tracepoint sock_recv_length (Linux 6.3)
    Tracepoint,
    /// Kprobes on the same functions, and the tracepoint tcp_rcv_space_adjust
    Kprobe,
}

/// The functions that all reads from TCP sockets pass through.
const FUNCTIONS: [&str; 2] = ["inet_recvmsg", "inet6_recvmsg"];

/// The program that does nothing, to see whether the kernel lets it be attached.
const ATTEMPT: &str = "fexit_attempt";

impl ReadHook {
    /// All of them, the best first: the tracepoint does not see where io_uring reads to, and kprobes cost most.
    pub(crate) const ALL: [Self; 3] = [Self::Fentry, Self::Tracepoint, Self::Kprobe];

    /// As the command line and `baton doctor` call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
            Self::Kprobe => "kprobe",
        }
    }

    /// The programs that it needs.
    pub(super) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Fentry => &FUNCTIONS,
            Self::Tracepoint => &["sock_recv_length"],
            Self::Kprobe => &["recvmsg_begins", "recvmsg_ends", "tcp_rcv_space_adjust"],
        }
    }
}

/// Attaches a hook's program to what it is named after, or to all functions that it is for.
fn attach(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::FExit(program) => program.attach().map(drop),
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::KProbe(program) => attach_to_all(program),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn attach_to_all(program: &mut KProbe) -> Result<(), ProgramError> {
    FUNCTIONS.iter().try_for_each(|function| program.attach(function, 0).map(drop))
}

impl Datapath {
    /// The hook to use: the one that is asked for, or the best that this kernel has.
    ///
    /// # Errors
    /// [`Failure::KernelLacks`] if it has none, or not that one.
    pub(super) fn choose_hook(&mut self, asked: Option<ReadHook>, btf: &Btf) -> anyhow::Result<ReadHook> {
        let candidates = asked.map_or(ReadHook::ALL.to_vec(), |one| vec![one]);
        let mut why_not = Vec::new();
        for hook in candidates {
            match self.try_hook(hook, btf) {
                Ok(()) => return Ok(hook),
                Err(why) => {
                    tracing::debug!(hook = hook.name(), why, "this kernel does not have the hook");
                    why_not.push(format!("{}: {why}", hook.name()));
                }
            }
        }
        let remedy = if asked.is_some() { "; leave --hook out, and the best that it has is chosen" } else { "" };
        let what = format!("nothing tells it what applications read ({}){remedy}", why_not.join("; "));
        Err(Failure::KernelLacks(what).into())
    }

    /// Which hooks this kernel has, and why it has not the others.
    ///
    /// # Errors
    /// If the kernel does not describe its types.
    pub(crate) fn hooks(&mut self) -> anyhow::Result<Vec<(ReadHook, Result<(), String>)>> {
        let btf = Btf::from_sys_fs().map_err(|error| Failure::NoBtf(error.to_string()))?;
        Ok(ReadHook::ALL.map(|hook| (hook, self.try_hook(hook, &btf))).to_vec())
    }

    /// Whether `hook` can be used here; why not, if not. Leaves nothing attached.
    fn try_hook(&mut self, hook: ReadHook, btf: &Btf) -> Result<(), String> {
        if self.hook == Some(hook) {
            return Ok(());
        }
        match hook {
            ReadHook::Fentry => self.try_fentry(btf).map_err(|error| format!("{error:#}")),
            ReadHook::Tracepoint => has_tracepoint(btf, "sock_recv_length"),
            ReadHook::Kprobe => has_tracepoint(btf, "tcp_rcv_space_adjust")
                .and_then(|()| self.try_kprobes().map_err(|error| format!("{error:#}"))),
        }
    }

    fn try_fentry(&mut self, btf: &Btf) -> anyhow::Result<()> {
        let program: &mut FExit = self.program(ATTEMPT)?;
        for function in FUNCTIONS {
            program.load(function, btf)?;
            let attached = program.attach();
            program.unload()?;
            attached?;
        }
        Ok(())
    }

    fn try_kprobes(&mut self) -> anyhow::Result<()> {
        for name in ReadHook::Kprobe.programs() {
            let Some(Program::KProbe(program)) = self.ebpf.program_mut(name) else { continue };
            program.load()?;
            let attached = attach_to_all(program);
            program.unload()?;
            attached?;
        }
        Ok(())
    }

    /// Attaches `hook`, whose programs are loaded.
    pub(super) fn attach_hook(&mut self, hook: ReadHook) -> anyhow::Result<()> {
        for name in self.with_twins(hook.programs()) {
            let program =
                self.ebpf.program_mut(&name).ok_or_else(|| anyhow::anyhow!("the object has no program {name}"))?;
            attach(program).map_err(|error| {
                Failure::KernelLacks(format!("it does not let {name} be attached: {}", chain(&error)))
            })?;
        }
        self.hook = Some(hook);
        Ok(())
    }

    /// Sees no reads any more.
    pub(super) fn detach_hook(&mut self) {
        let Some(hook) = self.hook.take() else { return };
        for name in self.with_twins(hook.programs()) {
            // One that is not there is detached.
            let _ = match self.ebpf.program_mut(&name) {
                Some(Program::FExit(program)) => program.unload(),
                Some(Program::BtfTracePoint(program)) => program.unload(),
                Some(Program::KProbe(program)) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    /// The hook that is used.
    pub(crate) const fn hook(&self) -> Option<ReadHook> {
        self.hook
    }
}

/// Whether `btf` describes the tracepoint `name`.
fn has_tracepoint(btf: &Btf, name: &str) -> Result<(), String> {
    let found = btf.id_by_type_name_kind(&format!("btf_trace_{name}"), aya_obj::btf::BtfKind::Typedef);
    found.map(drop).map_err(|_| format!("there is no tracepoint {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for hook in ReadHook::ALL {
            assert_eq!(ReadHook::from_str(hook.name(), false), Ok(hook));
        }
        assert_eq!(ReadHook::value_variants(), ReadHook::ALL);
    }
}
