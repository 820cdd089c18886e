//! The kernel side's units of time, and where its numbers begin.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use nix::time::{ClockId, clock_getres};

/// `time` in ticks of the kernel's coarse clock (jiffies), rounded up.
///
/// # Errors
/// If the kernel does not say how long a tick is.
pub(crate) fn ticks(time: Duration) -> anyhow::Result<u64> {
    // Its resolution is one tick (kernel/time/posix-timers.c, posix_get_coarse_res).
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).context("failed to read the kernel's tick")?;
    Ok(in_ticks(time, Duration::from(tick)))
}

fn in_ticks(time: Duration, tick: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(tick.as_nanos().max(1))).unwrap_or(u64::MAX)
}

/// The first number of a context: of 48 bits, with room for 65536 a second until
/// a later start of baton could use one again.
pub(crate) fn first_id() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_secs()) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_between_a_tenth_of_a_millisecond_and_ten() -> anyhow::Result<()> {
        let second = ticks(Duration::from_secs(1))?;
        assert!((100..=10_000).contains(&second), "{second} ticks a second");
        Ok(())
    }

    #[test]
    fn part_of_a_tick_is_one() {
        assert_eq!(in_ticks(Duration::from_millis(9), Duration::from_millis(4)), 3);
        assert_eq!(in_ticks(Duration::MAX, Duration::from_millis(1)), u64::MAX);
    }
}
