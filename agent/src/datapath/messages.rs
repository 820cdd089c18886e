//! What the kernel side says to those who debug baton itself (aya-log). Off unless it is asked for with
//! `--log baton_ebpf=debug`; then it is free, since the verifier takes it out of the programs.

use std::future::pending;
use std::time::Duration;

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Whom the messages are from, for the log's filter.
const TARGET: &str = "baton_ebpf";

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes that wait to be read, at most, if messages are on; a page otherwise, the least that there can be.
const ROOM: u32 = 128 * 1024;
const NO_ROOM: u32 = 4096;

/// aya-log's levels: 0 for none, 1 for errors, up to 5.
pub(super) fn level() -> u8 {
    let levels = [log::Level::Trace, log::Level::Debug, log::Level::Info, log::Level::Warn, log::Level::Error];
    let is_wanted = |level: &log::Level| log::log_enabled!(target: TARGET, *level);
    // Nothing is said above this level.
    levels.into_iter().find(is_wanted).filter(|level| *level >= log::Level::Debug).map_or(0, |level| level as u8)
}

/// Size of the buffer with this level.
pub(super) const fn room(level: u8) -> u32 {
    if level == 0 { NO_ROOM } else { ROOM }
}

/// Reads them.
pub(crate) struct Messages(Option<(EbpfLogger<&'static dyn Log>, Interval)>);

impl Messages {
    /// Takes what reads them out of `ebpf`, if they are on.
    pub(super) fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        if level() == 0 {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init(ebpf).context("failed to read the kernel side's messages")?;
        let mut looks = interval(PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self(Some((logger, looks))))
    }

    /// Writes those that came within a moment to the log; waits for ever where they are off.
    pub(crate) async fn told(&mut self) {
        let Some((logger, looks)) = &mut self.0 else { return pending().await };
        looks.tick().await;
        logger.flush();
    }
}
