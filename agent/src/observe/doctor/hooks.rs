//! Where baton hooks into the kernel.

use serde::Serialize;

use crate::datapath::hook::ReadHook;
use crate::datapath::load::Datapath;

/// Where baton hooks into the kernel, and why there.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Hook {
    step: &'static str,
    hook: String,
    why: String,
}

/// A hook for reads that this kernel may have.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Offer {
    /// As `--hook` takes it.
    kind: ReadHook,
    /// Whether it is the one that is used.
    used: bool,
    /// Why this kernel does not have it, if so.
    missing: Option<String>,
}

/// Asks the kernel for each hook that may see reads.
pub(super) fn offers(datapath: &mut Datapath) -> anyhow::Result<Vec<Offer>> {
    let used = datapath.hook();
    let all = datapath.hooks()?;
    Ok(all.into_iter().map(|(kind, there)| Offer { kind, used: used == Some(kind), missing: there.err() }).collect())
}

/// All hooks that are used.
pub(super) fn all(offers: &[Offer]) -> Vec<Hook> {
    let hook = |step, hook: &str, why: &str| Hook { step, hook: hook.to_owned(), why: why.to_owned() };
    let mut hooks = vec![hook(
        "enrol",
        "sock_ops on each workload's cgroup (bpf_link)",
        "runs for sockets of selected workloads only, and ends with baton",
    )];
    if let Some(used) = offers.iter().find(|offer| offer.used) {
        let (name, why) = match used.kind {
            ReadHook::Fentry => (
                "fexit of inet_recvmsg() and inet6_recvmsg()",
                "one run for each read, in the thread that reads; sees the reads of io_uring, too",
            ),
            ReadHook::Tracepoint => (
                "BTF tracepoint sock_recv_length",
                "one run for each read, in the thread that reads; works where fentry and kprobes are not to be had",
            ),
            ReadHook::Kprobe => (
                "kprobes on inet_recvmsg() and inet6_recvmsg(), BTF tracepoint tcp_rcv_space_adjust",
                "where a thread reads to, and each part of what it reads; costs most",
            ),
        };
        hooks.push(hook("read", name, why));
        for other in offers.iter().filter(|offer| !offer.used) {
            let why = match &other.missing {
                Some(why) => format!("{} is not to be had: {why}", other.kind.name()),
                None => format!("{} could be used instead, with --hook {0}", other.kind.name()),
            };
            hooks.push(Hook { step: "", hook: why, why: String::new() });
        }
    }
    hooks.extend([
        hook("write", "sk_msg on a SOCKHASH", "runs in the thread that writes, with the bytes in hand"),
        hook(
            "answer",
            "cgroup_skb egress on each workload's cgroup (bpf_link), BTF tracepoint inet_sock_set_state",
            "see the end of each response, and of each connection; sockets of others pay nothing for it",
        ),
        hook(
            "attribute",
            "BTF tracepoints sched_process_fork, _exec and _exit",
            "programs that are started inherit what is certain",
        ),
        hook(
            "runtimes",
            "uprobes in Go programs, and in the C library of Java virtual machines",
            "tell goroutines and event loops apart; only in processes of selected workloads (see --pid)",
        ),
        hook(
            "leave",
            "sock_ops RTT callback and iter/tcp",
            "connections that do not speak HTTP/1 go back to the stock path when their queue is empty",
        ),
    ]);
    hooks
}

/// The hooks, for people to read.
pub(super) fn lines(hooks: &[Hook]) -> Vec<String> {
    let mut lines = vec!["Hooks".to_owned()];
    for hook in hooks {
        lines.push(format!("      {:<16}  {}", hook.step, hook.hook));
        if !hook.why.is_empty() {
            lines.push(format!("{:24}{}", "", hook.why));
        }
    }
    lines
}
