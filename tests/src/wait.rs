//! Waiting for a condition with a deadline; nothing in the tests sleeps to synchronise.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a program may take to start, on a busy machine with two cores.
pub const START: Duration = Duration::from_secs(30);

/// `BATON_TEST_SLOWNESS=30`: how many times slower than such a machine this one is. `cargo xtask vm` sets it in its guests.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    let factor = std::env::var("BATON_TEST_SLOWNESS").ok().and_then(|factor| factor.parse().ok());
    factor.unwrap_or(1).max(1)
});

/// What `limit` comes to on this machine. [`until`], and what waits with it, scale by themselves.
pub fn scaled(limit: Duration) -> Duration {
    limit * *SLOWNESS
}

/// Calls `check` until it returns a value; fails after `limit`, [`scaled`], naming `what`.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + scaled(limit);
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {:?}", scaled(limit));
        }
        // The pause between two polls.
        std::thread::sleep(Duration::from_millis(5));
    }
}
