//! One request's way through this node, from its flow events.
//!
//! An outbound request belongs to the inbound one whose context it has, unless
//! that is a guess. The hop that it leads to is the inbound request on the other
//! end of its connection. Where addresses are changed on the way (a proxy, source
//! NAT), it is the only one with the same path and all that was inserted, if no
//! other outbound request can have led there.

mod builder;
#[cfg(test)]
mod tests;

use serde::Serialize;

use self::builder::Builder;
pub(super) use self::builder::{DEEPEST, is_guess, is_other_end, is_unchanged};
use super::flow::FlowEvent;
use super::neighbour::Neighbour;

/// An inbound request, and what it caused.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hop<'a> {
    /// The request.
    pub(crate) inbound: &'a FlowEvent,
    /// Its response, if it was seen.
    pub(crate) response: Option<&'a FlowEvent>,
    /// That its connection is not followed from there on, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) given_up: Option<&'a FlowEvent>,
    /// The first hop: the outbound request that it was before, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent_by: Option<&'a FlowEvent>,
    /// The first hop: who sent it, if that is a process of this machine that is not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sender: Option<Neighbour>,
    /// What it certainly caused.
    pub(crate) calls: Vec<Call<'a>>,
    /// What its process, or one without requests of its own in its workload, sent meanwhile without a certain context.
    pub(crate) perhaps: Vec<Call<'a>>,
    /// So many more are perhaps of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) left_out: usize,
}

/// An outbound request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Call<'a> {
    /// The request.
    pub(crate) outbound: &'a FlowEvent,
    /// Its response, if it was seen.
    pub(crate) response: Option<&'a FlowEvent>,
    /// How it is known where it led to.
    pub(crate) joined_by: Option<Join>,
    /// Where it led to, if that is on this node and followed.
    pub(crate) next: Option<Box<Hop<'a>>>,
    /// Who got it, if that is a process of this machine of which no flow event tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receiver: Option<Neighbour>,
}

/// What an outbound request and the inbound one that it became have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Join {
    /// The connection: certain.
    Connection,
    /// The path and the values: likely.
    Value,
}

/// The journey of the inbound request `at` of `events`, which are in the order of their times. It begins with the first
/// request that certainly led there.
pub(crate) fn of(events: &[FlowEvent], at: usize) -> Option<Hop<'_>> {
    let mut builder = Builder::new(events);
    let (first, sent_by) = builder.climb(at)?;
    let mut hop = builder.hop(first)?;
    hop.sent_by = sent_by;
    Some(hop)
}

impl<'a> Hop<'a> {
    /// The last that was said of the inbound request.
    pub(crate) fn last(&self) -> &'a FlowEvent {
        self.given_up.unwrap_or(self.inbound)
    }

    /// All that it caused, and all that it may have caused: whether that is certain, and what.
    pub(crate) fn all(&self) -> impl Iterator<Item = (bool, &Call<'a>)> {
        self.calls.iter().map(|call| (true, call)).chain(self.perhaps.iter().map(|call| (false, call)))
    }

    /// Asks `who` about the other ends of what led nowhere.
    pub(crate) fn look_around(&mut self, who: &mut impl FnMut(&FlowEvent) -> Option<Neighbour>) {
        for call in self.calls.iter_mut().chain(&mut self.perhaps) {
            match &mut call.next {
                Some(next) => next.look_around(who),
                None => call.receiver = who(call.outbound),
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
