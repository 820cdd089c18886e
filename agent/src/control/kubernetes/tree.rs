//! The pods' cgroup directories: found by a bounded walk, then followed by
//! inotify, without asking a container runtime.
//!
//! The kubelet names them after the pod's id, with either cgroup driver
//! (pkg/kubelet/cm, `NewCgroupName` and `ToSystemd`):
//!
//! ```text
//! kubepods/burstable/pod0f4d7a4e-1f0b-4f5e-9a53-1f2f3b4c5d6e
//! kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f4d7a4e_1f0b_4f5e_9a53_1f2f3b4c5d6e.slice
//! ```
//!
//! Pods of the class Guaranteed have no directory for their class. In a node
//! that is a container itself, all of it is below `kubelet` or `kubelet.slice`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

/// Directories on the way to a pod's, at most.
const MAX_DEPTH: usize = 8;

/// Directories that a search looks into where the kubelet's has an unusual name.
const MAX_SEARCHED: usize = 4096;

/// Deepest of these.
const SEARCH_DEPTH: usize = 4;

/// What inotify tells at once.
const BUFFER: usize = 64 * 1024;

/// The pods' directories.
pub(crate) struct Tree {
    root: PathBuf,
    events: EventStream<Vec<u8>>,
    /// Directories on the way to pods.
    watched: HashMap<WatchDescriptor, PathBuf>,
    /// By the pod's id.
    pods: HashMap<String, PathBuf>,
}

impl Tree {
    /// Finds the directories below `root`, in a cgroup v2 hierarchy.
    ///
    /// # Errors
    /// If inotify is not to be had (`fs.inotify.max_user_instances`).
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        let inotify = Inotify::init().context(
            "failed to start inotify: raise fs.inotify.max_user_instances, or end what uses it up on this node",
        )?;
        let events = inotify.into_event_stream(vec![0; BUFFER]).context("failed to read inotify's events")?;
        let mut tree = Self { root: root.to_owned(), events, watched: HashMap::new(), pods: HashMap::new() };
        tree.walk()?;
        Ok(tree)
    }

    /// Where the pods' directories are looked for.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the pod whose directory is named after `id`.
    pub(crate) fn directory(&self, id: &str) -> Option<&Path> {
        self.pods.get(id).map(PathBuf::as_path)
    }

    /// Whether the kubelet's directory was found.
    pub(crate) fn is_found(&self) -> bool {
        self.watched.values().any(|path| is_kubelets(&name(path)))
    }

    /// Looks at everything anew.
    ///
    /// # Errors
    /// If the root cannot be watched.
    pub(crate) fn walk(&mut self) -> anyhow::Result<()> {
        self.pods.clear();
        let root = self.root.clone();
        self.watch(&root)
            .with_context(|| format!("failed to watch {}: raise fs.inotify.max_user_watches", root.display()))?;
        self.visit(&root, 0);
        if !self.is_found() {
            for found in search(&root) {
                self.enter(&found, SEARCH_DEPTH);
            }
        }
        Ok(())
    }

    /// Waits until pods' directories come or go.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        loop {
            let event =
                self.events.next().await.context("inotify ended")?.context("failed to read inotify's events")?;
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                return self.walk();
            }
            if event.mask.contains(EventMask::IGNORED) {
                self.watched.remove(&event.wd);
                continue;
            }
            let (Some(directory), Some(name)) = (self.watched.get(&event.wd), event.name) else { continue };
            let path = directory.join(name);
            let before = self.pods.len();
            let depth = path.components().count().saturating_sub(self.root.components().count());
            if event.mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) {
                self.enter(&path, depth);
            } else {
                self.pods.retain(|_, pod| *pod != path);
            }
            if self.pods.len() != before {
                return Ok(());
            }
        }
    }

    /// Takes in `path`, which is a pod's directory or may be on the way to some.
    fn enter(&mut self, path: &Path, depth: usize) {
        let name = name(path);
        if let Some(id) = pod_id(&name) {
            self.pods.insert(id, path.to_owned());
        } else if depth <= MAX_DEPTH && is_on_the_way(&name) {
            // A directory that is gone again is none.
            if self.watch(path).is_ok() {
                self.visit(path, depth);
            }
        }
    }

    /// Looks into a directory that is watched already, so that nothing comes unseen.
    fn visit(&mut self, directory: &Path, depth: usize) {
        for child in directories(directory) {
            self.enter(&child, depth + 1);
        }
    }

    fn watch(&mut self, path: &Path) -> anyhow::Result<()> {
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ONLYDIR;
        let descriptor = self.events.watches().add(path, mask)?;
        self.watched.insert(descriptor, path.to_owned());
        Ok(())
    }
}

/// Directories of the kubelet's in a tree where its own has another parent than usual.
fn search(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut level = vec![root.to_owned()];
    let mut searched = 0;
    for _ in 0..SEARCH_DEPTH {
        let mut next = Vec::new();
        for directory in level {
            searched += 1;
            if searched > MAX_SEARCHED {
                return found;
            }
            for child in directories(&directory) {
                if is_kubelets(&name(&child)) { found.push(child) } else { next.push(child) }
            }
        }
        level = next;
    }
    found
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a directory holds pods, or the directories of their classes.
fn is_kubelets(name: &str) -> bool {
    name.contains("kubepods")
}

fn is_on_the_way(name: &str) -> bool {
    is_kubelets(name) || matches!(name, "kubelet" | "kubelet.slice" | "burstable" | "besteffort")
}

/// The id of the pod whose directory is called `name`.
fn pod_id(name: &str) -> Option<String> {
    let id = match name.strip_suffix(".slice") {
        Some(unit) => unit.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    // A UUID, or the MD5 sum of a static pod.
    let is_id = matches!(id.len(), 32 | 36) && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then_some(id)
}

#[cfg(test)]
mod tests;
