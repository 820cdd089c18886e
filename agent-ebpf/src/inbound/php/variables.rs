//! The variables of a request of PHP-FPM, where PHP has put them.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user as read_bytes};
use baton_common::attribution::Context;
use baton_common::cgi::{self, MAX_VALUE, MAX_VARIABLE, VALUE_AT, Variable};
use baton_common::flow::Reason;
use baton_common::limits::MAX_PATH;
use baton_common::names::{Name, Names};
use baton_common::scan::{self, Lines, Scan, Turn, Window, phase};

use crate::maps::{FOLDED_NAMES, NAMES};
use crate::scratch::Scratch;

/// Steps that one request may take: one for each variable, and one for each 64 bytes of lines.
const MAX_TURNS: u32 = 1024;

/// `struct _fcgi_request`: `out_pos`, which is the address of `out_buf` while nothing has been written.
const OUT_POS: u64 = 48;
const OUT_BUF: u64 = 56;
/// `env.list`, the newest variable.
const LIST: u64 = 9320;

/// `struct _fcgi_hash_bucket`: a variable.
#[repr(C)]
#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    name_len: u32,
    name: u64,
    value_len: u32,
    reserved: u32,
    /// 0 if the variable was taken away.
    value: u64,
    next_of_hash: u64,
    /// The one that was set before this one.
    next: u64,
}

/// How far the reading of a request's variables is. The list ends with the one
/// that PHP sets itself before all others, `FCGI_ROLE`: else it is no such list.
#[repr(C)]
pub(crate) struct Variables {
    /// Address of the next variable; 0 at the end.
    next: u64,
    /// Whether the last one was `FCGI_ROLE`.
    role: u32,
    /// Whether memory could not be read.
    failed: u32,
}

/// What reading the variables needs beside scratch memory.
#[repr(C)]
struct Walk {
    scratch: *mut Scratch,
    lines: *mut Lines,
    names: *const Names,
    folded: *const Names,
}

/// Reads the variables of `request`: its configured headers become the lines of `context`.
#[inline(always)]
pub(super) fn read(scratch: *mut Scratch, context: *mut Context, request: u64) -> Result<(), Reason> {
    // SAFETY: the helper checks the addresses.
    let (out_pos, list) = unsafe {
        (
            bpf_probe_read_user((request + OUT_POS) as *const u64).map_err(|_| Reason::Unreadable)?,
            bpf_probe_read_user((request + LIST) as *const u64).map_err(|_| Reason::Unreadable)?,
        )
    };
    if out_pos != request + OUT_BUF {
        return Err(Reason::Unreadable);
    }
    let names = NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    let folded = FOLDED_NAMES.get_ptr(0).ok_or(Reason::Unreadable)?;
    // SAFETY: the scratch memory is owned by this run; the others are map values that outlive the call.
    unsafe {
        (*scratch).variables = Variables { next: list, role: 0, failed: 0 };
        let mut walk = Walk { scratch, lines: &raw mut (*context).lines, names, folded };
        let turns = bpf_loop(MAX_TURNS, turn as *mut c_void, (&raw mut walk).cast(), 0);
        let variables = &(*scratch).variables;
        if turns >= i64::from(MAX_TURNS) {
            return Err(Reason::HeadTooLarge);
        }
        if variables.failed != 0 || variables.role == 0 {
            return Err(Reason::Unreadable);
        }
    }
    Ok(())
}

/// Looks at one variable, or copies a part of one.
extern "C" fn turn(_index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: it lives in the caller's frame; its pointers are map values.
    unsafe {
        let walk = &*walk;
        let scratch = walk.scratch;
        if (*scratch).socket.request.phase == phase::COPY {
            let scan = &raw mut (*scratch).socket.request;
            php_copy(scan, &raw mut (*scratch).turn, &raw const (*scratch).window, walk.lines);
            return 0;
        }
        let variables = &mut (*scratch).variables;
        if variables.next == 0 {
            return 1;
        }
        let Ok(bucket) = bpf_probe_read_user(variables.next as *const Bucket) else {
            variables.failed = 1;
            return 1;
        };
        variables.next = bucket.next;
        variables.role = 0;
        if look_at(walk, &bucket).is_none() {
            (*scratch).variables.failed = 1;
            return 1;
        }
        0
    }
}

/// A function with a global symbol is verified once, by itself, as [`php_variable`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn php_copy(scan: *mut Scan, turn: *mut Turn, window: *const Window, lines: *mut Lines) -> u32 {
    if scan.is_null() || turn.is_null() || window.is_null() || lines.is_null() {
        return 0;
    }
    // SAFETY: checked for null; the verifier checks the rest at each call.
    unsafe { scan::copy_line(&mut *scan, &mut *turn, &*window, &mut *lines) };
    0
}

/// See [`cgi::variable`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn php_variable(
    window: *const Window,
    len: u32,
    name: *mut Name,
    names: *const Names,
    folded: *const Names,
) -> u32 {
    if window.is_null() || name.is_null() || names.is_null() || folded.is_null() {
        return 0;
    }
    // SAFETY: as in `php_copy`.
    unsafe { cgi::variable(&*window, len, &mut *name, &*names, &*folded).to_raw() }
}

/// Deals with a variable. `None` if it cannot be read.
#[inline(always)]
unsafe fn look_at(walk: &Walk, bucket: &Bucket) -> Option<()> {
    // SAFETY: the pointers are map values, the scratch memory is owned by this run.
    unsafe {
        let scratch = walk.scratch;
        let window = &raw mut (*scratch).window;
        let mut name_len = bucket.name_len;
        // The verifier must see the bound on the register that is passed.
        core::arch::asm!("{0} = {0}", inout(reg) name_len);
        if bucket.value == 0 || name_len > MAX_VARIABLE {
            return Some(());
        }
        let bytes = (*window).as_words_mut().as_mut_ptr();
        if read_bytes(bytes.cast(), name_len, bucket.name as *const c_void) != 0 {
            return None;
        }
        let name = &raw mut (*scratch).turn.word;
        let said = php_variable(window, name_len, name, walk.names, walk.folded);
        match Variable::from_raw(said) {
            Variable::Header { index, len } => {
                let scan = &mut (*scratch).socket.request;
                let mut value_len = bucket.value_len;
                core::arch::asm!("{0} = {0}", inout(reg) value_len);
                if value_len > MAX_VALUE {
                    scan.drop_line(index);
                    return Some(());
                }
                let to = bytes.add(VALUE_AT as usize / 8).cast();
                if read_bytes(to, value_len, bucket.value as *const c_void) != 0 {
                    return None;
                }
                let mut name = *name;
                cgi::begin_line(
                    scan,
                    &mut (*scratch).turn,
                    &mut *window,
                    &mut *walk.lines,
                    (index, &mut name, len),
                    value_len,
                );
            }
            Variable::Method => {
                let mut len = bucket.value_len.min(8);
                core::arch::asm!("{0} = {0}", inout(reg) len);
                if len <= 8 {
                    let to = &raw mut (*scratch).socket.request.method;
                    read_bytes(to.cast(), len, bucket.value as *const c_void);
                }
            }
            Variable::Target => {
                let mut len = bucket.value_len.min(MAX_PATH as u32);
                core::arch::asm!("{0} = {0}", inout(reg) len);
                if len <= MAX_PATH as u32 {
                    let to = &raw mut (*scratch).socket.request.path;
                    read_bytes(to.cast(), len, bucket.value as *const c_void);
                    (*scratch).socket.request.path_len = len;
                }
            }
            Variable::Role => (*scratch).variables.role = 1,
            Variable::Other => {}
        }
        Some(())
    }
}
