//! How many requests a second there were of late.

use std::time::Duration;

/// Length of one bucket.
const BUCKET: Duration = Duration::from_millis(500);

/// Complete buckets that count: five seconds.
const COMPLETE: u64 = 10;

const SLOTS: usize = COMPLETE as usize + 1;

/// Counts of the last five seconds, and of the half second that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    counts: [u32; SLOTS],
    /// Number of the newest bucket.
    newest: u64,
}

impl Window {
    /// Counts one at the moment `at`.
    pub(super) fn add(&mut self, at: Duration) {
        self.advance(number(at));
        let slot = &mut self.counts[self.newest as usize % SLOTS];
        *slot = slot.saturating_add(1);
    }

    /// How many a second there were until `now`, in the last five seconds; at the beginning in those since, and at least in one.
    pub(super) fn per_second(&self, now: Duration) -> f64 {
        let current = number(now).max(self.newest);
        let oldest = current.saturating_sub(COMPLETE);
        let is_inside = |bucket: &u64| (oldest..=current).contains(bucket);
        let buckets = (self.newest.saturating_sub(COMPLETE)..=self.newest).filter(is_inside);
        let count: u64 = buckets.map(|bucket| u64::from(self.counts[bucket as usize % SLOTS])).sum();
        let covered = now.saturating_sub(BUCKET * u32::try_from(oldest).unwrap_or(u32::MAX));
        count as f64 / covered.as_secs_f64().max(1.0)
    }

    /// Makes `number` the newest bucket, unless it is older.
    fn advance(&mut self, number: u64) {
        if number.saturating_sub(self.newest) > COMPLETE {
            self.counts = Default::default();
        } else {
            (self.newest + 1..=number).for_each(|bucket| self.counts[bucket as usize % SLOTS] = 0);
        }
        self.newest = self.newest.max(number);
    }
}

fn number(at: Duration) -> u64 {
    u64::try_from(at.as_millis() / BUCKET.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_steady_rate_is_found() {
        let mut window = Window::default();
        for moment in (0..60_000).step_by(100) {
            window.add(at(moment));
        }
        assert!((window.per_second(at(60_000)) - 10.0).abs() < 0.5, "{}", window.per_second(at(60_000)));
    }

    #[test]
    fn a_rate_falls_when_no_more_comes() {
        let mut window = Window::default();
        (0..100).for_each(|_| window.add(at(10_000)));
        let rates: Vec<f64> = [10_000, 12_000, 15_400, 16_000].map(|now| window.per_second(at(now))).to_vec();
        assert!((rates[0] - 20.0).abs() < 0.1 && rates[2] < rates[1] && rates[2] > 0.0, "{rates:?}");
        assert!(rates[3] == 0.0, "{rates:?}");
    }

    #[test]
    fn the_beginning_is_not_exaggerated() {
        let mut window = Window::default();
        window.add(at(1));
        assert!((window.per_second(at(2)) - 1.0).abs() < 0.01);
        assert!((window.per_second(at(2000)) - 0.5).abs() < 0.01);
    }

    #[test]
    fn what_comes_late_counts_now() {
        let mut window = Window::default();
        window.add(at(9000));
        window.add(at(3000));
        assert!((window.per_second(at(9000)) - 0.4).abs() < 0.05, "{}", window.per_second(at(9000)));
    }
}
