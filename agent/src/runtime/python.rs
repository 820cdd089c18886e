//! What is attached to CPython: probes that tell where contexts (`contextvars`)
//! come from and where they end.

use std::path::Path;

use baton_common::runtime::{Python, loaded};

use super::elf::{Executable, in_library};
use super::epoll::{C_LIBRARY, LISTEN};
use super::file;
use super::mapped::{self, Files, Mapped};
use super::point::Point;

/// Copies the current context, for each task and callback.
const COPY: &str = "PyContext_CopyCurrent";
/// Copies any context.
const COPY_ANY: &str = "PyContext_Copy";
/// The type of contexts.
const TYPE: &str = "PyContext_Type";
/// All of an interpreter's state.
const RUNTIME: &str = "_PyRuntime";
/// The version as a number, since 3.11.
const VERSION: &str = "Py_Version";

/// How a shared library with the interpreter is named.
const LIBRARY: &str = "libpython3.";

/// Functions of such a library that start an interpreter.
const STARTS: [&str; 3] = ["Py_BytesMain", "Py_RunMain", "Py_Main"];

/// Functions of the C library that accept connections.
const ACCEPTS: [&str; 2] = ["accept", "accept4"];

/// uvloop's functions: of a program at the beginning, and where they return.
const UVLOOP: [(&str, &str); 2] = [
    ("__pyx_f_6uvloop_4loop___uv_stream_on_read", "uvloop_on_read"),
    ("__pyx_f_6uvloop_4loop_12TCPTransport__call_connection_made", "uvloop_connection_made"),
];

/// Libraries that keep requests in a queue of their own, and send them when
/// another is done, in that one's context: how they are called, the folder and
/// the beginning of the name of a file that shows that they are loaded.
///
/// tornado/simple_httpclient.py (`_process_queue`); libcurl's multi interface,
/// which writes in the context of whichever socket or timer was ready.
const QUEUES: [(&str, &str, &str); 3] =
    [("Tornado", "tornado", "speedups."), ("PycURL", "", "pycurl."), ("curl_cffi", "curl_cffi", "_wrapper.")];

/// Offsets in `PyTypeObject` (Include/cpython/object.h).
mod type_object {
    pub(super) const NAME: u64 = 24;
    pub(super) const DEALLOC: u64 = 48;
    pub(super) const METHODS: u64 = 232;
}

/// Offsets in `PyMethodDef` (Include/methodobject.h), and its size.
mod method_definition {
    pub(super) const FUNCTION: u64 = 8;
    pub(super) const SIZE: u64 = 32;
}

/// Offsets in `_Py_DebugOffsets`, with which `_PyRuntime` begins since 3.13
/// (Include/internal/pycore_debug_offsets.h).
mod debug_offsets {
    pub(super) const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");
    pub(super) const FREE_THREADED: u64 = 16;
    pub(super) const INTERPRETERS_HEAD: u64 = 40;
    pub(super) const THREADS_HEAD: u64 = 72;
    /// `thread_state.thread_id`, by minor version from 13 on: what comes before it has grown.
    pub(super) const THREAD_ID: [u64; 3] = [192, 216, 240];
}

/// A Python interpreter in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// What is to be attached.
    pub(super) points: Vec<Point>,
    /// Where what is looked up is; the address counts from the file's first byte in memory.
    python: Python,
}

impl Interpreter {
    /// Where a process has what is looked up, that has the file's first byte at `start`.
    pub(super) const fn at(&self, start: u64) -> Python {
        let mut python = self.python;
        python.interpreter = python.interpreter.wrapping_add(start);
        python
    }
}

/// Whether `executable` is Python, or starts it from a shared library.
pub(super) fn is_interpreter(executable: &Executable<'_>) -> bool {
    executable.exported(COPY).is_some() || STARTS.iter().any(|name| executable.imports(name))
}

/// Whether Python's shared library is loaded in process `id`, whatever its program is.
pub(super) fn is_loaded(id: u32) -> bool {
    mapped::find(id, is_library).is_some()
}

fn is_library(name: &str) -> bool {
    name.starts_with(LIBRARY) && name.contains(".so")
}

/// The file of process `id` that has the interpreter; `None` if it is not loaded yet.
pub(super) fn find(id: u32) -> Option<Mapped> {
    if let Some(library) = mapped::find(id, is_library) {
        return Some(library);
    }
    let program = std::fs::read_link(format!("/proc/{id}/exe")).ok()?;
    let name = program.file_name()?.to_str()?;
    let mut found = mapped::find(id, |mapped| mapped == name)?;
    found.path = format!("/proc/{id}/exe").into();
    // A program without an interpreter takes one from a library, which is not there yet.
    let has_one = |data: &[u8]| Executable::parse(data).is_some_and(|program| program.exported(COPY).is_some());
    // Why it cannot be read is said later.
    file::content(&found.path).map_or(true, |data| has_one(&data)).then_some(found)
}

