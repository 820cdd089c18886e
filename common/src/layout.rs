//! Offsets of kernel structure members that the kernel side reads.

/// Offsets in bytes, and values of enumerations, resolved from the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `sock.sk_sndbuf`
    pub sock_sndbuf: u32,
    /// `sock.sk_wmem_queued`
    pub sock_wmem_queued: u32,
    /// `sock.sk_cgrp_data.cgroup`
    pub sock_cgroup: u32,
    /// `sock.sk_user_data`
    pub sock_user_data: u32,
    /// `sock.sk_bpf_storage`
    pub sock_storage: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `sock.sk_wq`
    pub sock_wq: u32,
    /// `socket_wq.wait.head.next`
    pub wq_first: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `socket.flags`
    pub socket_flags: u32,
    /// `file.f_flags`
    pub file_flags: u32,
    /// `tcp_skb_cb.seq`, which is in `sk_buff.cb`
    pub skb_seq: u32,
    /// `tcp_skb_cb.end_seq`, which is in `sk_buff.cb`
    pub skb_end_seq: u32,
    /// `sk_psock.refcnt`
    pub psock_refs: u32,
    /// `sk_psock.ingress_msg`
    pub psock_ingress_msg: u32,
    /// `sk_psock.ingress_skb.qlen`
    pub psock_ingress_skb_len: u32,
    /// `sk_psock.ingress_skb`
    pub psock_ingress_skb: u32,
    /// `sk_psock.ingress_skb.prev`
    pub psock_ingress_skb_last: u32,
    /// `sk_psock.msg_tot_len`; [`Self::NONE`] before 6.18.14
    pub psock_ingress_len: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.self.parent`
    pub cgroup_parent: u32,
    /// `kernfs_node.id`
    pub kernfs_node_id: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.nr_threads`
    pub signal_threads: u32,
    /// What pthread_self() is in the thread: `task_struct.thread.fsbase` on
    /// x86-64, `.thread.uw.tp_value` on ARM64
    pub task_thread_pointer: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_table: u32,
    /// `fdtable.fd`
    pub table_files: u32,
    /// `fdtable.max_fds`
    pub table_size: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sock.__sk_common.skc_cookie`
    pub sock_cookie: u32,
    /// `sock.__sk_common.skc_state`
    pub sock_state: u32,
    /// `sock.sk_lock.owned`
    pub sock_owned: u32,
    /// `sock.__sk_common.skc_family`
    pub sock_family: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sock_peer: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sock_peer6: u32,
    /// `sock.__sk_common.skc_dport`
    pub sock_peer_port: u32,
    /// `msghdr.msg_iter`
    pub message_iter: u32,
    /// `iov_iter.iter_type`
    pub iter_type: u32,
    /// `iov_iter.iov_offset`
    pub iter_offset: u32,
    /// `iov_iter.count`
    pub iter_count: u32,
    /// `iov_iter.ubuf`; unused where [`Self::iter_is_buffer`] is none
    pub iter_buffer: u32,
    /// `iov_iter.__iov`, `iov_iter.iov` before 6.4
    pub iter_vector: u32,
    /// No offset: `enum iter_type`'s `ITER_UBUF`; [`Self::NONE`] before 6.0
    pub iter_is_buffer: u32,
    /// No offset: its `ITER_IOVEC`
    pub iter_is_vector: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
}

impl Layout {
    /// What the object is compiled with; user space always replaces it.
    pub const UNKNOWN: Self = Self {
        tcp_write_seq: 0,
        tcp_snd_una: 0,
        tcp_bytes_acked: 0,
        tcp_bytes_received: 0,
        tcp_rcv_nxt: 0,
        tcp_copied_seq: 0,
        sock_sndbuf: 0,
        sock_wmem_queued: 0,
        sock_cgroup: 0,
        sock_user_data: 0,
        sock_storage: 0,
        sock_socket: 0,
        sock_wq: 0,
        wq_first: 0,
        socket_file: 0,
        socket_flags: 0,
        file_flags: 0,
        skb_seq: 0,
        skb_end_seq: 0,
        psock_refs: 0,
        psock_ingress_msg: 0,
        psock_ingress_skb_len: 0,
        psock_ingress_skb: 0,
        psock_ingress_skb_last: 0,
        psock_ingress_len: 0,
        cgroup_kn: 0,
        cgroup_parent: 0,
        kernfs_node_id: 0,
        task_pid: 0,
        task_tgid: 0,
        task_signal: 0,
        signal_threads: 0,
        task_thread_pointer: 0,
        task_files: 0,
        files_table: 0,
        table_files: 0,
        table_size: 0,
        file_private: 0,
        socket_sk: 0,
        sock_cookie: 0,
        sock_state: 0,
        sock_owned: 0,
        sock_family: 0,
        sock_peer: 0,
        sock_peer6: 0,
        sock_peer_port: 0,
        message_iter: 0,
        iter_type: 0,
        iter_offset: 0,
        iter_count: 0,
        iter_buffer: 0,
        iter_vector: 0,
        iter_is_buffer: 0,
        iter_is_vector: 0,
        task_comm: 0,
    };

    /// A value that the kernel does not have.
    pub const NONE: u32 = u32::MAX;
}
