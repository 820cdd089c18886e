//! Programs that run within processes.
//!
//! They are attached with uprobe_multi links (Linux 6.6), for which CAP_BPF and CAP_PERFMON suffice. The older way, a
//! perf event, takes CAP_SYS_ADMIN in all kernels since July 2025 (CVE-2025-38466), which baton does not have in a
//! container. It remains for older kernels, and for 6.6 to 6.9 where such a link means one thread, not one process.
//!
//! aya 0.14 knows perf events only. So its `aya-obj` prepares these programs here once more, with the same maps.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use aya::maps::Map;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::{Ebpf, programs};
use aya_obj::btf::LineSecInfo;
use aya_obj::{Function, Object, ProgramSection};
use nix::errno::Errno;

use super::bpf::{self, Code};
use super::load::Datapath;
use super::probe;
use super::program::refused;

/// Something attached, as long as it is kept.
#[derive(Debug)]
#[expect(dead_code, reason = "dropping them is what they are for")]
pub(crate) enum Link {
    Multi(OwnedFd),
    Perf(UProbeLink),
}

/// Where a program is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The executable file or library.
    pub(crate) path: &'a Path,
    /// In that file.
    pub(crate) offset: u64,
    /// What the program is told there.
    pub(crate) cookie: Option<u64>,
    /// All processes without it.
    pub(crate) process: Option<NonZeroU32>,
}

/// The programs for processes.
#[derive(Debug)]
pub(super) struct Uprobes {
    programs: HashMap<String, Prepared>,
    types: OwnedFd,
    /// Whether this kernel's uprobe_multi links do; unknown until the first is made.
    multi: Option<bool>,
}

#[derive(Debug)]
struct Prepared {
    license: CString,
    function: Function,
    is_return: bool,
    loaded: Option<OwnedFd>,
}

impl Uprobes {
    /// Takes them from the `object` that was loaded as `ebpf`, before any map is taken from that.
    pub(super) fn prepare(object: &[u8], ebpf: &Ebpf) -> anyhow::Result<Self> {
        let mut object = Object::parse(object).context("failed to read the object")?;
        let features = aya::features();
        let types = features.btf().context("the kernel takes no BTF")?;
        let types = object.fixup_and_sanitize_btf(types)?.context("the object has no BTF")?.to_bytes();
        let types = bpf::load_types(&types).context("the kernel refuses the object's BTF")?;
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = object.maps.clone();
        let with_descriptors = maps.iter().map(|(name, map)| {
            let loaded =
                ebpf.map(name).and_then(descriptor).with_context(|| format!("the map {name} is not loaded"))?;
            Ok((name.as_str(), loaded.as_raw_fd(), map))
        });
        let with_descriptors = with_descriptors.collect::<anyhow::Result<Vec<_>>>()?;
        object.relocate_maps(with_descriptors.into_iter(), &text)?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(features);
        let probes = object.programs.iter().filter_map(|(name, program)| {
            let is_return = match program.section {
                ProgramSection::UProbe { .. } => false,
                ProgramSection::URetProbe { .. } => true,
                _ => return None,
            };
            let mut function = object.functions.get(&program.function_key())?.clone();
            // Only for the verifier's log, and larger than the program.
            function.line_info = LineSecInfo::default();
            let prepared = Prepared { license: program.license.clone(), function, is_return, loaded: None };
            Some((name.clone(), prepared))
        });
        Ok(Self { programs: probes.collect(), types, multi: None })
    }

    /// Those that are in the kernel.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.programs.iter().filter_map(|(name, prepared)| Some((name.as_str(), prepared.loaded.as_ref()?.as_fd())))
    }

    /// Loads all. Returns whether uprobe_multi links will do.
    fn load_all(&mut self) -> anyhow::Result<bool> {
        for (name, prepared) in &mut self.programs {
            let program = prepared.load(name, self.types.as_fd())?;
            self.multi.get_or_insert_with(|| means_processes(program));
        }
        Ok(self.multi == Some(true))
    }

    /// Finds out whether uprobe_multi links will do.
    fn learn(&mut self) {
        if self.multi.is_some() {
            return;
        }
        let smallest = self.programs.iter_mut().min_by_key(|(_, prepared)| prepared.function.instructions.len());
        // Where it cannot be loaded, that is said when it is needed.
        if let Some((name, prepared)) = smallest
            && let Ok(program) = prepared.load(name, self.types.as_fd())
        {
            self.multi = Some(means_processes(program));
        }
    }

    /// Attaches with a uprobe_multi link; `None` where there are none that will do.
    fn attach(&mut self, name: &str, place: &Place<'_>) -> anyhow::Result<Option<Link>> {
        if self.multi == Some(false) {
            return Ok(None);
        }
        let prepared = self.programs.get_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))?;
        let is_return = prepared.is_return;
        let program = prepared.load(name, self.types.as_fd())?;
        if !*self.multi.get_or_insert_with(|| means_processes(program)) {
            return Ok(None);
        }
        let path = CString::new(place.path.as_os_str().as_bytes())?;
        let (offset, cookie) = (place.offset, place.cookie.unwrap_or_default());
        let link = bpf::attach_to_processes(program, &path, offset, cookie, is_return, place.process)?;
        Ok(Some(Link::Multi(link)))
    }
}

