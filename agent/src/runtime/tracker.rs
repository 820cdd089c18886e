//! Follows the processes of all workloads and keeps what is attached to them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use baton_common::runtime::{Notice, kind, notice};
use tokio::io::unix::AsyncFd;

use super::news;
use super::point::Point;
use super::python::Interpreter;
use super::support::{Identity, Support, examine, identity};
use crate::datapath::load::Datapath;
use crate::datapath::pod;
use crate::datapath::uprobe::Link;

mod attach;

/// How long a new process is given to load its libraries.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks for it.
const PAUSE: Duration = Duration::from_millis(5);

/// Most files of one kind that are known. All of them are forgotten when there are so many: a workload may make as many
/// as it likes.
const MOST_FILES: usize = 4096;

/// A process whose libraries are not loaded yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: u32,
    until: Instant,
}

/// What is attached to an executable file, for all its processes.
#[derive(Debug, Default)]
struct Shared {
    probes: Vec<Link>,
    /// The processes that need it.
    users: HashSet<u32>,
}

/// Follows processes.
pub(crate) struct Tracker {
    notices: AsyncFd<RingBuf<MapData>>,
    executables: HashMap<Identity, Support>,
    libraries: HashMap<(Identity, &'static str), Result<Vec<Point>, String>>,
    interpreters: HashMap<Identity, Result<Interpreter, String>>,
    attached: HashMap<u32, Vec<Link>>,
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
        while let Some(record) = self.notices.get_mut().next().map(|record| pod::record::<Notice>(&record)) {
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
        let Some(program) = identity(&path) else { return Ok(()) };
        let support = self.support(&path, program);
        let support = support.of_process(id);
        let runtime = support.name();
        let attached = match support {
            Support::None => Ok(Some(kind::NONE)),
            Support::Refused { reason, .. } => Err(anyhow::anyhow!(reason)),
            Support::Go(go) => self.attach_to_go(datapath, &go, &path, id).map(|()| Some(kind::GO)),
            Support::Jvm => self.attach_to_waits(datapath, id, kind::JVM),
            Support::Ruby => self.attach_to_ruby(datapath, id),
            Support::Python => self.attach_to_python(datapath, id),
            Support::Fpm(points) => self.attach_to_fpm(datapath, &points, &path, id).map(|()| Some(kind::PHP_FPM)),
        };
        let kind = match attached {
            Ok(None) => {
                if start < until {
                    self.pending.push(Pending { id, until });
                }
                return Ok(());
            }
            // It runs another program, of which there is news, or has ended, of which there may be none.
            _ if identity(&path) != Some(program) => {
                if !path.exists() {
                    self.ended(datapath, id);
                }
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(process = id, error = format!("{error:#}"), "its runtime is not supported");
                self.forget(datapath, id);
                kind::NONE
            }
            Ok(Some(kind)) => kind,
        };
        if kind != kind::GO && datapath.runtimes()?.get(&id, 0).is_ok_and(|known| known == kind::NOTED) {
            // In case that it was Go. To look for it takes a walk over all light threads of the node.
            let _ = datapath.forget_tasks(id);
        }
        let probes = self.attached.get(&id).map_or(0, Vec::len);
        tracing::info!(process = id, runtime, probes, took = ?start.elapsed(), "looked at");
        datapath.runtimes()?.insert(id, kind, 0).context("failed to say which runtime a process has")?;
        if !path.exists() {
            // It has ended just now, and nobody would take this away.
            let _ = datapath.runtimes()?.remove(&id);
            self.ended(datapath, id);
        }
        Ok(())
    }

    /// What the program in the file `path`, which is `program`, needs.
    fn support(&mut self, path: &Path, program: Identity) -> Support {
        make_room(&mut self.executables);
        self.executables.entry(program).or_insert_with(|| examine(path).unwrap_or(Support::None)).clone()
    }

    /// Process `id` has ended. Nobody waits until the kernel has taken its
    /// probes away, which takes tens of milliseconds for each.
    fn ended(&mut self, datapath: &mut Datapath, id: u32) {
        let Some(links) = self.take(datapath, id) else { return };
        if !links.is_empty() {
            // Where there can be no thread, this drops them here.
            let _ = std::thread::Builder::new().spawn(move || drop(links));
        }
        clear(datapath, id);
    }

    /// Takes everything away from process `id`, which runs.
    fn forget(&mut self, datapath: &mut Datapath, id: u32) {
        let Some(links) = self.take(datapath, id) else { return };
        // Last what forgets, which was attached first.
        links.into_iter().rev().for_each(drop);
        clear(datapath, id);
    }

    /// What is attached for process `id` alone; `None` if it was never found to need anything.
    fn take(&mut self, datapath: &mut Datapath, id: u32) -> Option<Vec<Link>> {
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

/// Forgets all if there are too many for one more.
fn make_room<K, V>(files: &mut HashMap<K, V>) {
    if files.len() >= MOST_FILES {
        files.clear();
    }
}

/// Forgets the light threads of process `id`. What stays of them only takes room: no process looks it up.
fn clear(datapath: &mut Datapath, id: u32) {
    if let Err(error) = datapath.forget_tasks(id) {
        tracing::warn!(process = id, error = format!("{error:#}"), "what is known of its light threads stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_end_take_no_memory_without_end() {
        let mut files = HashMap::new();
        for file in 0..3 * MOST_FILES {
            make_room(&mut files);
            files.insert(file, ());
            assert!(files.len() <= MOST_FILES && files.contains_key(&file));
        }
    }
}