/// The interpreter in the file `path`.
pub(super) fn examine(path: &Path) -> Result<Interpreter, String> {
    let data = file::content(path).map_err(|error| format!("its interpreter cannot be read: {error}"))?;
    interpreter(&Executable::parse(&data).ok_or("its interpreter is no ELF file")?)
}

/// The same of a file's content.
pub(super) fn interpreter(executable: &Executable<'_>) -> Result<Interpreter, String> {
    let symbol = |name| executable.exported(name).ok_or_else(|| format!("its interpreter does not export {name}"));
    let (version, _) = symbol(VERSION).map_err(|_| "it is older than Python 3.11".to_owned())?;
    let version = executable.word(version).ok_or("its version cannot be read")?;
    let (runtime, _) = symbol(RUNTIME)?;
    let mut python = layout(executable, version, runtime)?;
    let base = executable.base().ok_or("its interpreter is not loaded from its first byte on")?;
    python.interpreter = runtime.wrapping_add(python.interpreter).wrapping_sub(base);

    let (context, _) = symbol(TYPE)?;
    let name = executable.word(context.wrapping_add(type_object::NAME)).and_then(|name| executable.text(name));
    if !name.is_some_and(|name| name.ends_with("Context")) {
        return Err("its types are not laid out as expected".to_owned());
    }
    let dealloc =
        executable.word(context.wrapping_add(type_object::DEALLOC)).and_then(|address| executable.entry_at(address));
    let dealloc = dealloc.ok_or("the function that frees contexts was not found")?;
    // First what forgets: a context's memory may have been another's.
    let mut points = vec![Point::new("python_forgets", dealloc)];
    points.extend(copies(executable, context)?);
    Ok(Interpreter { points, python })
}

/// Where contexts are copied; their type is at `context`.
///
/// The compiler may have copied the beginning of [`COPY`] to where it is called,
/// but not what it ends with (Python/context.c, `context_new_from_vars`), which all copies are made by.
fn copies(executable: &Executable<'_>, context: u64) -> Result<Vec<Point>, String> {
    let (copy, size) = executable.exported(COPY).ok_or_else(|| format!("its interpreter does not export {COPY}"))?;
    let any = [
        executable.exported(COPY_ANY).and_then(|(address, _)| executable.entry_at(address)),
        method(executable, context, "copy").and_then(|address| executable.entry_at(address)),
    ];
    let tail = any.iter().all(Option::is_some).then(|| executable.tail_of(copy, size)).flatten();
    let mut points = Vec::new();
    for offset in any.into_iter().flatten() {
        points.push(Point::new("python_copies_any", offset));
        if tail.is_none() {
            points.push(Point::new("python_copies", offset));
        }
    }
    let offset = tail.or_else(|| executable.entry_at(copy)).ok_or_else(|| format!("{COPY} has no code"))?;
    points.push(Point::new("python_copies", offset));
    Ok(points)
}

/// Address of the C function of the method `name` of the type at `type_address`.
fn method(executable: &Executable<'_>, type_address: u64, name: &str) -> Option<u64> {
    /// More than the type of contexts has.
    const MAX_METHODS: u64 = 64;
    let methods = executable.word(type_address.wrapping_add(type_object::METHODS))?;
    (0..MAX_METHODS).map(|index| methods.wrapping_add(index * method_definition::SIZE)).find_map(|at| {
        let found = executable.word(at).and_then(|name| executable.text(name));
        (found == Some(name)).then(|| executable.word(at.wrapping_add(method_definition::FUNCTION)))?
    })
}

/// Offsets for Python `version` (as in `Py_Version`); that of the main
/// interpreter is counted from `_PyRuntime`, which is at `runtime`.
///
/// `PyThreadState` is in Include/cpython/pystate.h and does not change within a
/// minor version; the others are in Include/internal.
fn layout(executable: &Executable<'_>, version: u64, runtime: u64) -> Result<Python, String> {
    let minor = version >> 16 & 0xff;
    match (version >> 24, minor) {
        (3, 11) => Ok(Python { interpreter: 48, threads: 16, next: 8, thread: 152, context: 224, ..Python::default() }),
        (3, 12) => Ok(Python { interpreter: 48, threads: 72, next: 8, thread: 136, context: 208, ..Python::default() }),
        (3, 13 | 14) => described(executable, runtime, minor, 152, 208),
        (3, 15) => described(executable, runtime, minor, 176, 232),
        (major, minor) => Err(format!("Python {major}.{minor} is not known to this version of baton")),
    }
}

