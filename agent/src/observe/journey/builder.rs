//! Puts a journey together.

use std::collections::HashSet;
use std::net::SocketAddr;

use baton_common::flow::Reason;

use super::{Call, Hop, Join};
use crate::observe::flow::{FlowEvent, Kind};

/// Hops below one another at most.
pub(in crate::observe) const DEEPEST: usize = 32;

/// Most outbound requests of one hop that are only perhaps of it.
const MOST_GUESSES: usize = 20;

/// Losses whose context, if they have one, is that of some request which the thread or connection once had.
const GUESSES: [Reason; 4] = [Reason::NoContext, Reason::Ambiguous, Reason::UnsupportedRuntime, Reason::Answered];

/// The flow events that a journey is made of.
pub(super) struct Builder<'a> {
    events: &'a [FlowEvent],
    /// Inbound requests that have their place.
    used: HashSet<usize>,
    /// Processes that have read requests, with their workloads.
    readers: HashSet<(u32, &'a str)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(events: &'a [FlowEvent]) -> Self {
        let inbound = events.iter().filter(|event| event.kind == Kind::Inbound);
        let readers = inbound.map(|event| (event.pid, event.workload.as_str())).collect();
        Self { events, used: HashSet::new(), readers }
    }

    /// The first request that led to the inbound one `at`; and what that was sent as, where its cause is not known.
    pub(super) fn climb(&self, mut at: usize) -> Option<(usize, Option<&'a FlowEvent>)> {
        let event_at = |at: usize| self.events.get(at).filter(|event| event.kind == Kind::Inbound);
        event_at(at)?;
        for _ in 0..DEEPEST {
            let Some(sent_by) = self.sent_as(at) else { return Some((at, None)) };
            let outbound = &self.events[sent_by];
            let cause = self.events[..sent_by].iter().rposition(|event| {
                event.kind == Kind::Inbound && event.context.is_some() && event.context == outbound.context
            });
            match cause.filter(|_| !is_guess(outbound)) {
                Some(cause) => at = cause,
                None => return Some((at, Some(outbound))),
            }
        }
        Some((at, None))
    }

    /// The outbound request that became the inbound one `at`.
    fn sent_as(&self, at: usize) -> Option<usize> {
        let inbound = &self.events[at];
        let found = self.events[..at].iter().rposition(|event| is_other_end(event, inbound))?;
        (self.end(found) > at).then_some(found)
    }

    pub(super) fn hop(&mut self, at: usize) -> Option<Hop<'a>> {
        self.hop_at(at, DEEPEST)
    }

    fn hop_at(&mut self, at: usize, depth: usize) -> Option<Hop<'a>> {
        let inbound = self.events.get(at).filter(|event| event.kind == Kind::Inbound)?;
        if depth == 0 || !self.used.insert(at) {
            return None;
        }
        let (response, given_up) = (self.response(at), self.given_up(at));
        let (mut certain, mut likely, mut possible) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_over = false;
        for (place, event) in self.events.iter().enumerate().skip(at + 1) {
            // Without a response, it is over when its thread reads another request.
            is_over |= Some(place) == response
                || response.is_none()
                    && event.kind == Kind::Inbound
                    && Some(place) != given_up
                    && (event.tid, &event.workload) == (inbound.tid, &inbound.workload);
            if event.kind != Kind::Outbound {
                continue;
            }
            match inbound.context.is_some() && event.context == inbound.context {
                true if !is_guess(event) => certain.push(place),
                true => likely.push(place),
                false if !is_over && self.may_be_of(event, inbound) => possible.push(place),
                false => {}
            }
        }
        let perhaps = [likely, possible].concat();
        let left_out = perhaps.len().saturating_sub(MOST_GUESSES);
        let mut calls_of = |places: Vec<usize>| -> Vec<Call<'a>> {
            places.into_iter().map(|place| self.call(place, inbound, depth)).collect()
        };
        let calls = calls_of(certain);
        let mut perhaps = calls_of(perhaps.into_iter().take(MOST_GUESSES).collect());
        perhaps.sort_by(|one, other| one.outbound.time.cmp(&other.outbound.time));
        let [response, given_up] = [response, given_up].map(|place| place.map(|place| &self.events[place]));
        Some(Hop { inbound, response, given_up, sent_by: None, sender: None, calls, perhaps, left_out })
    }

    /// Whether `outbound`, whose cause is not certain, was sent by the process that read `inbound`, or by one that has
    /// no requests of its own: a program that was started.
    fn may_be_of(&self, outbound: &FlowEvent, inbound: &FlowEvent) -> bool {
        (outbound.context.is_none() || is_guess(outbound))
            && outbound.workload == inbound.workload
            && (outbound.pid == inbound.pid || !self.readers.contains(&(outbound.pid, outbound.workload.as_str())))
    }

    fn call(&mut self, at: usize, inbound: &FlowEvent, depth: usize) -> Call<'a> {
        let outbound = &self.events[at];
        let by_connection = self.led_to(at, |other| is_other_end(outbound, other)).into_iter().next();
        let next = by_connection.map(|next| (Join::Connection, next)).or_else(|| {
            let found = self.led_to(at, |other| is_alike(outbound, inbound, other));
            // Of two, it could be either.
            let [only] = found[..] else { return None };
            (!self.has_another_origin(only, at)).then_some((Join::Value, only))
        });
        let hop = next.and_then(|(join, next)| Some((join, self.hop_at(next, depth - 1)?)));
        let (joined_by, next) = hop.map(|(join, hop)| (join, Box::new(hop))).unzip();
        let response = self.response(at).map(|place| &self.events[place]);
        Call { outbound, response, joined_by, next, receiver: None }
    }

    /// The inbound requests in the time of the outbound one `at` that are like that: the first two.
    fn led_to(&self, at: usize, is_it: impl Fn(&FlowEvent) -> bool) -> Vec<usize> {
        (at + 1..self.end(at))
            .filter(|place| {
                let other = &self.events[*place];
                other.kind == Kind::Inbound && !self.used.contains(place) && is_it(other)
            })
            .take(2)
            .collect()
    }

    /// Whether the inbound request `candidate` is, or may as well be, what another outbound request than `at` became.
    fn has_another_origin(&self, candidate: usize, at: usize) -> bool {
        let inbound = &self.events[candidate];
        self.events[..candidate].iter().enumerate().any(|(place, outbound)| {
            if place == at || outbound.kind != Kind::Outbound {
                return false;
            }
            let cause = || {
                let is_cause = |event: &&FlowEvent| {
                    event.kind == Kind::Inbound && event.context.is_some() && event.context == outbound.context
                };
                self.events[..place].iter().rev().find(is_cause)
            };
            (is_other_end(outbound, inbound)
                || !outbound.headers.is_empty()
                    && outbound.path == inbound.path
                    && cause().is_none_or(|cause| is_alike(outbound, cause, inbound)))
                && self.end(place) > candidate
        })
    }

    /// The place of the response to the request `at`.
    fn response(&self, at: usize) -> Option<usize> {
        let next = self.events.get(self.end(at))?;
        (next.kind == Kind::Response && next.answers == Some(self.events[at].kind)).then(|| self.end(at))
    }

    /// The place of the word that the connection of the inbound request `at` is not followed any more, since that one.
    fn given_up(&self, at: usize) -> Option<usize> {
        let next = self.events.get(self.end(at))?;
        let is_word = next.kind == Kind::Inbound && next.context.is_none() && next.reason.is_some();
        is_word.then(|| self.end(at))
    }

    /// Where the time of the request `at` ends: with the next that its connection is seen to do, which is its response,
    /// or another request after that.
    fn end(&self, at: usize) -> usize {
        let connection = &self.events[at].connection;
        let mut later = self.events.iter().skip(at + 1);
        let next = connection.as_ref().and_then(|_| later.position(|event| event.connection == *connection));
        next.map_or(self.events.len(), |next| at + 1 + next)
    }
}

