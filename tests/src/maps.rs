//! How full a process's BPF maps are.
#![expect(unsafe_code, reason = "the bpf system call has no safe wrapper")]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};

use crate::bpf::{BPF_MAP_GET_NEXT_KEY, BPF_OBJ_GET_INFO_BY_FD, InfoByFd, NextKey, call};

// enum bpf_cmd in include/uapi/linux/bpf.h
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;

/// The part of `union bpf_attr` for BPF_MAP_GET_FD_BY_ID.
#[repr(C)]
struct ById([u32; 3]);

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// Number of elements of the map of this name that a process holds. What comes and goes meanwhile is counted or not.
pub fn elements(process: i32, name: &str) -> Result<usize> {
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse::<u32>().ok());
        // Programs name no such thing, and so do other files.
        let Some(id) = id else { continue };
        let map = open(id)?;
        let info = info(&map)?;
        if info.name.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
            return count(&map, info.key as usize, info.entries as usize);
        }
    }
    None.with_context(|| format!("process {process} has no map {name}"))
}

fn open(id: u32) -> Result<OwnedFd> {
    let fd = call(BPF_MAP_GET_FD_BY_ID, &mut ById([id, 0, 0])).context("failed to open a map")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}

fn info(map: &OwnedFd) -> Result<MapInfo> {
    let mut info = MapInfo::default();
    let length = u32::try_from(size_of::<MapInfo>())?;
    let fd = map.as_raw_fd().cast_unsigned();
    call(BPF_OBJ_GET_INFO_BY_FD, &mut InfoByFd { fd, len: length, info: &raw mut info as u64 })?;
    Ok(info)
}

fn count(map: &OwnedFd, size: usize, entries: usize) -> Result<usize> {
    let (mut key, mut next) = (vec![0u8; size], vec![0u8; size]);
    let map = map.as_raw_fd().cast_unsigned();
    // A key that is gone sends one back to the beginning: a bound for that.
    for found in 0..=entries {
        let from = if found == 0 { 0 } else { key.as_ptr() as u64 };
        let mut attribute = NextKey { map, padding: 0, key: from, next: next.as_mut_ptr() as u64 };
        if call(BPF_MAP_GET_NEXT_KEY, &mut attribute).is_err() {
            return Ok(found);
        }
        std::mem::swap(&mut key, &mut next);
    }
    Ok(entries)
}
