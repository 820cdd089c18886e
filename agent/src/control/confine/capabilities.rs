//! The capabilities that stay.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

use super::Needs;

/// What stays where this process has it: what for, and when it is needed.
type Reason = (Capability, &'static str, fn(Needs) -> bool);

const ALWAYS: fn(Needs) -> bool = |_| true;

/// In the order of their numbers. What is not here goes.
const KEPT: [Reason; 9] = [
    (Capability::CAP_DAC_OVERRIDE, "to remove what baton has made in a directory that it may not write to", |needs| {
        needs.foreign
    }),
    (
        Capability::CAP_DAC_READ_SEARCH,
        "to read programs, and descriptors, of processes that only their owner may read",
        ALWAYS,
    ),
    (Capability::CAP_KILL, "to hand signals on to a command that runs as another user", |needs| needs.signals),
    (Capability::CAP_NET_ADMIN, "to attach programs to new workloads, and put sockets into the SOCKHASH", ALWAYS),
    (Capability::CAP_SYS_PTRACE, "to see which programs new processes run, and take in their open connections", ALWAYS),
    (Capability::CAP_SYS_ADMIN, "to enter network namespaces of workloads", |needs| needs.namespaces),
    (Capability::CAP_SYS_ADMIN, "to attach programs to processes with perf events", |needs| needs.perf),
    (Capability::CAP_PERFMON, "to attach programs to new processes", ALWAYS),
    (Capability::CAP_BPF, "to use maps, and load programs for new processes", ALWAYS),
];

/// Includes CAP_BPF and CAP_PERFMON, see capabilities(7).
const INCLUDES: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// What stays of `permitted`, each with what for.
pub(super) fn kept(permitted: &CapsHashSet, needs: Needs) -> Vec<(Capability, &'static str)> {
    let mut kept: Vec<(Capability, &'static str)> = Vec::new();
    let stays = KEPT.iter().filter(|(capability, _, is_needed)| permitted.contains(capability) && is_needed(needs));
    for (capability, purpose, _) in stays {
        if kept.iter().all(|(other, _)| other != capability) {
            kept.push((*capability, purpose));
        }
    }
    // Where it is all that there is.
    let admin = Capability::CAP_SYS_ADMIN;
    if permitted.contains(&admin)
        && INCLUDES.iter().any(|included| !permitted.contains(included))
        && kept.iter().all(|(other, _)| *other != admin)
    {
        kept.push((admin, "in the place of CAP_BPF and CAP_PERFMON"));
    }
    kept
}

/// Gives up all capabilities of this thread that are not needed, and those that programs could gain which it starts.
/// Returns those that are kept.
pub(super) fn keep(needs: Needs) -> Result<Vec<(Capability, &'static str)>, CapsError> {
    let kept = kept(&caps::read(None, CapSet::Permitted)?, needs);
    let set: CapsHashSet = kept.iter().map(|(capability, _)| *capability).collect();
    // It takes CAP_SETPCAP, which containers do not have: what can be gained there is what their runtime has left.
    if let Err(error) = caps::clear(None, CapSet::Bounding) {
        tracing::debug!(%error, "the bounding set stays");
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &set)?;
    caps::set(None, CapSet::Permitted, &set)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(permitted: &CapsHashSet, needs: Needs) -> Vec<String> {
        kept(permitted, needs).iter().map(|(capability, _)| capability.to_string()).collect()
    }

    #[test]
    fn what_is_not_needed_goes() {
        let always = ["CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"];
        assert_eq!(names(&caps::all(), Needs::default()), always);
        let all = Needs { namespaces: true, perf: true, pins: true, signals: true, foreign: true };
        let all = names(&caps::all(), all);
        assert_eq!(all.len(), always.len() + 3, "{all:?}");
        for one in ["CAP_SYS_ADMIN", "CAP_KILL", "CAP_DAC_OVERRIDE"] {
            assert!(all.iter().any(|name| name == one), "{one}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_kept() {
        let container = CapsHashSet::from([Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_CHOWN]);
        assert_eq!(names(&container, Needs { namespaces: true, ..Needs::default() }), ["CAP_PERFMON", "CAP_BPF"]);
    }

    #[test]
    fn an_old_container_keeps_what_includes_the_others() {
        let old = CapsHashSet::from([Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN]);
        assert_eq!(names(&old, Needs::default()), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    }
}
