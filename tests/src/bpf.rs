//! What the kernel holds for BPF: the ids of all programs, maps and links of the machine.
#![expect(unsafe_code, reason = "the bpf system call has no safe wrapper")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use crate::wait;

// enum bpf_cmd in include/uapi/linux/bpf.h
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
const BPF_MAP_GET_NEXT_ID: libc::c_int = 12;
const BPF_LINK_GET_NEXT_ID: libc::c_int = 31;

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
