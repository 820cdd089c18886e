//! What the kernel side tells of processes, in the order in which it happened.

use std::collections::HashMap;

use baton_common::runtime::{Notice, notice};

/// `news` without what is out of date: of each process, what came since it began
/// to run its last program, or ended.
///
/// A container's first process runs several programs in a row, and what is
/// attached for one of them must not be taken away from the next while that runs.
pub(super) fn current(news: Vec<Notice>) -> Vec<Notice> {
    let begins = |found: &Notice| matches!(found.about, notice::STARTED | notice::ENDED);
    let last: HashMap<u32, usize> =
        news.iter().enumerate().filter(|(_, found)| begins(found)).map(|(at, found)| (found.tgid, at)).collect();
    let is_current = |at, found: &Notice| last.get(&found.tgid).is_none_or(|last| at >= *last);
    news.into_iter().enumerate().filter(|(at, found)| is_current(*at, found)).map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(tgid: u32, about: u32) -> Notice {
        Notice { tgid, about }
    }

    #[test]
    fn of_several_programs_in_a_row_the_last_one_counts() {
        let news = vec![
            of(1, notice::STARTED),
            of(2, notice::SERVES),
            of(1, notice::SERVES),
            of(1, notice::STARTED),
            of(3, notice::STARTED),
            of(1, notice::SERVES),
            of(3, notice::ENDED),
        ];
        let kept = [of(2, notice::SERVES), of(1, notice::STARTED), of(1, notice::SERVES), of(3, notice::ENDED)];
        assert_eq!(current(news), kept);
    }
}
