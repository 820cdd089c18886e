//! Follows the processes of all workloads and keeps what is attached to them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use baton_common::attribution::{Claim, flag};
use baton_common::flow::Reason;
use baton_common::runtime::{Python, kind, loaded, notice};
use object::Architecture;
use tokio::io::unix::AsyncFd;

use super::elf::Executable;
use super::php::{self, Fpm};
use super::point::Point;
use super::python::{Interpreter, Loaded};
use super::{epoll, go, jvm, mapped, news, python, ruby};
use crate::datapath::load::Datapath;
use crate::datapath::pod::{self, Raw};

/// An executable file: its file system, its number there, and when it changed last.
type Identity = (u64, u64, i64);

/// What the processes of an executable file need.
#[derive(Clone, Debug)]
pub(super) enum Support {
    /// Nothing, or it is not known yet.
    None,
    /// A Go program.
    Go(Vec<Point>),
    /// A Java virtual machine.
    Jvm,
    /// Ruby.
    Ruby,
    /// Python.
    Python,
    /// PHP-FPM.
    Fpm(Fpm),
    /// A runtime that is known but not understood.
    Refused {
        /// Its name.
        runtime: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Support {
    /// What process `id` needs, whose executable file needs this: it may have
    /// loaded a virtual machine or an interpreter as a library.
    pub(super) fn of_process(self, id: u32) -> Self {
        match self {
            Self::None if jvm::is_loaded(id) => Self::Jvm,
            Self::None if python::is_loaded(id) => Self::Python,
            Self::None if ruby::is_loaded(id) => Self::Ruby,
            known => known,
        }
    }
}

/// How long a new process is given to load its libraries.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks for it.
const PAUSE: Duration = Duration::from_millis(5);

/// A process whose libraries are not loaded yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: u32,
    until: Instant,
}

/// Something attached to a process.
#[derive(Debug)]
struct Probe {
    program: &'static str,
    link: UProbeLinkId,
}

/// What is attached to an executable file, for all its processes.
#[derive(Debug, Default)]
struct Shared {
    probes: Vec<Probe>,
    /// The processes that need it.
    users: HashSet<u32>,
}

/// Follows processes.
pub(crate) struct Tracker {
    notices: AsyncFd<RingBuf<MapData>>,
    executables: HashMap<Identity, Support>,
    libraries: HashMap<(Identity, &'static str), Result<Vec<Point>, String>>,
    interpreters: HashMap<Identity, Result<Interpreter, String>>,
    attached: HashMap<u32, Vec<Probe>>,
    shared: HashMap<Identity, Shared>,
    pending: Vec<Pending>,
}

impl Tracker {
    /// Takes over what the kernel side tells of processes.
    pub(crate) fn new(datapath: &mut Datapath) -> anyhow::Result<Self> {
        #[expect(unsafe_code, reason = "AsyncFd")]
        // SAFETY: a RingBuf owns its descriptor and never changes it.
        let notices = unsafe { AsyncFd::register(datapath.take_notices()?) }
            .map_err(|error| anyhow::anyhow!("failed to wait for news of processes: {error:?}"))?;
        Ok(Self {
            notices,
            executables: HashMap::new(),
            libraries: HashMap::new(),
            interpreters: HashMap::new(),
            attached: HashMap::new(),
            shared: HashMap::new(),
            pending: Vec::new(),
        })
    }

    /// Waits until there is something to do.
    pub(crate) async fn news(&mut self) -> anyhow::Result<()> {
        let pause = if self.pending.is_empty() { Duration::MAX } else { PAUSE };
        if let Ok(ready) = tokio::time::timeout(pause, self.notices.readable_mut()).await {
            ready.context("failed to wait for news of processes")?.clear_ready();
        }
        Ok(())
    }

