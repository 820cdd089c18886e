//! What sockets a process has.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::file;

/// `TCP_LISTEN` (include/net/tcp_states.h), as /proc/net/tcp has it.
const LISTEN: &str = "0A";

/// Whether process `id` may have TCP connections. What cannot be told apart from
/// them counts as such.
pub(super) fn may_have_connections(id: u32) -> bool {
    let Some(open) = open(id) else { return true };
    // Only now: what is listening from here on has been nothing else before.
    !open.is_empty() && !open.is_subset(&others(id))
}

/// The sockets that a process has open, by inode; `None` if that cannot be seen.
fn open(id: u32) -> Option<HashSet<u64>> {
    let mut open = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{id}/fd")).ok()? {
        // It may be closed meanwhile.
        let Ok(target) = fs::read_link(entry.ok()?.path()) else { continue };
        let target = target.to_string_lossy();
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            open.insert(inode.parse().ok()?);
        }
    }
    Some(open)
}

/// The sockets in the network namespace of process `id` that are no connections:
/// TCP sockets that listen, and Unix sockets.
fn others(id: u32) -> HashSet<u64> {
    // What is too long to be read whole only leaves out some that are no connections.
    let table = |name: &str| file::table(Path::new(&format!("/proc/{id}/net/{name}")));
    // Documentation/networking/proc_net_tcp.rst; proc_pid_net(5).
    let listening = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        (fields.next()? == LISTEN).then(|| fields.nth(5)?.parse().ok())?
    };
    let unix = |line: &str| line.split_ascii_whitespace().nth(6)?.parse().ok();
    let tcp = [table("tcp"), table("tcp6")].concat();
    tcp.lines().filter_map(listening).chain(table("unix").lines().filter_map(unix)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u64 {
        let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("it is open");
        let target = target.to_string_lossy();
        target.trim_start_matches("socket:[").trim_end_matches(']').parse().expect("an inode")
    }

    #[test]
    fn connections_are_told_apart_from_other_sockets() {
        let id = std::process::id();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let (unix, _peer) = UnixStream::pair().expect("a pair");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let (open, others) = (open(id).expect("this process"), others(id));
        for socket in [inode(&listener), inode(&unix), inode(&client)] {
            assert!(open.contains(&socket));
        }
        assert!(others.contains(&inode(&listener)) && others.contains(&inode(&unix)));
        assert!(!others.contains(&inode(&client)));
        assert!(may_have_connections(id) && may_have_connections(u32::MAX));
    }
}
