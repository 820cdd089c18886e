//! What a function is for, of those that only run because of baton.

/// The steps of a request's way through baton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Look at what a thread has read, and copy it.
    Read,
    /// Look for lines and names.
    Match,
    /// Know the thread's context.
    Find,
    /// Stop in the program's own code, where a runtime has to be followed.
    Probe,
    /// Make room in the message, and write the lines.
    Insert,
    /// Follow the response.
    Answer,
    /// What the kernel does with the messages of sockets in a sockmap.
    Sockmap,
    /// What all have.
    Other,
}

/// Stands behind the names of functions that are not the kernel's.
pub(super) const USER_SPACE: &str = " (user space)";

/// Beginnings of functions' names.
const FUNCTIONS: &[(&str, Step)] = &[
    ("sock_recv_length", Step::Read),
    ("call_trace_sock_recv_length", Step::Read),
    ("bpf_trace_run", Step::Read),
    ("has_read", Step::Read),
    ("step_3C_baton_ebpf_3A__3A_source_3A__3A_User", Step::Read),
    ("bpf_probe_read_user", Step::Read),
    ("copy_from_user_nofault", Step::Read),
    ("bpf_task_pt_regs", Step::Read),
    ("__get_user_8", Step::Read),
    ("scan_step", Step::Match),
    ("skip", Step::Match),
    ("claim", Step::Find),
    ("htab_map_hash", Step::Find),
    ("lookup_nulls_elem_raw", Step::Find),
    ("__htab_map_lookup_elem", Step::Find),
    ("bpf_sk_storage_get", Step::Find),
    ("copy_from_kernel_nofault", Step::Find),
    ("bpf_probe_read_kernel", Step::Find),
    ("htab_map_update_elem", Step::Find),
    ("htab_map_delete_elem", Step::Find),
    ("htab_lock_bucket", Step::Find),
    ("free_htab_elem", Step::Find),
    ("check_and_free_fields", Step::Find),
    ("pcpu_freelist_push", Step::Find),
    ("bpf_get_current_", Step::Find),
    ("irqentry_exit_to_user_mode", Step::Probe),
    ("uprobe_", Step::Probe),
    ("arch_uprobe", Step::Probe),
    ("arch_uretprobe", Step::Probe),
    ("__x64_sys_uretprobe", Step::Probe),
    ("find_active_uprobe", Step::Probe),
    ("find_uprobe", Step::Probe),
    ("handler_chain", Step::Probe),
    ("should_optimize", Step::Probe),
    ("emulate_push_stack", Step::Probe),
    ("push_emulate_op", Step::Probe),
    ("free_ret_instance", Step::Probe),
    ("mtree_load", Step::Probe),
    ("bpf_prog_run_pin_on_cpu", Step::Probe),
    ("rcu_read_unlock_trace_special", Step::Probe),
    ("python_", Step::Probe),
    ("uvloop_", Step::Probe),
    ("is_proven", Step::Insert),
    ("sk_msg_write", Step::Insert),
    ("step_3C_baton_ebpf_3A__3A_source_3A__3A_Kernel", Step::Insert),
    ("insert", Step::Insert),
    ("write_turn", Step::Insert),
    ("bpf_msg_push_data", Step::Insert),
    ("bpf_msg_pull_data", Step::Insert),
    ("cgroup_skb_leave", Step::Answer),
    ("step_3C_baton_ebpf_3A__3A_source_3A__3A_Packet", Step::Answer),
    ("__cgroup_bpf_run_filter_skb", Step::Answer),
    ("bpf_skb_load_bytes", Step::Answer),
    ("skb_copy_bits", Step::Answer),
    ("sk_skb_pass", Step::Sockmap),
    ("sock_ops_enrol", Step::Sockmap),
    ("__cgroup_bpf_run_filter_sock_ops", Step::Sockmap),
    ("tcp_bpf_", Step::Sockmap),
    ("sk_psock_", Step::Sockmap),
    ("sg_init_table", Step::Sockmap),
    ("sk_msg_", Step::Sockmap),
    ("__sk_msg_", Step::Sockmap),
    ("alloc_sk_msg", Step::Sockmap),
    ("tcp_msg_wait_data", Step::Sockmap),
    ("tcp_read_skb", Step::Sockmap),
    ("skb_splice_from_iter", Step::Sockmap),
];

impl Step {
    pub(super) const ALL: [Self; 8] =
        [Self::Read, Self::Match, Self::Find, Self::Probe, Self::Insert, Self::Answer, Self::Sockmap, Self::Other];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Read => "read: the hook after reads, copying what was read",
            Self::Match => {
                "match: lines and names, of the request that comes, of that which goes, and of both responses"
            }
            Self::Find => "find: the socket's state, the thread's context",
            Self::Probe => "probes in the program's code: traps, and what runs there",
            Self::Insert => "insert: room in the message, and in one piece; writing the lines",
            Self::Answer => "answer: the hook before packets leave",
            Self::Sockmap => "the kernel's own way of messages through a sockmap",
            Self::Other => "all else: memory, longer messages, scheduling, noise",
        }
    }

    /// The step that a function is for.
    pub(super) fn of(function: &str) -> Self {
        if function.ends_with(USER_SPACE) {
            return Self::Other;
        }
        FUNCTIONS.iter().find(|(name, _)| function.starts_with(name)).map_or(Self::Other, |(_, step)| *step)
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn functions_are_known_by_their_beginnings() {
        assert_eq!(Step::of("scan_step"), Step::Match);
        assert_eq!(Step::of("tcp_bpf_sendmsg"), Step::Sockmap);
        assert_eq!(Step::of("copy_from_kernel_nofault_allowed"), Step::Find);
        assert_eq!(Step::of("tcp_sendmsg_locked"), Step::Other);
        assert_eq!(Step::of("insert"), Step::Insert);
        assert_eq!(Step::of("insert (user space)"), Step::Other);
    }
}