    /// Deals with all news.
    pub(crate) fn read(&mut self, datapath: &mut Datapath) -> anyhow::Result<()> {
        let mut news = Vec::new();
        while let Some(record) = self.notices.get_mut().next().map(|record| pod::notice(&record)) {
            news.extend(record);
        }
        for found in news::current(news) {
            tracing::debug!(process = found.tgid, about = found.about, "news");
            match found.about {
                notice::ENDED => self.ended(datapath, found.tgid),
                notice::LOOPS => self.attach_to_loops(datapath, found.tgid)?,
                notice::SERVES if self.attached.contains_key(&found.tgid) => self.look_again(datapath, found.tgid)?,
                _ => self.look(datapath, found.tgid, Instant::now() + PATIENCE)?,
            }
        }
        for Pending { id, until } in std::mem::take(&mut self.pending) {
            self.look(datapath, id, until)?;
        }
        Ok(())
    }

    /// Looks at those of `processes` to which nothing is attached: they may have
    /// started before there was news of them.
    pub(crate) fn look_at(&mut self, datapath: &mut Datapath, processes: &[i32]) -> anyhow::Result<()> {
        let new = processes.iter().map(|id| id.cast_unsigned()).filter(|id| !self.attached.contains_key(id));
        new.collect::<Vec<_>>().into_iter().try_for_each(|id| self.look(datapath, id, Instant::now() + PATIENCE))
    }

    /// Looks at process `id`, and attaches what its runtime needs; once more until
    /// `until` where it is too early to say.
    fn look(&mut self, datapath: &mut Datapath, id: u32, until: Instant) -> anyhow::Result<()> {
        let start = Instant::now();
        self.pending.retain(|pending| pending.id != id);
        self.forget(datapath, id);
        let path = PathBuf::from(format!("/proc/{id}/exe"));
        // It may have ended.
        let Some(support) = self.support(&path) else { return Ok(()) };
        let attached = match support.of_process(id) {
            Support::None => Ok(Some(kind::NONE)),
            Support::Refused { reason, .. } => Err(anyhow::anyhow!(reason)),
            Support::Go(points) => self.attach(datapath, &points, &path, id).map(|()| Some(kind::GO)),
            Support::Jvm => self.attach_to_waits(datapath, id, kind::JVM),
            Support::Ruby => self.attach_to_waits(datapath, id, kind::RUBY),
            Support::Python => self.attach_to_python(datapath, id),
            Support::Fpm(fpm) => self.attach_to_fpm(datapath, &fpm, &path, id).map(|()| Some(kind::PHP_FPM)),
        };
        let kind = match attached {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                if start < until {
                    self.pending.push(Pending { id, until });
                }
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(process = id, error = format!("{error:#}"), "its runtime is not supported");
                self.forget(datapath, id);
                kind::NONE
            }
        };
        if kind != kind::GO && datapath.runtimes()?.get(&id, 0).is_ok_and(|known| known == kind::NOTED) {
            // In case that it was Go. To look for it takes a walk over all light threads of the node.
            let _ = datapath.forget_tasks(id);
        }
        tracing::info!(process = id, kind, took = ?start.elapsed(), "looked at");
        // Where it has ended meanwhile, the entry is of the next process with this number, which begins anew.
        datapath.runtimes()?.insert(id, kind, 0).context("failed to say which runtime a process has")
    }

    /// Attaches to a process of runtime `kind`, where it is to be known which
    /// threads wait in epoll; `None` if it is too early for that.
    fn attach_to_waits(&mut self, datapath: &mut Datapath, id: u32, kind: u32) -> anyhow::Result<Option<u32>> {
        let Some(library) = mapped::c_library(id) else { return Ok(None) };
        self.attach_to_library(datapath, &library.path, "waits", epoll::points, id)?;
        // Who was in epoll before the probes were there.
        for thread in epoll::waiting(id) {
            datapath.executors()?.insert(thread, Raw(event_loop()), 0).context("failed to mark a thread")?;
        }
        Ok(Some(kind))
    }

