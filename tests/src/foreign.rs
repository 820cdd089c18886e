//! Another product's BPF programs, assembled by hand: they count, and pass everything on.
#![expect(unsafe_code, reason = "the bpf system call has no safe wrapper")]

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bpf::call;

// enum bpf_cmd, bpf_map_type, bpf_prog_type and bpf_attach_type in include/uapi/linux/bpf.h
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const ARRAY: u32 = 2;
const SOCKHASH: u32 = 18;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// A kind of program: its type, and the type of its attachment.
#[derive(Clone, Copy, Debug)]
pub struct Kind(u32, u32);

/// Sees what leaves a cgroup's sockets.
pub const EGRESS: Kind = Kind(8, 1);
/// Sees the connections of a cgroup.
pub const SOCK_OPS: Kind = Kind(13, 3);
/// Sees what is written to members of a sockmap.
const SK_MSG: Kind = Kind(16, 7);
/// Sees connect() of a cgroup's processes.
pub const CONNECT4: Kind = Kind(18, 10);

/// The part of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapCreate([u32; 5]);

/// The same for BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u64; 2],
    interface: u32,
    expected: u32,
}

/// The same for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// One instruction (`struct bpf_insn`).
fn code(operation: u8, target: u8, source: u8, offset: i16, value: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = value.to_le_bytes();
    u64::from_ne_bytes([operation, target | (source << 4), low, high, a, b, c, d])
}

/// The address of a map into a register.
fn map(target: u8, map: RawFd) -> [u64; 2] {
    // BPF_LD | BPF_DW | BPF_IMM with BPF_PSEUDO_MAP_FD
    [code(0x18, target, 1, 0, map), 0]
}

/// Adds 1 to the only element of an array; needs nothing and destroys r0 to r5.
fn count(counter: RawFd) -> Vec<u64> {
    let mut program = vec![
        // *(u32 *)(r10 - 4) = 0; r2 = r10 - 4
        code(0x62, 10, 0, -4, 0),
        code(0xbf, 2, 10, 0, 0),
        code(0x07, 2, 0, 0, -4),
    ];
    program.extend(map(1, counter));
    program.extend([
        // r0 = bpf_map_lookup_elem(r1, r2); if r0: lock *(u64 *)r0 += 1
        code(0x85, 0, 0, 0, 1),
        code(0x15, 0, 0, 2, 0),
        code(0xb7, 1, 0, 0, 1),
        code(0xdb, 0, 1, 0, 0),
    ]);
    program
}

/// `return 1`: pass, or go on.
fn pass() -> [u64; 2] {
    [code(0xb7, 0, 0, 0, 1), code(0x95, 0, 0, 0, 0)]
}

/// An attached program; it is detached on drop.
#[derive(Debug)]
pub struct Program {
    program: OwnedFd,
    target: OwnedFd,
    kind: Kind,
    counter: OwnedFd,
}

impl Program {
    /// One that counts its runs, on a cgroup, beside others.
    pub fn counting(cgroup: &Path, kind: Kind) -> Result<Self> {
        let counter = create(ARRAY, 4, 8, 1)?;
        let program = load(kind, &[count(counter.as_raw_fd()), pass().to_vec()].concat())?;
        Self::attach(program, File::open(cgroup)?.into(), kind, BPF_F_ALLOW_MULTI, counter)
    }

    fn attach(program: OwnedFd, target: OwnedFd, kind: Kind, flags: u32, counter: OwnedFd) -> Result<Self> {
        let mut attribute =
            Attach { target: number(&target), program: number(&program), kind: kind.1, flags, replaced: 0 };
        call(BPF_PROG_ATTACH, &mut attribute).context("failed to attach another product's program")?;
        Ok(Self { program, target, kind, counter })
    }

    /// How often it ran.
    pub fn runs(&self) -> Result<u64> {
        let (key, mut value) = (0u32, 0u64);
        let mut attribute = Element {
            map: number(&self.counter),
            padding: 0,
            key: &raw const key as u64,
            value: &raw mut value as u64,
            flags: 0,
        };
        call(BPF_MAP_LOOKUP_ELEM, &mut attribute)?;
        Ok(value)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let (target, program) = (number(&self.target), number(&self.program));
        let _ = call(BPF_PROG_DETACH, &mut Attach { target, program, kind: self.kind.1, flags: 0, replaced: 0 });
    }
}

/// A product that puts the connections that a cgroup opens into its own SOCKHASH, and counts what is written there.
#[derive(Debug)]
pub struct Sockmap {
    /// Sees what is written.
    pub messages: Program,
    _enrol: Program,
}

impl Sockmap {
    /// Attaches it.
    pub fn on(cgroup: &Path) -> Result<Self> {
        let (members, counter) = (create(SOCKHASH, 4, 4, 65_536)?, create(ARRAY, 4, 8, 1)?);
        let program = load(SK_MSG, &[count(counter.as_raw_fd()), pass().to_vec()].concat())?;
        let messages = Program::attach(program, members.try_clone()?, SK_MSG, 0, counter)?;
        // struct bpf_sock_ops: op at 0, local_port at 68. Established actively is 4.
        let mut enrol = vec![
            code(0xbf, 6, 1, 0, 0),
            code(0x61, 2, 6, 0, 0),
            code(0x55, 2, 0, 9, 4),
            code(0x61, 2, 6, 68, 0),
            code(0x63, 10, 2, -4, 0),
            code(0xbf, 1, 6, 0, 0),
        ];
        enrol.extend(map(2, members.as_raw_fd()));
        enrol.extend([
            code(0xbf, 3, 10, 0, 0),
            code(0x07, 3, 0, 0, -4),
            // r4 = BPF_ANY; bpf_sock_hash_update(r1, r2, r3, r4)
            code(0xb7, 4, 0, 0, 0),
            code(0x85, 0, 0, 0, 70),
        ]);
        enrol.extend(pass());
        let enrol = load(SOCK_OPS, &enrol)?;
        let target = File::open(cgroup)?.into();
        let enrol = Program::attach(enrol, target, SOCK_OPS, BPF_F_ALLOW_MULTI, create(ARRAY, 4, 8, 1)?)?;
        Ok(Self { messages, _enrol: enrol })
    }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}

fn create(kind: u32, key: u32, value: u32, entries: u32) -> Result<OwnedFd> {
    owned(call(BPF_MAP_CREATE, &mut MapCreate([kind, key, value, entries, 0])).context("failed to make a map")?)
}

fn load(kind: Kind, program: &[u64]) -> Result<OwnedFd> {
    let mut log = vec![0u8; 65_536];
    let mut attribute = ProgramLoad {
        kind: kind.0,
        instructions: u32::try_from(program.len())?,
        code: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: u32::try_from(log.len())?,
        log: log.as_mut_ptr() as u64,
        expected: kind.1,
        ..ProgramLoad::default()
    };
    let loaded = call(BPF_PROG_LOAD, &mut attribute);
    owned(loaded.with_context(|| format!("the verifier says: {}", String::from_utf8_lossy(&log).trim_matches('\0')))?)
}
