//! Commands of the bpf system call that aya does not have, as laid out in
//! include/uapi/linux/bpf.h.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

// enum bpf_cmd
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;

// enum bpf_attach_type
const BPF_SK_SKB_STREAM_VERDICT: u32 = 5;
const BPF_TRACE_ITER: u32 = 28;

/// The parts of `union bpf_attr` for each command.
#[repr(C)]
struct UpdateElem {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    padding: u32,
}

#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attribute` is a live, writable bpf_attr prefix of the size that is
    // passed along; what it points to is live, too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn number(descriptor: impl AsFd) -> u32 {
    descriptor.as_fd().as_raw_fd().cast_unsigned()
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts `file` into the first place of an array of files.
pub(super) fn set_first(array: impl AsFd, file: impl AsFd) -> io::Result<()> {
    let (key, value) = (0u32, number(file));
    let mut attribute = UpdateElem {
        map: number(array),
        padding: 0,
        key: &raw const key as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attribute).map(drop)
}

/// Whether a stream verdict is attached to a SOCKHASH (Linux 5.19).
pub(super) fn has_stream_verdict(map: impl AsFd) -> io::Result<bool> {
    let mut id = 0u32;
    let mut attribute = Query {
        target: number(map),
        attach_type: BPF_SK_SKB_STREAM_VERDICT,
        query_flags: 0,
        attach_flags: 0,
        ids: &raw mut id as u64,
        count: 1,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attribute)?;
    Ok(attribute.count > 0)
}

/// Runs the iterator `program` over a map's elements when it is read.
pub(super) fn iterate(program: impl AsFd, map: impl AsFd) -> io::Result<File> {
    // union bpf_iter_link_info
    let info = number(map);
    let mut attribute = LinkCreate {
        program: number(program),
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: &raw const info as u64,
        info_len: u32::try_from(size_of_val(&info)).unwrap_or_default(),
        padding: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attribute)?)?;
    let file = owned(bpf(BPF_ITER_CREATE, &mut IterCreate { link: number(&link), flags: 0 })?)?;
    Ok(File::from(file))
}

/// A perf event of this thread that counts nothing.
pub(super) fn event() -> io::Result<OwnedFd> {
    /// include/uapi/linux/perf_event.h, the first published `struct perf_event_attr`
    /// (`PERF_ATTR_SIZE_VER0`).
    #[repr(C)]
    struct Attribute {
        kind: u32,
        size: u32,
        config: u64,
        others: [u64; 6],
    }
    const PERF_TYPE_SOFTWARE: u32 = 1;
    const PERF_COUNT_SW_DUMMY: u64 = 9;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
    let size = u32::try_from(size_of::<Attribute>()).map_err(io::Error::other)?;
    let attribute = Attribute { kind: PERF_TYPE_SOFTWARE, size, config: PERF_COUNT_SW_DUMMY, others: [0; 6] };
    // SAFETY: `attribute` is live and as large as it says.
    let result =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attribute, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { owned(result) }
}
