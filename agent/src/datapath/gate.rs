//! Holds the gate open between the members of a SOCKHASH that outlives baton and
//! the program that looks at their messages; see `outbound/gate.rs` of the kernel
//! side.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, anyhow};
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, SkMsg};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};

use super::bpf;
use super::load::Datapath;

/// The kernel's table of descriptors has room up to the highest one, 8 bytes each.
const HIGHEST: u64 = 1 << 16;

/// An open gate. It shuts when this is dropped, and before all else when baton is
/// killed.
#[derive(Debug)]
pub(super) struct Gate {
    _alive: OwnedFd,
    _event: OwnedFd,
}

impl Gate {
    /// Lets messages through, from all members. The programs must be loaded, and
    /// those that tell requests apart attached.
    pub(super) fn open(datapath: &mut Datapath) -> anyhow::Result<Self> {
        let write = program(datapath, "sk_msg_write")?;
        array(datapath, "GATE")?.set(0, &write, 0).context("failed to set what is behind the gate")?;
        let gate = program(datapath, "sk_msg_gate")?;
        array(datapath, "DOOR")?.set(0, &gate, 0).context("failed to set what is behind the door")?;
        let alive = first_to_close(datapath.take("ALIVE")?)?;
        let event = bpf::event().context("failed to open a perf event")?;
        bpf::set_first(&alive, &event).context("failed to open the gate")?;
        Ok(Self { _alive: alive, _event: event })
    }
}

fn program(datapath: &mut Datapath, name: &str) -> anyhow::Result<ProgramFd> {
    let program: &mut SkMsg = datapath.program(name)?;
    Ok(program.fd()?.try_clone()?)
}

fn array<'a>(datapath: &'a mut Datapath, name: &str) -> anyhow::Result<ProgramArray<&'a mut MapData>> {
    datapath.map(name)
}

/// A map's only descriptor, with a higher number than all others have.
///
/// A process that is killed closes its descriptors from the lowest to the highest
/// (fs/file.c, `close_files`), and what that means for each is done in the
/// opposite order (kernel/task_work.c: `task_work_add` puts work in front, since
/// 4.4): the highest one is the first.
fn first_to_close(map: Map) -> anyhow::Result<OwnedFd> {
    let Map::PerfEventArray(map) = map else { return Err(anyhow!("the map is no array of events")) };
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).context("failed to read the limit of descriptors")?;
    let lowest = i32::try_from(limit.min(HIGHEST).saturating_sub(8)).unwrap_or_default();
    let number = fcntl(map.fd().as_fd(), FcntlArg::F_DUPFD_CLOEXEC(lowest)).context("failed to move a descriptor")?;
    #[expect(unsafe_code, reason = "fcntl gives a number")]
    // SAFETY: the kernel has just made it for this process.
    Ok(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) })
}
