//! Waiting for a condition with a deadline; nothing in the tests sleeps to synchronise.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a program may take to start, on a busy machine with two cores.
pub const START: Duration = Duration::from_secs(30);

/// Calls `check` until it returns a value; fails after `limit`, naming `what`.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}");
        }
        // The pause between two polls.
        std::thread::sleep(Duration::from_millis(5));
    }
}
