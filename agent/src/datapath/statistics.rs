//! The programs that are in the kernel, and the time that they take.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::Array;
use aya::programs::Program;

use super::bpf;
use super::load::Datapath;
use super::twins;

/// Where an operator switches the kernel's BPF statistics on. baton never does: they cost each program some
/// nanoseconds, on the whole machine.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Its name.
    pub(crate) name: String,
    /// What it is attached to.
    pub(crate) hook: &'static str,
    /// How often it has run and how long that took in all, while the kernel counted that; `None` if it does not now.
    pub(crate) runs: Option<(u64, Duration)>,
    /// How often the kernel left a run out, since another thread was within the program on the same processor
    /// (kernel/trace/bpf_trace.c, `__bpf_trace_run`; kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`): what it would have
    /// seen was lost. Where the kernel can be preempted within programs only.
    pub(crate) misses: u64,
}

impl Datapath {
    /// All programs that are in the kernel, by name.
    ///
    /// # Errors
    /// If the kernel does not say how often they have run.
    pub(crate) fn loaded(&self) -> anyhow::Result<Vec<Loaded>> {
        let counts = fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "1");
        let aya = self.ebpf.programs().filter_map(|(name, program)| Some((name, hook(program), program.fd().ok()?)));
        let aya = aya.map(|(name, hook, descriptor)| (name, hook, descriptor.as_fd()));
        let own = self.uprobes.loaded().map(|(name, descriptor)| (name, UPROBE, descriptor));
        let all = aya.chain(own).map(|(name, hook, program)| loaded(name, hook, program, counts));
        let mut all = all.collect::<anyhow::Result<Vec<_>>>()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        lost_by_all(&mut all);
        Ok(all)
    }

    /// Context slots: how many there are, and how many were taken at once at most.
    ///
    /// # Errors
    /// If the kernel does not let it be read.
    pub(crate) fn slots(&mut self) -> anyhow::Result<(u32, u32)> {
        let most = self.slot_count();
        let taken: Array<_, u64> = self.map("SLOTS_TAKEN")?;
        let taken = taken.get(&0, 0).context("failed to read how many slots were taken")?;
        // Who finds none left may have counted itself.
        Ok((most, u32::try_from(taken).map_or(most, |taken| taken.min(most))))
    }
}

const UPROBE: &str = "uprobe";

/// An event is lost that a program and all its twins have missed: at most as many as the one that missed the fewest.
fn lost_by_all(programs: &mut [Loaded]) {
    let misses: Vec<(String, u64)> =
        programs.iter().map(|program| (twins::original(&program.name).to_owned(), program.misses)).collect();
    for program in programs {
        let fewest = misses.iter().filter(|(original, _)| *original == program.name).map(|(_, misses)| *misses).min();
        program.misses = fewest.unwrap_or(0);
    }
}

fn loaded(name: &str, hook: &'static str, program: BorrowedFd<'_>, counts: bool) -> anyhow::Result<Loaded> {
    let statistics = bpf::run_statistics(program).with_context(|| format!("failed to ask how often {name} has run"))?;
    let runs = counts.then(|| (statistics.count, Duration::from_nanos(statistics.nanoseconds)));
    Ok(Loaded { name: name.to_owned(), hook, runs, misses: statistics.misses })
}

const fn hook(program: &Program) -> &'static str {
    match program {
        Program::BtfTracePoint(_) => "tracepoint",
        Program::FExit(_) => "fexit",
        Program::KProbe(_) => "kprobe",
        Program::SockOps(_) => "sock_ops",
        Program::CgroupSkb(_) => "cgroup_skb",
        Program::SkMsg(_) => "sk_msg",
        Program::SkSkb(_) => "sk_skb",
        Program::SocketFilter(_) => "socket_filter",
        Program::Iter(_) => "iter",
        Program::UProbe(_) => UPROBE,
        _ => "other",
    }
}
