//! A daemon that only observes, for as long as somebody in this process needs it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::cli::Run;

/// Runs `work`, which finds a daemon at the socket that it is given: one that observes `cgroups` and looks for `headers`
/// besides the usual ones. `work` ends with the daemon's flow events where somebody interrupts.
///
/// # Errors
/// What either of them says.
pub(crate) async fn run<T>(
    cgroups: &[PathBuf],
    headers: &[String],
    work: impl AsyncFnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let place = Place::make()?;
    let socket = place.0.join("baton.sock");
    let arguments = Run::observing(cgroups, headers, &socket)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let daemon = super::until(arguments, async {
        // It is never sent, only dropped.
        let _ = stopped.await;
    });
    let work = work(&socket);
    tokio::pin!(daemon, work);
    tokio::select! {
        biased;
        ended = &mut daemon => {
            ended?;
            work.await
        }
        done = &mut work => {
            drop(stop);
            daemon.await?;
            done
        }
    }
}

/// A directory that is nobody else's, for the socket.
struct Place(PathBuf);

impl Place {
    fn make() -> anyhow::Result<Self> {
        let now = jiff::Timestamp::now().as_nanosecond();
        let directory = std::env::temp_dir().join(format!("baton-own-{}-{now}", std::process::id()));
        // Fails if it is there: then it is somebody else's.
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.with_context(|| format!("failed to make {} for a socket", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
