//! Connections of event loops that cannot be followed: nothing is carried there, and all that a look at a request's bytes
//! would give is the path and the names of a loss. So once a first request of a connection was looked at, the next ones
//! are only counted, as long as nobody watches.
//!
//! Where a message begins is then known from the turns that the two directions take: what is read after something was
//! written begins a request, and what is written after something was read. That is enough to count, and to tell somebody
//! who begins to watch what goes on; it is not enough to carry a context.

/// Values of [`Socket::skim`](crate::socket::Socket::skim).
pub mod stage {
    /// Every message is looked at.
    pub const NO: u8 = 0;
    /// An event loop that cannot be followed had the last request.
    pub const MAY: u8 = 1;
    /// Requests are only counted.
    pub const DOES: u8 = 2;
    /// They were, and are looked at again: nothing on this connection can have a context.
    pub const DID: u8 = 3;
}

/// What is known when a thread is about to read or write.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The thread drives an event loop that cannot be followed.
    pub loops: bool,
    /// Somebody wants to know of each request.
    pub watched: bool,
    /// The message before is complete, and seen to be. Of no interest while requests are only counted.
    pub between: bool,
    /// Bytes have passed in the other direction since the last request began.
    pub turned: bool,
}

/// What to do with what is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Look at it.
    Look,
    /// Look at it as at a message's beginning.
    Begin,
    /// Count a request.
    Count,
    /// It belongs to a request that was counted.
    Pass,
    /// Where messages begin is not known, and has to be.
    Lose,
}

/// What to do with what is read or written on a connection that stands at `before`, and where it stands then.
#[inline(always)]
#[must_use]
pub const fn judge(before: u8, moment: Moment) -> (Said, u8) {
    let Moment { loops, watched, between, turned } = moment;
    match before {
        stage::MAY if loops && !watched && between => (Said::Count, stage::DOES),
        stage::DOES | stage::DID if !loops => (Said::Lose, before),
        stage::DOES if !turned => (Said::Pass, stage::DOES),
        stage::DOES if watched => (Said::Begin, stage::DID),
        stage::DOES => (Said::Count, stage::DOES),
        stage::DID if !watched && between => (Said::Count, stage::DOES),
        _ => (Said::Look, before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [u8; 4] = [stage::NO, stage::MAY, stage::DOES, stage::DID];

    /// All that can be known.
    fn moments() -> impl Iterator<Item = Moment> {
        let bit = |bits: u8, number: u8| bits >> number & 1 == 1;
        (0..16).map(move |bits| Moment {
            loops: bit(bits, 0),
            watched: bit(bits, 1),
            between: bit(bits, 2),
            turned: bit(bits, 3),
        })
    }

    #[test]
    fn a_connection_that_was_only_counted_is_never_trusted_again() {
        for moment in moments().filter(|moment| !moment.loops) {
            for before in [stage::DOES, stage::DID] {
                assert_eq!(judge(before, moment), (Said::Lose, before), "{moment:?}");
            }
        }
        for moment in moments() {
            assert!(matches!(judge(stage::DID, moment).1, stage::DOES | stage::DID), "{moment:?}");
            assert!(matches!(judge(stage::DOES, moment).1, stage::DOES | stage::DID), "{moment:?}");
        }
    }

    #[test]
    fn others_are_looked_at() {
        for moment in moments() {
            assert_eq!(judge(stage::NO, moment), (Said::Look, stage::NO));
            let counts = moment.loops && !moment.watched && moment.between;
            let expected = if counts { (Said::Count, stage::DOES) } else { (Said::Look, stage::MAY) };
            assert_eq!(judge(stage::MAY, moment), expected, "{moment:?}");
        }
    }

    #[test]
    fn who_watches_sees_requests_from_their_beginning() {
        for before in STATES {
            for moment in moments().filter(|moment| moment.watched) {
                let (said, after) = judge(before, moment);
                assert_ne!(said, Said::Count);
                assert_eq!(said == Said::Begin, before == stage::DOES && moment.loops && moment.turned, "{moment:?}");
                assert_eq!(after == stage::DOES, before == stage::DOES && said != Said::Begin, "{moment:?}");
            }
        }
    }

    #[test]
    fn a_request_counts_once() {
        let moment = Moment { loops: true, watched: false, between: true, turned: true };
        let mut state = stage::MAY;
        let mut counted = 0;
        // Three requests of several pieces each.
        for turned in [true, false, false, true, false, true] {
            let (said, after) = judge(state, Moment { turned, ..moment });
            state = after;
            counted += u32::from(said == Said::Count);
        }
        assert_eq!((counted, state), (3, stage::DOES));
    }
}
