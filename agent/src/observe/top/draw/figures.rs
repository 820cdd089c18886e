//! Numbers and names in little room.

use std::time::Duration;

use crate::observe::top::workload::Reasons;

/// A count in at most six characters.
pub(super) fn count(count: u64) -> String {
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..10_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

/// So many a second.
pub(super) fn rate(rate: f64) -> String {
    if rate < 999.95 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

/// A share between 0 and 1. What is not all does not look like it.
pub(super) fn share(share: f64) -> String {
    let percent = if share < 1.0 { (share * 100.0).min(99.9) } else { 100.0 };
    format!("{percent:.1} %")
}

/// A time, to two digits or so.
pub(super) fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        millis if millis < 9.95 => format!("{millis:.1} ms"),
        millis if millis < 999.5 => format!("{millis:.0} ms"),
        millis => format!("{:.1} s", millis / 1000.0),
    }
}

/// Losses by reason, the most frequent first.
pub(super) fn reasons(reasons: &Reasons) -> String {
    let mut all: Vec<_> = reasons.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    all.into_iter().map(|(reason, number)| format!("{reason} {}", count(*number))).collect::<Vec<_>>().join(", ")
}

/// A name in `width` columns. Its end tells more than its beginning: pods of one deployment have that in common.
pub(super) fn name(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - width.max(1)).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_little_room() {
        assert_eq!([0, 999_999, 1_234_567, u64::MAX].map(count)[..3], ["0", "999999", "1.2M"]);
        assert_eq!([0.0, 0.04, 99.95, 999.96, 12_345.6].map(rate), ["0.0", "0.0", "100.0", "1000", "12346"]);
        assert_eq!([0.0, 0.5, 0.99999, 1.0].map(share), ["0.0 %", "50.0 %", "99.9 %", "100.0 %"]);
        let times = [40, 1_234, 9_949, 99_400, 999_600, 61_000_000].map(|time| self::time(Duration::from_micros(time)));
        assert_eq!(times, ["0.0 ms", "1.2 ms", "9.9 ms", "99 ms", "1.0 s", "61.0 s"]);
    }

    #[test]
    fn the_most_frequent_reason_is_first() {
        let all = [("ambiguous".to_owned(), 2), ("no-context".to_owned(), 30)].into();
        assert_eq!(reasons(&all), "no-context 30, ambiguous 2");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(
            [(5, "shop/"), (4, "…op/"), (1, "…"), (0, "…")].map(|(width, _)| name("shop/", width)),
            ["shop/", "…op/", "…", "…"]
        );
    }
}
