//! What the kernel holds for BPF: the ids of all programs, maps and links of the machine.
#![expect(unsafe_code, reason = "the bpf system call has no safe wrapper")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use crate::wait;

// enum bpf_cmd in include/uapi/linux/bpf.h
pub(crate) const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
const BPF_MAP_GET_NEXT_ID: libc::c_int = 12;
pub(crate) const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_GET_NEXT_ID: libc::c_int = 31;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `BPF_LINK_TYPE_CGROUP` and `BPF_CGROUP_INET_EGRESS`, same file.
const CGROUP: u32 = 3;
const EGRESS: u32 = 1;

/// `BPF_CGROUP_SOCK_OPS`, same file.
const SOCK_OPS: u32 = 3;

/// The part of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
}

/// Number of sock_ops programs that are attached to a cgroup directory itself.
pub fn programs_on(cgroup: &std::path::Path) -> Result<u32> {
    let directory = std::fs::File::open(cgroup)?;
    let mut query = Query { target: directory.as_raw_fd() as u32, attach_type: SOCK_OPS, ..Query::default() };
    // SAFETY: the kernel reads and writes the attribute, whose size it gets.
    let said = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if said != 0 {
        bail!("failed to ask for the programs on {}: {}", cgroup.display(), Errno::last());
    }
    Ok(query.count)
}

/// The part of `union bpf_attr` for the GET_NEXT_ID commands.
#[repr(C)]
struct NextId {
    start: u32,
    next: u32,
    open_flags: u32,
}

/// The ids of everything that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Objects {
    /// What there is now.
    pub fn now() -> Result<Self> {
        Ok(Self {
            programs: ids(BPF_PROG_GET_NEXT_ID)?,
            maps: ids(BPF_MAP_GET_NEXT_ID)?,
            links: ids(BPF_LINK_GET_NEXT_ID)?,
        })
    }

    /// What is here and not in `before`.
    pub fn since(&self, before: &Self) -> Self {
        let new = |now: &BTreeSet<u32>, then: &BTreeSet<u32>| now.difference(then).copied().collect();
        Self {
            programs: new(&self.programs, &before.programs),
            maps: new(&self.maps, &before.maps),
            links: new(&self.links, &before.links),
        }
    }

    /// Whether nothing is loaded.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }
}

/// The beginning of `struct bpf_link_info` for links to cgroups.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    cgroup: u64,
    attach_type: u32,
    reserved_too: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
pub(crate) struct InfoByFd {
    pub(crate) fd: u32,
    pub(crate) len: u32,
    pub(crate) info: u64,
}

/// The same for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The same for `BPF_MAP_GET_NEXT_KEY`.
#[repr(C)]
pub(crate) struct NextKey {
    pub(crate) map: u32,
    pub(crate) padding: u32,
    pub(crate) key: u64,
    pub(crate) next: u64,
}

/// Detaches the programs that see packets leave, of all links that were not there before. Returns how many there were.
pub fn blind_to_packets_since(before: &Objects) -> Result<usize> {
    let mut detached = 0;
    for id in Objects::now()?.since(before).links {
        let mut by_id = NextId { start: id, next: 0, open_flags: 0 };
        let fd = call(BPF_LINK_GET_FD_BY_ID, &mut by_id).context("failed to open a link")?;
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd)?) };
        let mut info = LinkInfo::default();
        let number = u32::try_from(fd.as_raw_fd())?;
        let mut by_fd = InfoByFd { fd: number, len: u32::try_from(size_of::<LinkInfo>())?, info: &raw mut info as u64 };
        call(BPF_OBJ_GET_INFO_BY_FD, &mut by_fd).context("failed to look at a link")?;
        if (info.kind, info.attach_type) == (CGROUP, EGRESS) {
            call(BPF_LINK_DETACH, &mut NextId { start: number, next: 0, open_flags: 0 })
                .context("failed to detach a link")?;
            detached += 1;
        }
    }
    Ok(detached)
}

/// Number of elements of the pinned map at `path`, whose keys have 8 bytes.
pub fn elements(path: &Path) -> Result<usize> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = call(BPF_OBJ_GET, &mut ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd)?) };
    let (mut key, mut next) = (None::<u64>, 0u64);
    let mut count = 0;
    loop {
        let mut attribute = NextKey {
            map: u32::try_from(fd.as_raw_fd())?,
            padding: 0,
            key: key.as_ref().map_or(0, |key| std::ptr::from_ref(key) as u64),
            next: &raw mut next as u64,
        };
        if call(BPF_MAP_GET_NEXT_KEY, &mut attribute).is_err() {
            return Ok(count);
        }
        count += 1;
        key = Some(next);
    }
}

pub(crate) fn call<T>(command: libc::c_int, attribute: &mut T) -> Result<libc::c_long> {
    // SAFETY: `attribute` is a live, writable bpf_attr prefix of the size that is passed along; what it points to is live, too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    Ok(Errno::result(result)?)
}

/// Waits until nothing is loaded that was not there before: the kernel frees objects a little after their last user.
pub fn nothing_new_since(before: &Objects) -> Result<()> {
    wait::until("no new BPF objects", Duration::from_secs(20), || {
        Ok(Objects::now()?.since(before).is_empty().then_some(()))
    })
    .with_context(|| format!("still there: {:?}", Objects::now().map(|now| now.since(before))))
}

fn ids(command: libc::c_int) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut attribute = NextId { start: 0, next: 0, open_flags: 0 };
    loop {
        // SAFETY: `attribute` is a live, writable bpf_attr prefix of the size that is passed along.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attribute, size_of::<NextId>()) };
        match (result, Errno::last()) {
            (0, _) => {
                found.insert(attribute.next);
                attribute.start = attribute.next;
            }
            (_, Errno::ENOENT) => return Ok(found),
            (_, error) => bail!("bpf command {command} failed: {error}"),
        }
    }
}
