//! Copies of the TCP sockets that other processes hold.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::tcp;
use crate::control::cgroup;

/// Processes that are looked at in one go: each takes a descriptor.
const AT_ONCE: usize = 64;

/// Copies of all TCP sockets of the processes in `cgroup` and below it, by inode; and the number of those processes that
/// may not be looked at.
pub(super) fn within(cgroup: &Path) -> (HashMap<u64, OwnedFd>, usize) {
    let (mut sockets, mut hidden) = (HashMap::new(), 0);
    for some in cgroup::processes(cgroup).chunks(AT_ONCE) {
        let handles: Vec<_> = some.iter().map(|process| (*process, tcp::process(*process))).collect();
        // Who has this number now and is in here is the one that the handle is for, unless that one has ended: then the
        // handle gives nothing. So sockets of others are never taken, whose number was one of these a moment ago.
        let still: HashSet<i32> = cgroup::processes(cgroup).into_iter().collect();
        for (process, handle) in handles.into_iter().filter(|(process, _)| still.contains(process)) {
            let gathered = handle.and_then(|handle| gather(process, &handle, &mut sockets));
            if gathered.is_err() && Path::new(&format!("/proc/{process}")).exists() {
                hidden += 1;
            }
        }
    }
    (sockets, hidden)
}

/// Adds copies of all TCP sockets of `process`, by inode, with a `handle` for it.
///
/// # Errors
/// If the process may not be looked at, which takes CAP_SYS_PTRACE, or is gone.
fn gather(process: i32, handle: &OwnedFd, sockets: &mut HashMap<u64, OwnedFd>) -> io::Result<()> {
    let numbers = listed(process).or_else(|_| described(process))?;
    for (number, inode) in numbers {
        if sockets.contains_key(&inode) {
            continue;
        }
        // It may have been closed meanwhile.
        let Ok(socket) = tcp::copy(handle, number) else { continue };
        if tcp::info(&socket).is_some() {
            sockets.insert(inode, socket);
        }
    }
    Ok(())
}

/// Copies of the sockets with these cookies, each with the id of its cgroup, as far
/// as processes in those cgroups hold them.
pub(super) fn find(wanted: &HashMap<u64, u64>) -> HashMap<u64, OwnedFd> {
    let ids = wanted.values().copied().collect();
    let mut found = HashMap::new();
    for process in cgroup::find(&ids).iter().flat_map(|directory| cgroup::processes(directory)) {
        let mut sockets = HashMap::new();
        // What may not be looked at stays as it is.
        let _ = tcp::process(process).and_then(|handle| gather(process, &handle, &mut sockets));
        for socket in sockets.into_values() {
            if let Some(cookie) = tcp::cookie(&socket).filter(|cookie| wanted.contains_key(cookie)) {
                found.insert(cookie, socket);
            }
        }
    }
    found
}

/// Numbers and inodes of a process's sockets.
fn listed(process: i32) -> io::Result<Vec<(RawFd, u64)>> {
    let entries = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    let sockets = entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, inode))
    });
    Ok(sockets.collect())
}

/// The same for a process of another user, without CAP_DAC_READ_SEARCH: what its
/// descriptors stand for may not be read, but what they are like (Linux 5.14,
/// fs/proc/fd.c). All sockets are in the same mount, the kernel's own.
fn described(process: i32) -> io::Result<Vec<(RawFd, u64)>> {
    let own = UnixDatagram::unbound()?;
    let read = |process: &str, number: RawFd| fs::read_to_string(format!("/proc/{process}/fdinfo/{number}"));
    let field = |text: &str, name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let mount = field(&read("self", own.as_raw_fd())?, "mnt_id:");
    let entries = fs::read_dir(format!("/proc/{process}/fdinfo"))?.flatten();
    let sockets = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let text = read(&process.to_string(), number).ok()?;
        if mount.is_none() || field(&text, "mnt_id:") != mount {
            return None;
        }
        Some((number, field(&text, "ino:")?))
    });
    Ok(sockets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if the number of a process that has ended were this process's now.
    #[test]
    fn sockets_of_who_has_the_number_now_are_not_taken() {
        let _socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let own = i32::try_from(std::process::id()).expect("small");
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let handle = tcp::process(i32::try_from(child.id()).expect("small")).expect("a handle");
        child.wait().expect("it ends");
        let mut sockets = HashMap::new();
        gather(own, &handle, &mut sockets).expect("it can be looked at");
        assert!(sockets.is_empty(), "{sockets:?}");
        gather(own, &tcp::process(own).expect("a handle"), &mut sockets).expect("it can be looked at");
        assert!(!sockets.is_empty());
    }

    #[test]
    fn both_ways_see_the_same_sockets() {
        let _socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let own = i32::try_from(std::process::id()).expect("small");
        let (listed, described) = (listed(own).expect("own"), described(own).expect("own"));
        assert!(!listed.is_empty());
        assert!(listed.iter().all(|socket| described.contains(socket)), "{listed:?} {described:?}");
    }
}
