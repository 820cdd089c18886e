//! Resolves what the kernel side must know of the running kernel's structures and enumerations, from its BTF.

use std::path::Path;

use baton_common::layout::Layout;

use super::btf::Types;
use super::probe;
use crate::failure::Failure;

/// Where the kernel shows its types (since 5.4, with `CONFIG_DEBUG_INFO_BTF`).
pub(crate) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Where a thread's pthread_self() is in `task_struct`.
#[cfg(target_arch = "aarch64")]
const THREAD_POINTER: &[&str] = &["thread", "uw", "tp_value"];
#[cfg(not(target_arch = "aarch64"))]
const THREAD_POINTER: &[&str] = &["thread", "fsbase"];

/// Reads the running kernel's BTF and resolves all offsets.
///
/// # Errors
/// [`Failure::NoBtf`] if there is none, [`Failure::KernelLacks`] if a member is missing.
pub(crate) fn resolve() -> Result<Layout, Failure> {
    let types = Types::of_kernel(Path::new(BTF_PATH)).map_err(|error| Failure::NoBtf(error.to_string()))?;
    probe::require_helpers(&types)?;
    let at = |structure: &str, path: &[&str]| {
        types.offset(structure, path).ok_or_else(|| {
            Failure::KernelLacks(format!("its type information has no member {structure}.{}", path.join(".")))
        })
    };
    let value = |enumeration: &str, name: &str| {
        types
            .enumerator(enumeration, name)
            .ok_or_else(|| Failure::KernelLacks(format!("its type information has no {name} in enum {enumeration}")))
    };
    Ok(Layout {
        tcp_write_seq: at("tcp_sock", &["write_seq"])?,
        tcp_snd_una: at("tcp_sock", &["snd_una"])?,
        tcp_bytes_acked: at("tcp_sock", &["bytes_acked"])?,
        tcp_bytes_received: at("tcp_sock", &["bytes_received"])?,
        tcp_rcv_nxt: at("tcp_sock", &["rcv_nxt"])?,
        tcp_copied_seq: at("tcp_sock", &["copied_seq"])?,
        sock_sndbuf: at("sock", &["sk_sndbuf"])?,
        sock_wmem_queued: at("sock", &["sk_wmem_queued"])?,
        sock_cgroup: at("sock", &["sk_cgrp_data", "cgroup"])?,
        sock_user_data: at("sock", &["sk_user_data"])?,
        sock_storage: at("sock", &["sk_bpf_storage"])?,
        sock_socket: at("sock", &["sk_socket"])?,
        sock_wq: at("sock", &["sk_wq"])?,
        wq_first: at("socket_wq", &["wait", "head", "next"])?,
        socket_file: at("socket", &["file"])?,
        socket_flags: at("socket", &["flags"])?,
        file_flags: at("file", &["f_flags"])?,
        skb_seq: at("sk_buff", &["cb"])? + at("tcp_skb_cb", &["seq"])?,
        skb_end_seq: at("sk_buff", &["cb"])? + at("tcp_skb_cb", &["end_seq"])?,
        psock_refs: at("sk_psock", &["refcnt"])?,
        psock_ingress_msg: at("sk_psock", &["ingress_msg"])?,
        psock_ingress_skb_len: at("sk_psock", &["ingress_skb", "qlen"])?,
        psock_ingress_skb: at("sk_psock", &["ingress_skb"])?,
        psock_ingress_skb_last: at("sk_psock", &["ingress_skb", "prev"])?,
        psock_ingress_len: at("sk_psock", &["msg_tot_len"]).unwrap_or(Layout::NONE),
        cgroup_kn: at("cgroup", &["kn"])?,
        cgroup_parent: at("cgroup", &["self", "parent"])?,
        kernfs_node_id: at("kernfs_node", &["id"])?,
        task_pid: at("task_struct", &["pid"])?,
        task_tgid: at("task_struct", &["tgid"])?,
        task_signal: at("task_struct", &["signal"])?,
        signal_threads: at("signal_struct", &["nr_threads"])?,
        task_thread_pointer: at("task_struct", THREAD_POINTER)?,
        task_files: at("task_struct", &["files"])?,
        files_table: at("files_struct", &["fdt"])?,
        table_files: at("fdtable", &["fd"])?,
        table_size: at("fdtable", &["max_fds"])?,
        file_private: at("file", &["private_data"])?,
        socket_sk: at("socket", &["sk"])?,
        sock_cookie: at("sock", &["__sk_common", "skc_cookie"])?,
        sock_state: at("sock", &["__sk_common", "skc_state"])?,
        sock_owned: at("sock", &["sk_lock", "owned"])?,
        sock_family: at("sock", &["__sk_common", "skc_family"])?,
        sock_peer: at("sock", &["__sk_common", "skc_daddr"])?,
        sock_peer6: at("sock", &["__sk_common", "skc_v6_daddr"])?,
        sock_peer_port: at("sock", &["__sk_common", "skc_dport"])?,
        message_iter: at("msghdr", &["msg_iter"])?,
        iter_type: at("iov_iter", &["iter_type"])?,
        iter_offset: at("iov_iter", &["iov_offset"])?,
        iter_count: at("iov_iter", &["count"])?,
        iter_buffer: types.offset("iov_iter", &["ubuf"]).unwrap_or(0),
        // Its name since 6.4, and the one before.
        iter_vector: at("iov_iter", &["__iov"]).or_else(|_| at("iov_iter", &["iov"]))?,
        iter_is_buffer: value("iter_type", "ITER_UBUF").unwrap_or(Layout::NONE),
        iter_is_vector: value("iter_type", "ITER_IOVEC")?,
        task_comm: at("task_struct", &["comm"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_this_kernel() {
        let layout = resolve().expect("this kernel has BTF");
        assert!(layout.tcp_write_seq > layout.sock_sndbuf);
        assert!(layout.kernfs_node_id > 0);
    }
}
