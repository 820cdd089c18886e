//! Who on this machine is at an address: for hops that no flow event tells of.
//!
//! What the kernel says in `/proc` about each network namespace: its sockets, and
//! its addresses. Without CAP_SYS_PTRACE other users' processes are not seen.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use crate::control::cgroup;

/// A process of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Neighbour {
    /// Its id.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) comm: String,
    /// The directory of its cgroup v2.
    pub(crate) cgroup: String,
    /// Whether flow events tell of it, or of a process of its cgroup or pod, if that is known.
    pub(crate) is_seen: Option<bool>,
}

/// A socket, as `/proc/net/tcp` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    inode: u64,
}

/// The processes of this machine, and their sockets.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    namespaces: Vec<Namespace>,
    /// Processes by their network namespace's place in `namespaces`.
    processes: HashMap<u32, usize>,
    /// Processes by the sockets that they hold.
    owners: HashMap<u64, u32>,
}

/// A network namespace.
#[derive(Debug)]
struct Namespace {
    addresses: Vec<IpAddr>,
    sockets: Vec<Socket>,
}

impl Machine {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let mut machine = Self::default();
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        for process in processes() {
            // A process may end at any time.
            let Ok(namespace) = fs::read_link(format!("/proc/{process}/ns/net")) else { continue };
            let place = *places.entry(namespace).or_insert_with(|| {
                machine.namespaces.push(Namespace { addresses: addresses(process), sockets: sockets(process) });
                machine.namespaces.len() - 1
            });
            machine.processes.insert(process, place);
            let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
            let inodes = descriptors.filter_map(|entry| inode(fs::read_link(entry.path()).ok()?.to_str()?));
            for inode in inodes {
                machine.owners.entry(inode).or_insert(process);
            }
        }
        machine
    }

    /// Whether process `pid` is there.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// The process at `there`, the other end of a connection whose end here is `here`. Loopback addresses are those
    /// that process `pid` has.
    pub(crate) fn at(&self, there: SocketAddr, here: Option<SocketAddr>, pid: u32) -> Option<Neighbour> {
        let (there, here) = (canonical(there), here.map(canonical));
        let own = self.processes.get(&pid).and_then(|place| self.namespaces.get(*place));
        let has_it = |namespace: &&Namespace| match there.ip().is_loopback() {
            true => own.is_some_and(|own| std::ptr::eq(own, *namespace)),
            false => namespace.addresses.contains(&there.ip()),
        };
        let sockets = || self.namespaces.iter().filter(has_it).flat_map(|namespace| &namespace.sockets);
        let is_connected = |socket: &&Socket| socket.local == there && Some(socket.remote) == here;
        // A server may have closed the connection by now.
        let listens = |socket: &&Socket| {
            let ip = socket.local.ip();
            socket.remote.port() == 0
                && socket.local.port() == there.port()
                && (ip == there.ip() || ip.is_unspecified())
        };
        let found = sockets().filter(is_connected).chain(sockets().filter(listens));
        let pid = found.filter_map(|socket| self.owners.get(&socket.inode)).copied().next()?;
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
        Some(Neighbour { pid, comm, cgroup: cgroup(pid).unwrap_or_default(), is_seen: None })
    }
}

/// The directory of the cgroup v2 of a process.
pub(crate) fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = cgroup::mount().ok()?;
    Some(mount.join(path.trim_start_matches('/')).display().to_string())
}