/// As [`layout`], where `_PyRuntime` says most of it. What it does not say is
/// where `context` is in `PyThreadState`; `thread` is what goes with that.
fn described(
    executable: &Executable<'_>,
    runtime: u64,
    minor: u64,
    thread: u32,
    context: u32,
) -> Result<Python, String> {
    let word = |offset| executable.word(runtime.wrapping_add(offset)).ok_or("_PyRuntime cannot be read");
    if word(0)? != debug_offsets::COOKIE {
        return Err("_PyRuntime does not begin as expected".to_owned());
    }
    if word(debug_offsets::FREE_THREADED)? != 0 {
        return Err("it is built without the global interpreter lock".to_owned());
    }
    let thread_id = usize::try_from(minor - 13).ok().and_then(|index| debug_offsets::THREAD_ID.get(index));
    if word(*thread_id.ok_or("its version is not known")?)? != u64::from(thread) {
        return Err("its threads' state is not laid out as expected".to_owned());
    }
    let threads = u32::try_from(word(debug_offsets::THREADS_HEAD)?).map_err(|error| error.to_string())?;
    // The main interpreter follows the list's head.
    let interpreter = word(debug_offsets::INTERPRETERS_HEAD)? + 8;
    Ok(Python { interpreter, threads, next: 8, thread, context, ..Python::default() })
}

/// What is to be attached to the C library in the file `path`.
pub(super) fn c_library_points(path: &Path) -> Result<Vec<Point>, String> {
    in_library(path, C_LIBRARY, |library| {
        let functions = library.functions(&[ACCEPTS[0], ACCEPTS[1], LISTEN]);
        let mut points = Vec::new();
        for (name, function) in functions {
            let program = if name == LISTEN { "libc_listen" } else { "libc_accept" };
            points.push(Point::new(program, library.entry(function)));
        }
        if points.is_empty() { Err(format!("its C library has no {}", ACCEPTS[1])) } else { Ok(points) }
    })
}

/// What a process has loaded beside the interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// uvloop's file.
    pub(super) uvloop: Option<Mapped>,
    /// Whether greenlets may run.
    pub(super) greenlets: bool,
    /// A library whose requests are started by others' code.
    pub(super) queues: Option<&'static str>,
}

impl Loaded {
    /// Looks at process `id`.
    pub(super) fn of(id: u32) -> Self {
        let files = Files::of(id);
        let module = |folder: &str, name: &str| {
            files.find(id, |found, file| file.starts_with(name) && (folder.is_empty() || folder == found))
        };
        Self {
            uvloop: module("uvloop", "loop."),
            greenlets: module("greenlet", "_greenlet.").is_some(),
            queues: QUEUES.iter().find(|(_, folder, name)| module(folder, name).is_some()).map(|(title, ..)| *title),
        }
    }

    /// As the kernel side wants it; `uvloop`: whether its functions are probed.
    pub(super) fn flags(&self, uvloop: bool) -> u32 {
        let flag = |is: bool, bit: u32| if is { bit } else { 0 };
        flag(uvloop, loaded::UVLOOP)
            | flag(self.greenlets, loaded::GREENLETS)
            | flag(self.queues.is_some(), loaded::QUEUES)
    }
}

/// What is to be attached to uvloop in the file `path`.
pub(super) fn uvloop_points(path: &Path) -> Result<Vec<Point>, String> {
    in_library(path, "uvloop", |library| {
        let functions = library.functions(&UVLOOP.map(|(name, _)| name));
        let mut points = Vec::new();
        for (name, program) in UVLOOP {
            let function = functions.get(name).ok_or("uvloop has no symbol table, or another version's functions")?;
            let offset = library.entry(*function);
            points.push(Point::new("uvloop_returns", offset));
            points.push(Point::new(program, offset));
        }
        Ok(points)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON_3_12: u64 = 0x030c_01f0;
    const PYTHON_3_99: u64 = 0x0363_00f0;

    #[test]
    fn versions_that_are_not_known_are_refused() {
        let data = std::fs::read("/proc/self/exe").expect("a program");
        let executable = Executable::parse(&data).expect("ELF");
        assert_eq!(layout(&executable, PYTHON_3_12, 0).map(|python| python.context), Ok(208));
        let refused = layout(&executable, PYTHON_3_99, 0).expect_err("the future");
        assert!(refused.contains("Python 3.99"), "{refused}");
    }

    #[test]
    fn this_process_is_not_python() {
        let id = std::process::id();
        let program = std::fs::read_link("/proc/self/exe").expect("a program");
        assert_eq!(examine(&program).expect_err("no Python"), "it is older than Python 3.11");
        assert!(!is_loaded(id));
        // Its program imports no interpreter, and is none.
        assert_eq!(find(id), None);
        assert_eq!(Loaded::of(id), Loaded::default());
        assert_eq!(Loaded::default().flags(true), loaded::UVLOOP);
    }

    #[test]
    fn shared_libraries_of_the_interpreter_are_known_by_their_names() {
        assert!(is_library("libpython3.11.so.1.0"));
        assert!(!is_library("libpython3.11.a") && !is_library("libpython2.7.so.1.0"));
    }
}
