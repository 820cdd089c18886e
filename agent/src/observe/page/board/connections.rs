//! Which connections lead from one workload of this node to another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::observe::flow::FlowEvent;
use crate::observe::journey::is_unchanged;

/// Most addresses of one generation. There are two.
const MOST: usize = 4096;

/// Most connections from one address at a time: it may be used for several, to different destinations.
const MOST_ALIKE: usize = 4;

/// Time after which a connection of which nothing is heard may be forgotten.
const REST: Duration = Duration::from_secs(30);

/// The first request of a connection is read within this time after it was sent. What comes later is of another
/// connection from the same address.
const SOON: Duration = Duration::from_secs(10);

/// The caller's end of a connection, and its network namespace where that matters: loopback addresses are those of one
/// pod.
type Place = (SocketAddr, Option<Arc<str>>);

/// An outbound request's connection.
#[derive(Clone, Debug)]
pub(super) struct Key {
    place: Place,
    connection: String,
}

impl Key {
    /// That of the outbound request `event`, where it is known.
    pub(super) fn outbound(event: &FlowEvent) -> Option<Self> {
        let place = place(event.local.as_deref()?, event)?;
        Some(Self { place, connection: event.connection.clone()? })
    }
}

/// A connection that a workload has opened.
#[derive(Debug)]
struct Opened {
    connection: String,
    workload: Arc<str>,
    /// The address at which it arrives, if that is not changed on the way.
    to: Option<String>,
    seen: Instant,
    callee: Option<Accepted>,
    /// Whether the other end was waited for in vain.
    is_elsewhere: bool,
}

/// The other end.
#[derive(Debug)]
struct Accepted {
    workload: Arc<str>,
    connection: Option<String>,
}

/// Where an outbound request led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    /// To this workload.
    Workload(Arc<str>),
    /// Not to a workload of this node.
    Elsewhere,
    /// That may show when it is read.
    Unknown,
}

impl Opened {
    fn callee(&self) -> Callee {
        match &self.callee {
            Some(callee) => Callee::Workload(callee.workload.clone()),
            None if self.is_elsewhere => Callee::Elsewhere,
            None => Callee::Unknown,
        }
    }
}

/// Connections by the caller's address, the latest ones last.
#[derive(Debug)]
pub(super) struct Connections {
    young: HashMap<Place, Vec<Opened>>,
    old: HashMap<Place, Vec<Opened>>,
    renewed: Instant,
}

impl Connections {
    /// Knows none.
    pub(super) fn new(now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), renewed: now }
    }

    /// An outbound request of `workload` on the connection `key`. Returns where it led to, as far as that is known.
    pub(super) fn outbound(&mut self, key: &Key, event: &FlowEvent, workload: &Arc<str>, now: Instant) -> Callee {
        let from = self.from(&key.place);
        if let Some(opened) = from.iter_mut().find(|opened| opened.connection == key.connection) {
            opened.seen = now;
            return opened.callee();
        }
        if from.len() >= MOST_ALIKE {
            from.remove(0);
        }
        let connection = key.connection.clone();
        let to = is_unchanged(event).then(|| event.peer.clone());
        let workload = workload.clone();
        from.push(Opened { connection, workload, to, seen: now, callee: None, is_elsewhere: false });
        Callee::Unknown
    }

    /// An inbound request of `workload`. Returns the workload of this node that has sent it, if one has.
    pub(super) fn inbound(&mut self, event: &FlowEvent, workload: &Arc<str>, now: Instant) -> Option<Arc<str>> {
        let place = place(&event.peer, event)?;
        let is_known = |opened: &&Opened| {
            event.connection.is_some()
                && opened.callee.as_ref().is_some_and(|callee| callee.connection == event.connection)
        };
        // A request is sent before it is read.
        let from = self.young.get_mut(&place).or_else(|| self.old.get_mut(&place))?;
        if let Some(known) = from.iter().find(is_known) {
            return Some(known.workload.clone());
        }
        let is_it = |opened: &&mut Opened| {
            opened.callee.is_none()
                && now.saturating_duration_since(opened.seen) < SOON
                && (opened.to.is_none() || event.local.is_none() || opened.to == event.local)
        };
        let opened = from.iter_mut().rev().find(is_it)?;
        opened.callee = Some(Accepted { workload: workload.clone(), connection: event.connection.clone() });
        Some(opened.workload.clone())
    }

    /// Where an outbound request led to, as far as that is known by now.
    pub(super) fn callee(&self, key: &Key) -> Callee {
        let from = self.young.get(&key.place).or_else(|| self.old.get(&key.place));
        let opened = from.and_then(|from| from.iter().find(|opened| opened.connection == key.connection));
        opened.map_or(Callee::Elsewhere, Opened::callee)
    }

    /// Nobody on this node has read what was sent on this connection: later requests are not waited for.
    pub(super) fn give_up(&mut self, key: &Key) {
        let from = self.young.get_mut(&key.place).or_else(|| self.old.get_mut(&key.place));
        let connections = from.into_iter().flatten();
        connections.filter(|opened| opened.connection == key.connection).for_each(|opened| opened.is_elsewhere = true);
    }

    /// Forgets connections of which nothing is heard.
    pub(super) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.renewed) >= REST {
            self.renewed = now;
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn from(&mut self, place: &Place) -> &mut Vec<Opened> {
        if self.young.len() >= MOST && !self.young.contains_key(place) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = if self.young.contains_key(place) { None } else { self.old.remove(place) };
        self.young.entry(place.clone()).or_insert_with(|| before.unwrap_or_default())
    }
}

