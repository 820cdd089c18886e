//! Reads flow events onto the board, beside what draws it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use super::board::{Board, End};
use crate::cli::Filter;
use crate::observe::flow::Record;
use crate::observe::source::Source;

/// A board that somebody else writes on.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Board>>);

impl Shared {
    /// The board, for a moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When something came, since the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    /// Now.
    Live(Instant),
    /// When it was recorded: after this moment, which is that of the first flow event.
    Recorded(Option<Timestamp>, Duration),
}

impl Clock {
    /// Of a file, or of a daemon.
    pub(super) fn new(is_recorded: bool) -> Self {
        if is_recorded { Self::Recorded(None, Duration::ZERO) } else { Self::Live(Instant::now()) }
    }

    /// The moment of `record`. What has no time of its own has that of what was before.
    fn of(&mut self, record: &Record) -> Duration {
        match self {
            Self::Live(start) => start.elapsed(),
            Self::Recorded(first, last) => {
                let time = match record {
                    Record::Flow(event) => event.time.parse::<Timestamp>().ok(),
                    _ => None,
                };
                if let Some(time) = time {
                    let since = time.duration_since(*first.get_or_insert(time));
                    *last = Duration::try_from(since).unwrap_or_default();
                }
                *last
            }
        }
    }
}

/// Reads what `source` has and `filter` lets pass, until it ends. The process may end before.
///
/// # Errors
/// If there can be no more threads.
pub(super) fn start(mut source: Source, filter: Filter, mut clock: Clock) -> anyhow::Result<Shared> {
    let shared = Shared(Arc::new(Mutex::new(Board::new(!source.is_live()))));
    let board = shared.clone();
    let read = move || {
        let end = loop {
            match source.next() {
                Ok(Some((_, record))) if filter.passes(&record) => {
                    let at = clock.of(&record);
                    board.lock().add(record, at);
                }
                Ok(Some(_)) => {}
                Ok(None) => break End::Over,
                Err(error) => break End::Failed(format!("{error:#}")),
            }
        };
        board.lock().end(end);
    };
    std::thread::Builder::new().name("feed".to_owned()).spawn(read).context("failed to start a thread")?;
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::FlowEvent;
    use crate::observe::flow::tests::lost;

    #[test]
    fn recorded_times_count_from_the_first() {
        let mut clock = Clock::new(true);
        let flow = |time: &str| Record::Flow(Box::new(FlowEvent { time: time.to_owned(), ..lost() }));
        let moments = [
            Record::Missed(1),
            flow("2026-01-02T03:04:05.678901Z"),
            flow("2026-01-02T03:04:07.678901Z"),
            Record::Missed(1),
            flow("no time"),
            flow("2026-01-02T03:04:00Z"),
        ]
        .map(|record| clock.of(&record).as_secs());
        assert_eq!(moments, [0, 0, 2, 2, 2, 0]);
    }
}
