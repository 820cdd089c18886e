//! The median of some numbers, and how sure it is.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    /// Bounds between which the true median is in 95 of 100 cases, whatever the numbers' distribution: order statistics
    /// whose ranks are 1.96 standard deviations of the binomial distribution away from the middle. All numbers where
    /// there are few.
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    /// None where there are no numbers.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let away = (0.98 * (numbers.len() as f64).sqrt()).ceil() as usize;
        let (low, high) =
            (*numbers.get(middle.saturating_sub(away))?, *numbers.get((middle + away).min(numbers.len() - 1))?);
        let median =
            if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 };
        Some(Self { median, low, high })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = out.precision().unwrap_or(3);
        write!(out, "{:.precision$} ({:.precision$}–{:.precision$})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        let hundred = Spread::of((1..=100).map(f64::from));
        assert_eq!(hundred, Some(Spread { median: 50.5, low: 41.0, high: 61.0 }));
    }
}
