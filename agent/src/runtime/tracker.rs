//! Follows the processes of all workloads and keeps what is attached to them.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLinkId, UProbeScope};
use baton_common::runtime::{kind, notice};
use object::Architecture;
use tokio::io::unix::AsyncFd;

use super::elf::Executable;
use super::go::{self, Point};
use crate::datapath::load::Datapath;
use crate::datapath::pod;

/// An executable file: its file system, its number there, and when it changed last.
type Identity = (u64, u64, i64);

/// What is to be done with the processes of an executable file.
#[derive(Clone, Debug)]
enum Support {
    /// Nothing: no runtime that needs any.
    None,
    /// A Go program.
    Go(Vec<Point>),
    /// A runtime that is known but not understood, and why.
    Refused(String),
}

/// Something attached to a process.
#[derive(Debug)]
struct Probe {
    program: &'static str,
    link: UProbeLinkId,
}

/// Follows processes.
pub(crate) struct Tracker {
    notices: AsyncFd<RingBuf<MapData>>,
    executables: HashMap<Identity, Support>,
    attached: HashMap<u32, Vec<Probe>>,
}

impl Tracker {
    /// Takes over what the kernel side tells of processes.
    pub(crate) fn new(datapath: &mut Datapath) -> anyhow::Result<Self> {
        #[expect(unsafe_code, reason = "AsyncFd")]
        // SAFETY: a RingBuf owns its descriptor and never changes it.
        let notices = unsafe { AsyncFd::register(datapath.take_notices()?) }
            .map_err(|error| anyhow::anyhow!("failed to wait for news of processes: {error:?}"))?;
        Ok(Self { notices, executables: HashMap::new(), attached: HashMap::new() })
    }

    /// Waits until there is news.
    pub(crate) async fn news(&mut self) -> anyhow::Result<()> {
        let mut ready = self.notices.readable_mut().await.context("failed to wait for news of processes")?;
        ready.clear_ready();
        Ok(())
    }

    /// Deals with all news.
    pub(crate) fn read(&mut self, datapath: &mut Datapath) -> anyhow::Result<()> {
        while let Some(record) = self.notices.get_mut().next().map(|record| pod::notice(&record)) {
            let Some(found) = record else { continue };
            match found.about {
                notice::ENDED => self.forget(datapath, found.tgid),
                _ => self.look(datapath, found.tgid)?,
            }
        }
        Ok(())
    }

    /// Looks at those of `processes` to which nothing is attached: they may have
    /// started before there was news of them.
    pub(crate) fn look_at(&mut self, datapath: &mut Datapath, processes: &[i32]) -> anyhow::Result<()> {
        let new = processes.iter().map(|id| id.cast_unsigned()).filter(|id| !self.attached.contains_key(id));
        new.collect::<Vec<_>>().into_iter().try_for_each(|id| self.look(datapath, id))
    }

    /// Looks at process `id`, and attaches what its runtime needs.
    fn look(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let start = Instant::now();
        self.forget(datapath, id);
        let path = PathBuf::from(format!("/proc/{id}/exe"));
        // It may have ended.
        let Some(support) = self.support(&path) else { return Ok(()) };
        let kind = match support {
            Support::None => kind::NONE,
            Support::Refused(reason) => {
                tracing::info!(process = id, reason, "its runtime is not understood");
                kind::NONE
            }
            Support::Go(points) => {
                for Point { program, offset } in points {
                    match attach(datapath, program, offset, &path, id) {
                        Ok(link) => self.attached.entry(id).or_default().push(Probe { program, link }),
                        Err(error) => {
                            tracing::warn!(process = id, program, error = format!("{error:#}"), "not attached");
                            self.forget(datapath, id);
                            return Ok(());
                        }
                    }
                }
                tracing::info!(process = id, took = ?start.elapsed(), "a Go program");
                kind::GO
            }
        };
        // Where it has ended meanwhile, the entry is of the next process with this number, which begins anew.
        datapath.runtimes()?.insert(id, kind, 0).context("failed to say which runtime a process has")
    }

    fn support(&mut self, path: &Path) -> Option<Support> {
        let metadata = std::fs::metadata(path).ok()?;
        let identity = (metadata.dev(), metadata.ino(), metadata.mtime());
        if let Some(known) = self.executables.get(&identity) {
            return Some(known.clone());
        }
        let support = examine(path).unwrap_or(Support::None);
        self.executables.insert(identity, support.clone());
        Some(support)
    }

    fn forget(&mut self, datapath: &mut Datapath, id: u32) {
        for Probe { program, link } in self.attached.remove(&id).unwrap_or_default() {
            let _ = datapath.probe(program).and_then(|probe| Ok(probe.detach(link)?));
        }
    }
}

fn attach(datapath: &mut Datapath, program: &str, offset: u64, path: &Path, id: u32) -> anyhow::Result<UProbeLinkId> {
    let probe: &mut UProbe = datapath.probe(program)?;
    let process = NonZeroU32::new(id).context("no process has the number 0")?;
    Ok(probe.attach(UProbeAttachLocation::AbsoluteOffset(offset), path, UProbeScope::OneProcess(process))?)
}

/// Finds out what an executable file is.
fn examine(path: &Path) -> Option<Support> {
    let file = File::open(path).ok()?;
    #[expect(unsafe_code, reason = "executables are large")]
    // SAFETY: the file is the text of a running program, which nobody can write to (ETXTBSY).
    let data = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let executable = Executable::parse(&data)?;
    let architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };
    Some(match go::points(&executable, architecture)? {
        Ok(points) => Support::Go(points),
        Err(reason) => Support::Refused(reason),
    })
}
