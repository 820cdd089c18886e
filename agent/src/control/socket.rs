//! The control socket: who connects gets flow events, one JSON object a line. Who sends [`MORE`] gets more of them.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::stat::{Mode, umask};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use crate::observe::flow::{FlowEvent, Kind};
use crate::observe::metrics::Watching;

/// What a watcher sends that looks for one request among many.
pub(crate) const MORE: u8 = b'+';

/// Most bytes that wait for one watcher; it misses events beyond that.
const BACKLOG: usize = 1 << 20;

/// Time until a watcher that could not be accepted is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Somebody who watches.
#[derive(Debug)]
struct Watcher {
    stream: UnixStream,
    /// Bytes not written yet.
    backlog: Vec<u8>,
    missed: u64,
    wants_more: bool,
}

/// Listens for watchers and serves them.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    watchers: Vec<Watcher>,
    told: u64,
    missed: u64,
    /// When accepting may be tried again, where it failed.
    again: Option<Instant>,
}

impl Listener {
    /// Listens at `path`, in place of a daemon that is gone.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) =
            path.parent().filter(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.with_context(|| format!("failed to make {}", directory.display()))?;
        }
        // To connect to what is no socket is refused, too.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            bail!("{} is no socket: choose another --socket", path.display());
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => bail!("another baton daemon answers at {}: end it, or choose another --socket", path.display()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).with_context(|| format!("failed to remove the old {}", path.display()))?;
            }
            Err(_) => {}
        }
        // From its first moment on nobody else may connect.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener.with_context(|| format!("failed to listen at {}", path.display()))?;
        Ok(Self { listener, path: path.to_owned(), watchers: Vec::new(), told: 0, missed: 0, again: None })
    }

    /// Waits for a watcher. Where none can be accepted (no descriptors are left, say), those that wait are tried again
    /// later: propagation goes on without them.
    pub(crate) async fn accept(&mut self) -> UnixStream {
        loop {
            // Kept here, since who calls may give up waiting and call again.
            if let Some(again) = self.again {
                tokio::time::sleep_until(again).await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.again = None;
                    return stream;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a watcher; trying again soon");
                    self.again = Some(Instant::now() + AGAIN);
                }
            }
        }
    }

    /// Sends what comes to `watcher`, too.
    pub(crate) fn add(&mut self, watcher: UnixStream) {
        self.watchers.push(Watcher { stream: watcher, backlog: Vec::new(), missed: 0, wants_more: false });
        tracing::info!(watchers = self.watchers.len(), "a watcher came");
    }

    /// Whether anybody watches.
    pub(crate) const fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Whether anybody wants more flow events than people can read.
    pub(crate) fn wants_more(&self) -> bool {
        self.watchers.iter().any(|watcher| watcher.wants_more)
    }

    /// Sends `event` to all watchers.
    pub(crate) fn send(&mut self, event: &FlowEvent) -> anyhow::Result<()> {
        let (line, requests) = (line(event)?, u64::from(event.kind != Kind::Response));
        self.told += requests;
        self.missed += self.watchers.iter_mut().map(|watcher| watcher.add(&line, requests)).sum::<u64>();
        Ok(())
    }

    /// What metrics say of watchers.
    pub(crate) const fn watching(&self) -> Watching {
        Watching { watchers: self.watchers.len(), told: self.told, missed: self.missed }
    }

    /// So many flow events are missing for all watchers.
    pub(crate) fn miss(&mut self, count: u64) {
        self.watchers.iter_mut().for_each(|watcher| watcher.missed += count);
    }

    /// Tells all watchers something that is no flow event.
    pub(crate) fn tell(&mut self, notice: &serde_json::Value) -> anyhow::Result<()> {
        let line = line(notice)?;
        for watcher in &mut self.watchers {
            watcher.add(&line, 0);
        }
        Ok(())
    }

    /// Tells the watcher that came last.
    pub(crate) fn tell_newest(&mut self, notice: &serde_json::Value) -> anyhow::Result<()> {
        let line = line(notice)?;
        if let Some(watcher) = self.watchers.last_mut() {
            watcher.add(&line, 0);
        }
        Ok(())
    }

    /// Writes what the watchers can take, and forgets those that are gone.
    pub(crate) fn flush(&mut self) {
        let before = self.watchers.len();
        self.watchers.retain_mut(Watcher::flush);
        if self.watchers.len() < before {
            tracing::info!(left = self.watchers.len(), "a watcher went");
        }
    }

    /// Ends listening.
    pub(crate) fn close(self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn line(said: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(line)
}

impl Watcher {
    /// Adds a line that tells of so many `requests`. Returns how many of them are missing.
    fn add(&mut self, line: &[u8], requests: u64) -> u64 {
        if self.backlog.len() + line.len() > BACKLOG {
            self.missed += requests;
            return requests;
        }
        self.admit();
        self.backlog.extend_from_slice(line);
        0
    }

    /// Says what is missing.
    fn admit(&mut self) {
        if self.missed > 0 {
            self.backlog.extend_from_slice(format!("{{\"kind\":\"missed\",\"count\":{}}}\n", self.missed).as_bytes());
            self.missed = 0;
        }
    }

    /// Returns whether it is still there.
    fn flush(&mut self) -> bool {
        if self.backlog.is_empty() {
            self.admit();
        }
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Ok(0) => return false,
            Ok(_) => self.wants_more |= byte == [MORE],
            Err(error) if error.kind() != ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
        while !self.backlog.is_empty() {
            match self.stream.try_write(&self.backlog) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_may_connect_and_nothing_else_is_removed() -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = std::env::temp_dir().join(format!("baton-socket-files-{}", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _within = runtime.enter();
        let path = directory.join("below/baton.sock");
        let listener = Listener::open(&path)?;
        for (path, expected) in [(&path, 0o600), (&directory.join("below"), 0o700)] {
            assert_eq!(std::fs::metadata(path)?.permissions().mode() & 0o777, expected, "{}", path.display());
        }
        // A daemon that was killed has left its socket.
        drop(listener);
        Listener::open(&path)?.close();
        std::fs::write(&path, "somebody's")?;
        assert!(Listener::open(&path).is_err_and(|error| error.to_string().contains("is no socket")));
        assert_eq!(std::fs::read(&path)?, b"somebody's");
        std::fs::remove_dir_all(&directory)?;
        Ok(())
    }

    #[test]
    fn what_a_watcher_misses_is_counted_for_metrics() -> anyhow::Result<()> {
        let path = std::env::temp_dir().join(format!("baton-socket-{}", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut listener = Listener::open(&path)?;
            // It never reads.
            let (watcher, _kept) = UnixStream::pair()?;
            listener.add(watcher);
            let (event, mut missed) = (FlowEvent { path: "/".repeat(1000), ..FlowEvent::default() }, 0);
            let fit = BACKLOG / line(&event)?.len();
            for number in 1..=fit + 5 {
                listener.send(&event)?;
                missed = listener.watching().missed;
                anyhow::ensure!(missed == number.saturating_sub(fit) as u64, "{missed} of {number}");
            }
            let response = FlowEvent { kind: Kind::Response, ..event };
            listener.send(&response)?;
            let now = listener.watching();
            assert_eq!(now, Watching { watchers: 1, told: (fit + 5) as u64, missed });
            listener.close();
            Ok(())
        })
    }
}
