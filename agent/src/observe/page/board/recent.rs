//! The flow events of the last moments, from which journeys are told.

use std::collections::VecDeque;

use crate::observe::flow::FlowEvent;

/// Most of them: some 4 MB.
pub(super) const MOST: usize = 4096;

/// How far an event is looked back for its place: a response may come a little late.
const FURTHEST: usize = 256;

/// Flow events in the order of their times.
#[derive(Debug, Default)]
pub(super) struct Recent {
    events: VecDeque<FlowEvent>,
    /// How many there ever were.
    pushed: u64,
}

impl Recent {
    /// Takes the next.
    pub(super) fn push(&mut self, event: FlowEvent) {
        if self.events.len() >= MOST {
            self.events.pop_front();
        }
        let later = self.events.iter().rev().take(FURTHEST).take_while(|other| other.time > event.time).count();
        self.events.insert(self.events.len() - later, event);
        self.pushed += 1;
    }

    /// How many there ever were.
    pub(super) const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// All that are kept.
    pub(super) fn events(&mut self) -> &[FlowEvent] {
        self.events.make_contiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order_and_not_too_many() {
        let mut recent = Recent::default();
        for number in 0..2 * MOST {
            // Every third comes one too late.
            let number = if number % 3 == 1 {
                number + 1
            } else if number % 3 == 2 {
                number - 1
            } else {
                number
            };
            recent.push(FlowEvent { time: format!("{number:09}"), ..FlowEvent::default() });
        }
        let events = recent.events();
        assert_eq!(events.len(), MOST);
        assert!(events.is_sorted_by(|one, other| one.time <= other.time));
        assert_eq!(recent.pushed(), 2 * MOST as u64);
    }
}