/// The same for both ends of a connection: see `journey::is_other_end`.
fn place(address: &str, event: &FlowEvent) -> Option<Place> {
    let address: SocketAddr = address.parse().ok()?;
    let is_of_pod = address.ip().to_canonical().is_loopback() && event.workload.contains('/');
    Some((address, is_of_pod.then(|| event.workload.as_str().into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::Kind;

    fn inbound(workload: &str, peer: &str, connection: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Inbound,
            workload: workload.to_owned(),
            peer: peer.to_owned(),
            connection: Some(connection.to_owned()),
            ..FlowEvent::default()
        }
    }

    fn outbound(workload: &str, local: &str, connection: &str) -> FlowEvent {
        FlowEvent {
            kind: Kind::Outbound,
            local: Some(local.to_owned()),
            ..inbound(workload, "10.0.0.9:80", connection)
        }
    }

    fn key(workload: &str, local: &str, connection: &str) -> Key {
        Key::outbound(&outbound(workload, local, connection)).expect("both ends")
    }

    fn to(workload: &str) -> Callee {
        Callee::Workload(workload.into())
    }

    /// Connections, and the time of an event.
    struct Seen(Connections, Instant);

    impl Seen {
        fn new() -> Self {
            let now = Instant::now();
            Self(Connections::new(now), now)
        }

        fn outbound(&mut self, workload: &str, local: &str, connection: &str) -> Callee {
            self.0.outbound(
                &key(workload, local, connection),
                &outbound(workload, local, connection),
                &workload.into(),
                self.1,
            )
        }

        fn inbound(&mut self, workload: &str, peer: &str, connection: &str) -> bool {
            self.0.inbound(&inbound(workload, peer, connection), &workload.into(), self.1).is_some()
        }

        fn callee(&self, workload: &str, local: &str, connection: &str) -> Callee {
            self.0.callee(&key(workload, local, connection))
        }
    }

    #[test]
    fn the_first_request_is_joined_when_it_is_read_and_later_ones_at_once() {
        let mut seen = Seen::new();
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "1"), Callee::Unknown);
        assert!(seen.inbound("b", "10.0.0.1:5", "2"));
        assert_eq!(seen.callee("a", "10.0.0.1:5", "1"), to("b"));
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "1"), to("b"));
        assert!(seen.inbound("b", "10.0.0.1:5", "2"));
        assert!(!seen.inbound("b", "10.0.0.7:5", "3"), "from outside");
    }

    #[test]
    fn an_address_that_is_used_again_is_of_another_connection() {
        let mut seen = Seen::new();
        seen.outbound("a", "10.0.0.1:5", "1");
        seen.inbound("b", "10.0.0.1:5", "2");
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "7"), Callee::Unknown);
        assert_eq!(seen.callee("a", "10.0.0.1:5", "7"), Callee::Unknown);
        assert_eq!(seen.callee("a", "10.0.0.1:5", "1"), to("b"));
        seen.1 += 2 * SOON;
        assert!(!seen.inbound("b", "10.0.0.1:5", "8"), "somebody else has the address by now");
    }

    #[test]
    fn nobody_is_waited_for_twice() {
        let mut seen = Seen::new();
        seen.outbound("a", "10.0.0.1:5", "1");
        seen.0.give_up(&key("a", "10.0.0.1:5", "1"));
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "1"), Callee::Elsewhere);
        assert!(seen.inbound("b", "10.0.0.1:5", "2"), "it was read after all");
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "1"), to("b"));
        assert_eq!(seen.outbound("a", "10.0.0.1:5", "7"), Callee::Unknown);
    }

    #[test]
    fn loopback_addresses_are_of_one_pod() {
        let mut seen = Seen::new();
        seen.outbound("shop/a", "127.0.0.1:5", "1");
        assert!(!seen.inbound("shop/b", "127.0.0.1:5", "2"));
        assert!(seen.inbound("shop/a", "127.0.0.1:5", "3"));
        seen.outbound("a", "127.0.0.1:5", "4");
        assert!(seen.inbound("b", "127.0.0.1:5", "5"));
    }

    #[test]
    fn one_address_may_be_used_for_two_destinations() {
        let mut seen = Seen::new();
        let mut send = |peer: &str, connection: &str| {
            let event = FlowEvent { peer: peer.to_owned(), ..outbound("a", "127.0.0.1:5", connection) };
            seen.0.outbound(&key("a", "127.0.0.1:5", connection), &event, &"a".into(), seen.1)
        };
        assert_eq!((send("127.0.0.1:80", "1"), send("127.0.0.1:81", "2")), (Callee::Unknown, Callee::Unknown));
        let read = |local: &str| FlowEvent { local: Some(local.to_owned()), ..inbound("b", "127.0.0.1:5", local) };
        assert!(seen.0.inbound(&read("127.0.0.1:90"), &"b".into(), seen.1).is_none(), "a client with the same address");
        assert_eq!(seen.0.inbound(&read("127.0.0.1:80"), &"b".into(), seen.1).as_deref(), Some("a"));
        assert_eq!(seen.callee("a", "127.0.0.1:5", "1"), to("b"));
        assert_eq!(seen.callee("a", "127.0.0.1:5", "2"), Callee::Unknown);
    }

    #[test]
    fn no_more_connections_are_kept_than_there_is_room_for() {
        let mut seen = Seen::new();
        for port in 0..u16::MAX {
            seen.outbound("a", &format!("10.0.0.1:{port}"), &port.to_string());
        }
        assert!(seen.0.young.len() + seen.0.old.len() <= 2 * MOST);
        seen.1 += REST;
        seen.0.tick(seen.1);
        seen.1 += REST;
        seen.0.tick(seen.1);
        assert!(seen.0.young.is_empty() && seen.0.old.is_empty());
    }
}
