//! Ctrl-C and its relatives become a flag that every wait looks at, so that all guards run and nothing is left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Turns these signals into the flag. By handlers, not by a mask: programs that a task starts would inherit the mask and
/// never end on SIGTERM. Nor do they inherit a handler, or that a background job's shell had SIGINT and SIGQUIT ignored.
pub(crate) fn catch() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let number = signal as i32;
        signal_hook::flag::register_usize(number, Arc::clone(&RECEIVED), signal as usize)
            .with_context(|| format!("failed to catch {signal}"))?;
    }
    Ok(())
}

/// The signal that asked this task to end.
pub(crate) fn received() -> Option<Signal> {
    let number = i32::try_from(RECEIVED.load(Ordering::Relaxed)).ok()?;
    Signal::try_from(number).ok()
}

/// Fails when a signal asked this task to end.
pub(crate) fn check() -> Result<()> {
    match received() {
        Some(signal) => bail!("interrupted by {signal}"),
        None => Ok(()),
    }
}
