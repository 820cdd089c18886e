//! Programs that are attached four times, on kernels that leave a program out while another thread is within it, see
//! `agent-ebpf/src/twins.rs`.

use nix::sys::utsname;

/// The programs that have twins. What others miss makes nothing wrong.
const TWINNED: [&str; 5] =
    ["inet_recvmsg", "inet6_recvmsg", "sock_recv_length", "tcp_rcv_space_adjust", "inet_sock_set_state"];

/// How the names of a program's twins end.
const ENDS: [&str; 3] = ["_2", "_3", "_4"];

/// Whether twins are needed: since Linux 7.0, where programs of tracepoints can be preempted (include/linux/tracepoint.h,
/// `__DECLARE_TRACE`) and the kernel is preemptible itself (kernel/Kconfig.preempt). Before, that is so on kernels for
/// real-time use only.
pub(super) fn are_needed() -> bool {
    let release = utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    release.is_ok_and(|release| is_since_7(&release))
}

fn is_since_7(release: &str) -> bool {
    release.split('.').next().and_then(|major| major.parse().ok()).is_some_and(|major: u32| major >= 7)
}

/// The name of `program`, and those of its twins if there are any.
pub(super) fn with_twins(program: &str, are_any: bool) -> impl Iterator<Item = String> {
    let ends = if are_any && TWINNED.contains(&program) { &ENDS[..] } else { &[] };
    std::iter::once(program.to_owned()).chain(ends.iter().map(move |end| format!("{program}{end}")))
}

/// The program whose twin `name` is; `name` itself if it is none.
pub(super) fn original(name: &str) -> &str {
    let originals = ENDS.iter().filter_map(|end| name.strip_suffix(end));
    originals.into_iter().find(|name| TWINNED.contains(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::{is_since_7, original, with_twins};

    #[test]
    fn the_first_number_of_the_release_counts() {
        assert!(is_since_7("7.2.13+deb14-cloud-amd64"));
        assert!(is_since_7("10.0"));
        assert!(!is_since_7("6.18.44"));
        assert!(!is_since_7(""));
    }

    #[test]
    fn twins_are_told_by_their_names() {
        let all: Vec<String> = with_twins("inet_recvmsg", true).collect();
        assert_eq!(all, ["inet_recvmsg", "inet_recvmsg_2", "inet_recvmsg_3", "inet_recvmsg_4"]);
        assert!(all.iter().all(|name| original(name) == "inet_recvmsg"));
        assert_eq!(with_twins("recvmsg_begins", true).collect::<Vec<_>>(), ["recvmsg_begins"]);
        assert_eq!(original("recvmsg_2"), "recvmsg_2");
    }
}
