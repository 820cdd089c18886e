//! The kernels of the matrix, and the hooks that are tried on each.

use clap::ValueEnum;

use super::architecture::Architecture;

/// How baton learns of reads: what `$BATON_HOOK` asks it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Hook {
    /// fexit programs on the kernel's receiving functions
    Fentry,
    /// The tracepoint `sock_recv_length`, which came with Linux 6.3
    Tracepoint,
    /// kprobes and kretprobes on the receiving functions
    Kprobe,
}

impl Hook {
    /// As `$BATON_HOOK` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
            Self::Kprobe => "kprobe",
        }
    }

    /// Whether this is the hook that `baton doctor` describes so.
    pub(super) fn is_described_by(self, words: &str) -> bool {
        let word = match self {
            Self::Fentry => "fexit",
            Self::Tracepoint => "sock_recv_length",
            Self::Kprobe => "kprobes",
        };
        words.contains(word)
    }
}

/// A kernel of Debian's, made for virtual machines.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What `--kernel` calls it.
    pub(super) name: &'static str,
    /// The Debian suite that it comes from.
    pub(super) suite: &'static str,
    /// What it runs on.
    pub(super) architecture: Architecture,
    /// What it offers; nothing where baton is to refuse it.
    pub(super) hooks: &'static [Hook],
}

impl Kernel {
    /// Whether baton must say that this kernel is too old.
    pub(super) fn is_refused(&self) -> bool {
        self.hooks.is_empty()
    }
}

const BEFORE_6_3: &[Hook] = &[Hook::Fentry, Hook::Kprobe];
const SINCE_6_3: &[Hook] = &[Hook::Fentry, Hook::Tracepoint, Hook::Kprobe];

/// All of them, oldest first; the one of another architecture last.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", suite: "bullseye", architecture: Architecture::Amd64, hooks: &[] },
    Kernel { name: "6.1", suite: "bookworm", architecture: Architecture::Amd64, hooks: BEFORE_6_3 },
    Kernel { name: "6.12", suite: "bookworm-backports", architecture: Architecture::Amd64, hooks: SINCE_6_3 },
    Kernel { name: "trixie", suite: "trixie", architecture: Architecture::Amd64, hooks: SINCE_6_3 },
    Kernel { name: "sid", suite: "sid", architecture: Architecture::Amd64, hooks: SINCE_6_3 },
    Kernel { name: "arm64", suite: "trixie", architecture: Architecture::Arm64, hooks: SINCE_6_3 },
];

/// What the test command runs.
const SHORT: &[(&str, Hook)] = &[("6.1", Hook::Fentry), ("6.1", Hook::Kprobe), ("6.12", Hook::Tracepoint)];

/// One boot: a kernel, and the hook that baton is told to use; none where baton is to refuse the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) kernel: &'static Kernel,
    pub(super) hook: Option<Hook>,
}

impl Run {
    /// For headings.
    pub(super) fn name(&self) -> String {
        match self.hook {
            Some(hook) => format!("{}, {}", self.kernel.name, hook.name()),
            None => format!("{}, to be refused", self.kernel.name),
        }
    }
}

/// The runs that fit; empty lists mean all.
pub(super) fn choose(names: &[String], hooks: &[Hook], short: bool) -> Vec<Run> {
    let kernels = KERNELS.iter().filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.name));
    let runs = kernels.flat_map(|kernel| {
        let hooked = kernel.hooks.iter().map(move |hook| Run { kernel, hook: Some(*hook) });
        let refused = kernel.is_refused().then_some(Run { kernel, hook: None });
        hooked.chain(refused)
    });
    let fits = |run: &Run| {
        let is_short = run.hook.is_some_and(|hook| SHORT.contains(&(run.kernel.name, hook)));
        (hooks.is_empty() || run.hook.is_some_and(|hook| hooks.contains(&hook))) && (is_short || !short)
    };
    runs.filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(runs: &[Run]) -> Vec<String> {
        runs.iter().map(Run::name).collect()
    }

    #[test]
    fn each_hook_that_a_kernel_offers_is_a_run() {
        assert_eq!(names(&choose(&["6.1".to_owned()], &[], false)), ["6.1, fentry", "6.1, kprobe"]);
        assert_eq!(names(&choose(&["5.10".to_owned()], &[], false)), ["5.10, to be refused"]);
        assert_eq!(choose(&[], &[Hook::Kprobe], false).len(), KERNELS.len() - 1);
    }

    #[test]
    fn the_short_set_is_part_of_the_whole() {
        let short = names(&choose(&[], &[], true));
        assert_eq!(short, ["6.1, fentry", "6.1, kprobe", "6.12, tracepoint"]);
        let whole = names(&choose(&[], &[], false));
        assert!(short.iter().all(|run| whole.contains(run)));
    }
}