    /// Attaches to PHP-FPM, if another of its processes has not been the first.
    fn attach_to_fpm(&mut self, datapath: &mut Datapath, fpm: &Fpm, path: &Path, id: u32) -> anyhow::Result<()> {
        let identity = identity(path).context("its executable file is gone")?;
        let shared = self.shared.entry(identity).or_default();
        shared.users.insert(id);
        // So that it is not looked at again, and forgotten where this fails.
        self.attached.entry(id).or_default();
        if shared.probes.is_empty() {
            for Point { program, offset } in &fpm.points {
                let location = UProbeAttachLocation::AbsoluteOffset(*offset);
                let point = UProbeAttachPoint { location, cookie: Some(fpm.globals) };
                let link = datapath
                    .probe(program)?
                    .attach(point, path, UProbeScope::AllProcesses)
                    .with_context(|| format!("failed to attach {program}"))?;
                shared.probes.push(Probe { program, link });
            }
        }
        Ok(())
    }

    /// Attaches to Python; `None` if it is too early for that.
    fn attach_to_python(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<Option<u32>> {
        let (Some(file), Some(library)) = (python::find(id), mapped::c_library(id)) else { return Ok(None) };
        let identity = identity(&file.path).context("its interpreter is gone")?;
        let interpreter = self.interpreters.entry(identity).or_insert_with(|| python::examine(&file.path));
        let interpreter = interpreter.clone();
        let known = match &interpreter {
            Ok(interpreter) => {
                self.attach(datapath, &interpreter.points, &file.path, id)?;
                interpreter.at(file.start)
            }
            Err(reason) => {
                // What it has loaded counts all the same.
                tracing::warn!(process = id, reason, "its tasks cannot be told apart");
                Python { flags: loaded::UNKNOWN, ..Python::default() }
            }
        };
        self.attach_to_library(datapath, &library.path, "python", python::c_library_points, id)?;
        let found = Loaded::of(id);
        let uvloop = self.attach_to_uvloop(datapath, &found, id);
        let found = Python { flags: known.flags | found.flags(uvloop), ..known };
        datapath.pythons()?.insert(id, Raw(found), 0).context("failed to say where Python keeps its threads")?;
        Ok(Some(kind::PYTHON))
    }

    /// Attaches to uvloop in process `id`, if it is `found` there.
    fn attach_to_uvloop(&mut self, datapath: &mut Datapath, found: &Loaded, id: u32) -> bool {
        let Some(uvloop) = &found.uvloop else { return false };
        let attached = self.attach_to_library(datapath, &uvloop.path, "uvloop", python::uvloop_points, id);
        if let Err(error) = &attached {
            tracing::warn!(process = id, error = format!("{error:#}"), "its event loop is not supported");
        }
        attached.is_ok()
    }

    /// Looks for what process `id` has loaded since it was looked at.
    fn look_again(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let Ok(Raw(mut python)) = datapath.pythons()?.get(&id, 0) else { return Ok(()) };
        let found = Loaded::of(id);
        let uvloop = python.flags & loaded::UVLOOP != 0 || self.attach_to_uvloop(datapath, &found, id);
        let flags = python.flags & loaded::UNKNOWN | found.flags(uvloop);
        if python.flags != flags {
            python.flags = flags;
            datapath.pythons()?.insert(id, Raw(python), 0).context("failed to say what a process has loaded")?;
            tracing::info!(process = id, loaded = ?found, "looked at again");
        }
        Ok(())
    }

    /// Lets the kernel side know when the event loops of process `id` wait.
    fn attach_to_loops(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let Some(library) = mapped::c_library(id) else { return Ok(()) };
        match self.attach_to_library(datapath, &library.path, "loops", epoll::loop_points, id) {
            Ok(()) => {
                tracing::info!(process = id, "has event loops");
                datapath.runtimes()?.insert(id, kind::LOOPS, 0).context("failed to say that a process has event loops")
            }
            Err(error) => {
                tracing::warn!(process = id, error = format!("{error:#}"), "its event loops are not supported");
                Ok(())
            }
        }
    }

    /// Attaches what `points` finds in the shared library `path` for `purpose`.
    fn attach_to_library(
        &mut self,
        datapath: &mut Datapath,
        path: &Path,
        purpose: &'static str,
        points: impl Fn(&Path) -> Result<Vec<Point>, String>,
        id: u32,
    ) -> anyhow::Result<()> {
        let identity = identity(path).with_context(|| format!("{} is gone", path.display()))?;
        let points = self.libraries.entry((identity, purpose)).or_insert_with(|| points(path));
        let points = points.clone().map_err(anyhow::Error::msg)?;
        self.attach(datapath, &points, path, id)
    }

    fn attach(&mut self, datapath: &mut Datapath, points: &[Point], path: &Path, id: u32) -> anyhow::Result<()> {
        let process = NonZeroU32::new(id).context("no process has the number 0")?;
        for Point { program, offset } in points {
            let probe: &mut UProbe = datapath.probe(program)?;
            let link = probe
                .attach(UProbeAttachLocation::AbsoluteOffset(*offset), path, UProbeScope::OneProcess(process))
                .with_context(|| format!("failed to attach {program}"))?;
            self.attached.entry(id).or_default().push(Probe { program, link });
        }
        Ok(())
    }

    fn support(&mut self, path: &Path) -> Option<Support> {
        let identity = identity(path)?;
        if let Some(known) = self.executables.get(&identity) {
            return Some(known.clone());
        }
        let support = examine(path).unwrap_or(Support::None);
        self.executables.insert(identity, support.clone());
        Some(support)
    }

    /// Process `id` has ended. Nobody waits until the kernel has taken its
    /// probes away, which takes tens of milliseconds for each.
    fn ended(&mut self, datapath: &mut Datapath, id: u32) {
        let Some(probes) = self.take(datapath, id) else { return };
        let links =
            probes.into_iter().filter_map(|probe| datapath.probe(probe.program).ok()?.take_link(probe.link).ok());
        let links: Vec<_> = links.collect();
        std::thread::spawn(move || drop(links));
        clear(datapath, id);
    }

    /// Takes everything away from process `id`, which runs.
    fn forget(&mut self, datapath: &mut Datapath, id: u32) {
        let Some(probes) = self.take(datapath, id) else { return };
        // Last what forgets, which was attached first.
        for Probe { program, link } in probes.into_iter().rev() {
            let _ = datapath.probe(program).and_then(|probe| Ok(probe.detach(link)?));
        }
        clear(datapath, id);
    }

    /// What is attached for process `id` alone; `None` if it was never found to need anything.
    fn take(&mut self, datapath: &mut Datapath, id: u32) -> Option<Vec<Probe>> {
        let mut probes = self.attached.remove(&id)?;
        // Without this the probes do nothing any more.
        let _ = datapath.pythons().map(|mut all| all.remove(&id));
        self.shared.retain(|_, shared| {
            shared.users.remove(&id);
            if shared.users.is_empty() {
                probes.append(&mut shared.probes);
            }
            !shared.users.is_empty()
        });
        Some(probes)
    }
}

/// Forgets the light threads of process `id`. What stays of them only takes room: no process looks it up.
fn clear(datapath: &mut Datapath, id: u32) {
    if let Err(error) = datapath.forget_tasks(id) {
        tracing::warn!(process = id, error = format!("{error:#}"), "what is known of its light threads stays");
    }
}

/// What a thread holds that drives an event loop.
fn event_loop() -> Claim {
    Claim { flags: flag::EVENT_LOOP, ..Claim::none(Reason::UnsupportedRuntime) }
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino(), metadata.mtime()))
}

/// Finds out what the executable file of a process is; `None` if it is not in the ELF format.
pub(super) fn examine(path: &Path) -> Option<Support> {
    let file = File::open(path).ok()?;
    #[expect(unsafe_code, reason = "executables are large")]
    // SAFETY: the file is the text of a running program, which nobody can write to (ETXTBSY).
    let data = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let executable = &Executable::parse(&data)?;
    let architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };
    Some(match go::points(executable, architecture) {
        Some(Ok(points)) => Support::Go(points),
        Some(Err(reason)) => Support::Refused { runtime: "go", reason },
        None if jvm::is_launcher(executable) => Support::Jvm,
        None if python::is_interpreter(executable) => Support::Python,
        None if ruby::is_interpreter(executable) => Support::Ruby,
        None => match php::examine(executable) {
            Some(Ok(fpm)) => Support::Fpm(fpm),
            Some(Err(reason)) => Support::Refused { runtime: "php-fpm", reason },
            None => Support::None,
        },
    })
}