/// Whether the context of an outbound request does not say that the request of this context caused it.
pub(in crate::observe) fn is_guess(outbound: &FlowEvent) -> bool {
    let reason = outbound.reason.as_deref();
    outbound.verdict.as_deref() == Some("lost") && GUESSES.iter().any(|guess| reason == Some(guess.name()))
}

/// Whether `inbound` has the path of `outbound` and all values that were inserted, which are those of its `cause`. What
/// comes to the same workload is rather a request like `cause`: one value is in many of them.
fn is_alike(outbound: &FlowEvent, cause: &FlowEvent, inbound: &FlowEvent) -> bool {
    let carries = |name: &String| cause.values.contains_key(name) && inbound.values.get(name) == cause.values.get(name);
    !outbound.headers.is_empty()
        && inbound.workload != outbound.workload
        && inbound.path == outbound.path
        && outbound.headers.iter().all(carries)
}

/// Whether `inbound` came over the connection on which `outbound` went. Loopback addresses are of one network namespace,
/// in Kubernetes of one pod.
pub(in crate::observe) fn is_other_end(outbound: &FlowEvent, inbound: &FlowEvent) -> bool {
    if outbound.kind != Kind::Outbound {
        return false;
    }
    // Both are written in the same way; to parse each of many would take long.
    let Some(local) = outbound.local.as_ref().filter(|local| **local == inbound.peer) else { return false };
    let Ok(local) = local.parse::<SocketAddr>() else { return false };
    let is_pod = |event: &FlowEvent| event.workload.contains('/');
    let arrives = !is_unchanged(outbound) || inbound.local.as_ref().is_none_or(|local| *local == outbound.peer);
    inbound.peer.parse() == Ok(local)
        && arrives
        && (!local.ip().to_canonical().is_loopback()
            || outbound.workload == inbound.workload
            || !is_pod(outbound) && !is_pod(inbound))
}

/// Whether a request arrives at the address that it was sent to: that of a service may be changed on the way. The same
/// address and port may send to several others.
pub(in crate::observe) fn is_unchanged(outbound: &FlowEvent) -> bool {
    let is_loopback = |peer: SocketAddr| peer.ip().to_canonical().is_loopback();
    let is_pod = |name: &String| !name.starts_with("service ");
    outbound.peer.parse().is_ok_and(is_loopback) || outbound.peer_name.as_ref().is_some_and(is_pod)
}
