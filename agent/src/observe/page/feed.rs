//! Keeps the board: watches the daemon through its control socket, as any other client does, while somebody looks.
//!
//! So the page depends on nothing inside the daemon, a browser that is slow never holds it up, and while nobody looks
//! no flow event is made. When the last browser is gone the watching goes on for a minute, in which a page that is
//! loaded again, or a forwarded port that is set up again, finds everything as it was.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::observe::flow::Record;

/// How long the daemon is watched after the last browser has gone.
const GRACE: Duration = Duration::from_secs(60);

/// Time between two looks at what time brings, and between two pictures for the browsers.
const TICK: Duration = Duration::from_millis(100);
const PICTURE: Duration = Duration::from_millis(500);

/// Time until the daemon is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// Watches the daemon at `socket` whenever somebody looks, as long as this process lives.
pub(super) async fn run(shared: Arc<Shared>, socket: Arc<Path>) {
    let mut viewers = shared.viewers.subscribe();
    while viewers.wait_for(|count| *count > 0).await.is_ok() {
        shared.board().begin(Instant::now(), format!("{:.6}", jiff::Timestamp::now()));
        while let Err(error) = follow(&shared, &socket, &mut viewers).await {
            tracing::debug!("the page has no flow events: {error:#}");
            shared.publish(false);
            tokio::time::sleep(PAUSE).await;
            if *viewers.borrow() == 0 {
                break;
            }
        }
        shared.forget();
    }
}

/// Reads what the daemon sends until nobody looks any more.
async fn follow(shared: &Shared, socket: &Path, viewers: &mut watch::Receiver<usize>) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await.context("failed to reach the control socket")?;
    let mut lines = BufReader::with_capacity(BUFFER, stream).lines();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut drawn, mut looked) = (None::<Instant>, Instant::now());
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let line = line.context("failed to read what the daemon sends")?.context("the daemon ended")?;
                let record = Record::parse(&line).context("cannot use what the daemon sends")?;
                shared.board().add(record, Instant::now());
            }
            _ = ticks.tick() => {
                let now = Instant::now();
                shared.board().tick(now);
                if *viewers.borrow() > 0 {
                    looked = now;
                    if drawn.is_none_or(|drawn| now - drawn >= PICTURE) {
                        drawn = Some(now);
                        shared.publish(true);
                    }
                } else if now - looked >= GRACE {
                    return Ok(());
                }
            }
        }
    }
}
