//! Commands of the bpf system call that aya does not have, as laid out in
//! include/uapi/linux/bpf.h.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

// enum bpf_cmd
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_BTF_LOAD: libc::c_int = 18;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;

// enum bpf_attach_type
const BPF_SK_SKB_STREAM_VERDICT: u32 = 5;
const BPF_TRACE_ITER: u32 = 28;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;

// enum bpf_prog_type
const BPF_PROG_TYPE_KPROBE: u32 = 2;

/// Flag of uprobe_multi links: at the function's return.
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

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
#[derive(Default)]
struct Batch {
    before: u64,
    last: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct ObjectInfo {
    descriptor: u32,
    size: u32,
    info: u64,
}

/// `struct bpf_prog_info`, as far as it is looked at.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    others: [u64; 24],
    run_time_ns: u64,
    run_count: u64,
    /// 0 before Linux 5.12.
    recursion_misses: u64,
}

/// What the kernel has counted of a program.
pub(super) struct RunStatistics {
    /// Runs, while kernel.bpf_stats_enabled was on.
    pub(super) count: u64,
    /// Nanoseconds in them.
    pub(super) nanoseconds: u64,
    /// Runs that were left out, always counted.
    pub(super) misses: u64,
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

/// For BPF_LINK_CREATE of uprobe_multi (Linux 6.6).
#[repr(C)]
struct UprobeCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    link_flags: u32,
    path: u64,
    offsets: u64,
    counters: u64,
    cookies: u64,
    count: u32,
    flags: u32,
    process: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
    device: u32,
    expected_attach_type: u32,
    btf: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
}

/// BPF_OBJ_NAME_LEN
const NAME: usize = 16;

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
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

/// Reads the elements of a per-CPU array from `first` on, as many as there is room for in `values`: of each element
/// those of all `processors`, one after the other (Linux 5.13).
pub(super) fn read_each(array: impl AsFd, first: u32, processors: usize, values: &mut [u64]) -> io::Result<()> {
    let count = values.len() / processors.max(1);
    // The kernel begins behind the key that it is given.
    let before = first.wrapping_sub(1);
    let (mut keys, mut last) = (vec![0u32; count], 0u32);
    let mut attribute = Batch {
        before: if first == 0 { 0 } else { &raw const before as u64 },
        last: &raw mut last as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        map: number(array),
        ..Batch::default()
    };
    bpf(BPF_MAP_LOOKUP_BATCH, &mut attribute).map(drop)
}

/// Sets `count` elements of a per-CPU array to 0 on all `processors`, from `first` on (Linux 5.13).
pub(super) fn clear_each(array: impl AsFd, first: u32, count: u32, processors: usize) -> io::Result<()> {
    let keys: Vec<u32> = (first..first + count).collect();
    let values = vec![0u64; keys.len() * processors];
    let mut attribute = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map: number(array),
        ..Batch::default()
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attribute).map(drop)
}

/// How often a program has run, and how often not.
pub(super) fn run_statistics(program: impl AsFd) -> io::Result<RunStatistics> {
    let mut info = ProgramInfo::default();
    let size = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    let mut attribute = ObjectInfo { descriptor: number(program), size, info: &raw mut info as u64 };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(RunStatistics { count: info.run_count, nanoseconds: info.run_time_ns, misses: info.recursion_misses })
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

/// What the kernel is given of a program for processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'a> {
    pub(super) name: &'a str,
    pub(super) license: &'a CStr,
    /// `struct bpf_insn`, with the maps' descriptors in them.
    pub(super) instructions: &'a [u8],
    /// What [`load_types`] returned.
    pub(super) types: BorrowedFd<'a>,
    /// `struct bpf_func_info`, and the size of one.
    pub(super) functions: &'a [u8],
    pub(super) function_size: usize,
}

/// Loads a program for uprobe_multi links. With a `log`, the kernel writes there what it thinks.
pub(super) fn load_for_processes(code: &Code<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let count = |bytes: &[u8], size: usize| u32::try_from(bytes.len() / size.max(1)).map_err(io::Error::other);
    let mut attribute = ProgramLoad {
        kind: BPF_PROG_TYPE_KPROBE,
        instruction_count: count(code.instructions, size_of::<u64>())?,
        instructions: code.instructions.as_ptr() as u64,
        license: code.license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: count(log, 1)?,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        btf: number(code.types),
        function_size: u32::try_from(code.function_size).map_err(io::Error::other)?,
        functions: code.functions.as_ptr() as u64,
        function_count: count(code.functions, code.function_size)?,
        ..ProgramLoad::default()
    };
    for (place, byte) in attribute.name[..NAME - 1].iter_mut().zip(code.name.bytes()) {
        *place = byte;
    }
    loop {
        match bpf(BPF_PROG_LOAD, &mut attribute) {
            // A signal came while the kernel looked at the program.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            loaded => return owned(loaded?),
        }
    }
}

/// Loads type information.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let size = u32::try_from(types.len()).map_err(io::Error::other)?;
    owned(bpf(BPF_BTF_LOAD, &mut BtfLoad { types: types.as_ptr() as u64, size, ..BtfLoad::default() })?)
}

/// Runs a program at an offset of the file `path`, in one process or in all.
pub(super) fn attach_to_processes(
    program: impl AsFd,
    path: &CStr,
    offset: u64,
    cookie: u64,
    is_return: bool,
    process: Option<NonZeroU32>,
) -> io::Result<OwnedFd> {
    let mut attribute = UprobeCreate {
        program: number(program),
        target: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        link_flags: 0,
        path: path.as_ptr() as u64,
        offsets: &raw const offset as u64,
        counters: 0,
        cookies: &raw const cookie as u64,
        count: 1,
        flags: if is_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
        process: process.map_or(0, NonZeroU32::get),
        padding: 0,
    };
    owned(bpf(BPF_LINK_CREATE, &mut attribute)?)
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