impl Prepared {
    fn load(&mut self, name: &str, types: BorrowedFd<'_>) -> anyhow::Result<&OwnedFd> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => self.load_anew(name, types)?,
        };
        Ok(self.loaded.insert(loaded))
    }

    fn load_anew(&self, name: &str, types: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
        // What the kernel says of a program that it refuses ends well before this.
        const LOG: usize = 4 << 20;
        let functions = self.function.func_info.func_info_bytes();
        let code = Code {
            name,
            license: &self.license,
            instructions: bytes(&self.function.instructions),
            types,
            functions: &functions,
            function_size: self.function.func_info_rec_size,
        };
        bpf::load_for_processes(&code, &mut []).or_else(|_| {
            let mut log = vec![0; LOG];
            bpf::load_for_processes(&code, &mut log).map_err(|error| {
                let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy();
                refused(name, &format!("{error}\n{log}")).into()
            })
        })
    }
}

/// Whether the process id of a uprobe_multi link means the process, and not only its first thread (Linux 6.10, and
/// stable kernels since). A kernel for which that is so looks at the number before it looks for a process.
fn means_processes(program: &OwnedFd) -> bool {
    // No file to attach to.
    let nothing = |process| bpf::attach_to_processes(program, c"/", 0, 0, false, process);
    let error = |process| nothing(process).err().and_then(|error| error.raw_os_error());
    error(None) == Some(Errno::EBADF as i32) && error(NonZeroU32::new(u32::MAX)) == Some(Errno::EINVAL as i32)
}

impl Datapath {
    /// Loads all programs that run within processes, as else the first use does. Returns whether this process may attach
    /// them.
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub(crate) fn load_for_processes(&mut self) -> anyhow::Result<bool> {
        Ok(self.uprobes.load_all()? || probe::has_sys_admin())
    }

    /// Whether this kernel attaches programs to processes with perf events only. Where that is not known yet, the
    /// smallest of them is loaded to find out.
    pub(crate) fn attaches_with_perf(&mut self) -> bool {
        self.uprobes.learn();
        self.uprobes.multi != Some(true)
    }

    /// Runs a program at a place in processes.
    ///
    /// # Errors
    /// If the kernel refuses the program or the place.
    pub(crate) fn attach_to_processes(&mut self, name: &'static str, place: &Place<'_>) -> anyhow::Result<Link> {
        let (link, by) = match self.uprobes.attach(name, place) {
            Ok(Some(link)) => (Ok(link), "uprobe_multi"),
            Ok(None) => (self.attach_with_perf(name, place), "perf"),
            Err(error) => (Err(error), "uprobe_multi"),
        };
        tracing::debug!(program = name, file = ?place.path, offset = place.offset, process = place.process, by, "probe");
        link.with_context(|| format!("failed to attach {name}"))
    }

    fn attach_with_perf(&mut self, name: &str, place: &Place<'_>) -> anyhow::Result<Link> {
        let program: &mut UProbe = self.program(name)?;
        if program.fd().is_err() {
            program.load().map_err(|error| refused(name, &crate::failure::chain(&error)))?;
        }
        let location = UProbeAttachLocation::AbsoluteOffset(place.offset);
        let scope = place.process.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        let link = program.attach(UProbeAttachPoint { location, cookie: place.cookie }, place.path, scope);
        let link = link.map_err(|error| match error {
            programs::ProgramError::SyscallError(error)
                if error.io_error.raw_os_error() == Some(Errno::EACCES as i32) =>
            {
                anyhow!("this kernel wants CAP_SYS_ADMIN for it; Linux 6.10 and later do not")
            }
            error => error.into(),
        })?;
        Ok(Link::Perf(program.take_link(link)?))
    }
}

/// The descriptor of a map of any kind that baton has.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerfEventArray(data)
        | Map::ProgramArray(data)
        | Map::Queue(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::SockHash(data)
        | Map::SockMap(data)
        | Map::Stack(data)
        | Map::Unsupported(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

#[expect(unsafe_code, reason = "instructions as bytes")]
fn bytes(instructions: &[aya_obj::generated::bpf_insn]) -> &[u8] {
    // SAFETY: each is 8 bytes without padding (include/uapi/linux/bpf.h).
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), size_of_val(instructions)) }
}