/// Whether a process of one cgroup belongs to the workload of one in the other: the same cgroup, one below it, or
/// another container of the same pod.
pub(crate) fn is_same_workload(one: &str, other: &str) -> bool {
    let is_below = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
    let pod = |cgroup: &str| {
        let (parent, _) = cgroup.rsplit_once('/')?;
        parent.rsplit('/').next().is_some_and(|name| name.contains("pod")).then(|| parent.to_owned())
    };
    one == other || is_below(one, other) || pod(one).is_some_and(|pod_of_one| Some(pod_of_one) == pod(other))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `socket:[4711]`
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The TCP sockets of the network namespace of `process` that somebody holds.
fn sockets(process: u32) -> Vec<Socket> {
    let read = |name| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    [read("tcp"), read("tcp6")].iter().flat_map(|table| table.lines().skip(1)).filter_map(socket).collect()
}

/// proc_pid_net(5): number, local address, remote address, state, five more, inode.
fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let inode = fields.get(9)?.parse().ok().filter(|inode| *inode != 0)?;
    Some(Socket { local: address(fields.get(1)?)?, remote: address(fields.get(2)?)?, inode })
}

/// `0100007F:1F90`: words of an address in the machine's byte order, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if ip.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

/// IPv4 addresses of dual-stack sockets as such.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The addresses of the network namespace of `process`.
fn addresses(process: u32) -> Vec<IpAddr> {
    let read = |name| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    let (four, six) = (read("fib_trie"), read("if_inet6"));
    local_routes(&four).chain(six.lines().filter_map(interface_address)).collect()
}

/// `|-- 10.1.2.3` with `/32 host LOCAL` below it.
fn local_routes(trie: &str) -> impl Iterator<Item = IpAddr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        match line.trim_start().strip_prefix("|-- ") {
            Some(address) => last = address.trim().parse().ok(),
            None if line.contains("host LOCAL") => return last.take(),
            None => {}
        }
        None
    })
}

/// `fe80…0001 02 40 20 80 eth0`
fn interface_address(line: &str) -> Option<IpAddr> {
    let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
    Some(IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_found() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let listener = TcpListener::bind(listen).expect("a free port");
            let there =
                SocketAddr::new(connect.parse().expect("an address"), listener.local_addr().expect("bound").port());
            let here = TcpStream::connect(there).expect("it listens");
            let local = here.local_addr().ok();
            let own = std::process::id();
            let found = Machine::now().at(there, local, own).expect("the listener");
            assert_eq!((found.pid, Some(found.cgroup)), (own, cgroup(own)), "{listen}");
            let (accepted, sender) = listener.accept().expect("a connection");
            let found = Machine::now().at(sender, accepted.local_addr().ok(), own);
            assert_eq!(found.map(|found| found.pid), Some(own), "{listen}");
        }
    }

    #[test]
    fn nobody_is_where_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let free = listener.local_addr().expect("bound");
        drop(listener);
        let (machine, own) = (Machine::now(), std::process::id());
        assert!(machine.has(own) && machine.at(free, None, own).is_none());
        assert_eq!(machine.at("203.0.113.7:80".parse().expect("an address"), None, own), None);
    }

    #[test]
    fn workloads_are_told_apart() {
        assert!(
            is_same_workload("/shop.service", "/shop.service") && is_same_workload("/shop.service/a", "/shop.service")
        );
        assert!(is_same_workload("/kubepods/pod1/a", "/kubepods/pod1/b"));
        for (one, other) in
            [("/shop.service", "/shop.slice"), ("/a/b", "/a/c"), ("/kubepods/pod1/a", "/kubepods/pod2/a")]
        {
            assert!(!is_same_workload(one, other), "{one} {other}");
        }
    }

    #[test]
    fn tables_are_understood() {
        let line = "   1: 0100007F:1F90 0500000A:8235 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0";
        let found = socket(line).expect("a socket");
        if cfg!(target_endian = "little") {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(
                (found.local, found.remote, found.inode),
                (address("127.0.0.1:8080"), address("10.0.0.5:33333"), 77)
            );
        }
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue"), None);
        let trie = "Local:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n";
        assert_eq!(local_routes(trie).collect::<Vec<_>>(), ["10.0.0.5".parse::<IpAddr>().expect("an address")]);
        let six = "fe800000000000000000000000000001 02 40 20 80     eth0";
        assert_eq!(interface_address(six), "fe80::1".parse().ok());
    }
}
