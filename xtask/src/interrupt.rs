//! Ctrl-C and its relatives become a flag that every wait looks at, so that all guards run and nothing is left behind.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Turns SIGINT, SIGTERM and SIGHUP into the flag. Call it before any thread starts: they inherit the mask.
/// (Processes do not: the standard library empties the mask of those that it starts.)
pub(crate) fn catch() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("failed to block signals")?;
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            RECEIVED.store(signal as i32, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// The signal that asked this task to end.
pub(crate) fn received() -> Option<Signal> {
    Signal::try_from(RECEIVED.load(Ordering::Relaxed)).ok()
}

/// Fails when a signal asked this task to end.
pub(crate) fn check() -> Result<()> {
    match received() {
        Some(signal) => bail!("interrupted by {signal}"),
        None => Ok(()),
    }
}
