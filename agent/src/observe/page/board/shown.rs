//! What the page draws: the sums of the last minutes, small enough to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use super::Board;
use super::losses::Row;
use super::window::{Node, Tally, WINDOW};
use crate::observe::flow::{FlowEvent, Notice};
use crate::observe::tree;

/// Most addresses that are drawn one by one, the busiest; and most pairs of nodes.
const MOST_PEERS: usize = 16;
const MOST_CALLS: usize = 300;

/// All that the page draws. The fields are what `page.js` reads.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// Since when it is watched (RFC 3339), and how many of the last seconds count.
    since: String,
    window_seconds: u64,
    totals: Totals,
    nodes: Vec<ShownNode>,
    calls: Vec<ShownCall>,
    /// Pairs of nodes for which there was no room.
    left_out: usize,
    losses: Vec<ShownLoss>,
    notices: Vec<ShownNotice>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    requests: u64,
    kept: u64,
    lost: u64,
    /// Flow events that nobody has.
    missed: u64,
}

#[derive(Debug, Serialize)]
struct ShownNode {
    id: String,
    name: String,
    kind: &'static str,
    runtimes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownCall {
    from: String,
    to: String,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Debug, Serialize)]
struct ShownLoss {
    id: u64,
    latest: String,
    count: u64,
    from: String,
    to: String,
    request: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct ShownNotice {
    time: String,
    about: String,
    message: String,
}

impl Node {
    /// What tells it from all others.
    fn id(&self) -> String {
        match self {
            Self::Workload(name) => format!("workload {name}"),
            Self::Peer(name) => format!("peer {name}"),
            Self::Clients => "clients".to_owned(),
            Self::Others => "others".to_owned(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Workload(_) => "workload",
            Self::Peer(_) => "peer",
            Self::Clients => "clients",
            Self::Others => "others",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Workload(name) | Self::Peer(name) => name,
            Self::Clients => "clients",
            Self::Others => "others",
        }
    }
}

impl Board {
    /// What is drawn `now`.
    pub(in crate::observe::page) fn shown(&mut self, now: Instant) -> Shown {
        let (calls, missed) = self.window.sum(now);
        let mut by_name: BTreeMap<(Node, Node), Tally> = BTreeMap::new();
        for ((from, to), tally) in calls {
            by_name.entry((from, self.by_name(&to))).or_default().add(&tally);
        }
        let (calls, left_out) = readable(by_name);
        let mut totals = Totals { missed, ..Totals::default() };
        for tally in calls.values() {
            totals.requests += tally.requests;
            totals.kept += tally.kept;
            totals.lost += tally.lost;
        }
        let nodes: BTreeSet<&Node> = calls.keys().flat_map(|(from, to)| [from, to]).collect();
        let drawn = |node: &Node| {
            let node = self.by_name(node);
            // What is not counted yet is not among the quiet ones either.
            if nodes.contains(&node) || !nodes.contains(&Node::Others) { node.id() } else { Node::Others.id() }
        };
        Shown {
            since: self.since.clone(),
            window_seconds: WINDOW.as_secs(),
            totals,
            left_out,
            losses: self.losses.rows().map(|row| shown_loss(row, drawn)).collect(),
            notices: self.notices.iter().map(shown_notice).collect(),
            nodes: nodes.iter().map(|node| self.shown_node(node)).collect(),
            calls: calls
                .iter()
                .map(|((from, to), tally)| ShownCall { from: from.id(), to: to.id(), tally: tally.clone() })
                .collect(),
        }
    }

    fn shown_node(&self, node: &Node) -> ShownNode {
        let runtimes = match node {
            Node::Workload(name) => self.runtimes.get(name).into_iter().flatten().cloned().collect(),
            _ => Vec::new(),
        };
        ShownNode { id: node.id(), name: node.name().to_owned(), kind: node.kind(), runtimes }
    }
}

fn shown_loss(row: &Row, drawn: impl Fn(&Node) -> String) -> ShownLoss {
    ShownLoss {
        id: row.id,
        latest: row.latest.clone(),
        count: row.count,
        from: drawn(&row.from),
        to: drawn(&row.to),
        request: tree::request(&FlowEvent { path: row.path.clone(), ..row.event.clone() }),
        reason: row.event.reason.as_deref().unwrap_or_default().to_owned(),
    }
}

fn shown_notice(notice: &Notice) -> ShownNotice {
    ShownNotice {
        time: notice.time.clone(),
        about: format!("{} {}", notice.object, notice.workload),
        message: notice.message.clone(),
    }
}

/// The same calls, with the less busy addresses as one node and without pairs beyond the most; and how many these are.
fn readable(calls: BTreeMap<(Node, Node), Tally>) -> (BTreeMap<(Node, Node), Tally>, usize) {
    let mut peers: BTreeMap<Node, u64> = BTreeMap::new();
    for ((_, to), tally) in &calls {
        if matches!(to, Node::Peer(_)) {
            *peers.entry(to.clone()).or_default() += tally.requests;
        }
    }
    let mut busiest: Vec<(Node, u64)> = peers.into_iter().collect();
    // Stable: of those that are as busy, the order of their names.
    busiest.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
    let quiet: BTreeSet<Node> = busiest.into_iter().skip(MOST_PEERS).map(|(node, _)| node).collect();
    let mut folded: BTreeMap<(Node, Node), Tally> = BTreeMap::new();
    for ((from, to), tally) in calls {
        let to = if quiet.contains(&to) { Node::Others } else { to };
        folded.entry((from, to)).or_default().add(&tally);
    }
    let left_out = folded.len().saturating_sub(MOST_CALLS);
    if left_out > 0 {
        let mut ranked: Vec<_> = folded.into_iter().collect();
        ranked.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.requests));
        ranked.truncate(MOST_CALLS);
        folded = ranked.into_iter().collect();
    }
    (folded, left_out)
}
