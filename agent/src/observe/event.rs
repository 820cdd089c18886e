//! Flow events, from the kernel side's records to what users read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use baton_common::flow::{Carrying, Event, Executor, Reason, Verdict, kind};
use baton_common::limits::MAX_PATH;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::flow::{FlowEvent, Kind, is_name};
use super::names::Names;
use super::open::Open;
use super::processes::{Process, Processes};
use crate::config::addresses::readable;
use crate::config::headers::Headers;
use crate::datapath::pod;
use crate::datapath::workload::Workloads;

/// Reads flow events out of the ring buffer.
pub(crate) struct Reader {
    events: RingBuf<MapData>,
    headers: Headers,
    processes: Processes,
    /// Where a cluster has some.
    names: Option<Names>,
    open: Open,
}

impl Reader {
    /// Reads `events`, whose bits stand for `headers`.
    pub(crate) fn new(events: RingBuf<MapData>, headers: &Headers) -> Self {
        Self { events, headers: headers.clone(), processes: Processes::default(), names: None, open: Open::default() }
    }

    /// The bits stand for `headers` from now on.
    pub(crate) fn set_headers(&mut self, headers: &Headers) {
        self.headers = headers.clone();
    }

    /// Containers and peers have `names`.
    pub(crate) fn set_names(&mut self, names: Names) {
        self.names = Some(names);
    }

    /// Forgets what is there, and what was: nobody has watched for a while.
    pub(crate) fn begin(&mut self) {
        while self.events.next().is_some() {}
        self.open = Open::default();
    }

    /// Hands all flow events that are there to `sink`.
    ///
    /// # Errors
    /// If the clock cannot be read, or what `sink` says.
    pub(crate) fn read(
        &mut self,
        workloads: &Workloads,
        mut sink: impl FnMut(&FlowEvent) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let zero = Zero::now()?;
        while let Some(item) = self.events.next() {
            let (response, event, carrying) = (pod::record(&item), pod::record(&item), pod::record(&item));
            drop(item);
            if let Some(response) = response {
                self.open.answer(&response, &zero).into_iter().try_for_each(|event| sink(&event))?;
                continue;
            }
            let carrying: Option<Carrying> = carrying;
            let Some(event) = event.or_else(|| Some(carrying.as_ref()?.event)) else { continue };
            let process = self.processes.of(event.tgid);
            let mut shown = flow_event(&event, &zero, workloads.name(event.workload), &process, &self.headers);
            if let Some(names) = &self.names {
                shown.container = process.container.and_then(|id| names.container(&id));
                shown.peer_name = (event.peer != [0; 16]).then(|| names.address(readable(event.peer))).flatten();
            }
            if let Some(carrying) = carrying {
                shown.values = values(&carrying);
                // The record has those, too, that other workloads carry.
                shown.values.retain(|found, _| shown.headers.iter().any(|name| is_name(name, found)));
            }
            sink(&shown)?;
            self.open.add(&event, shown);
        }
        Ok(())
    }
}

/// Values by name, as far as the record has room for them.
fn values(carrying: &Carrying) -> BTreeMap<String, String> {
    let bytes: Vec<u8> = carrying.lines.iter().flat_map(|word| word.to_le_bytes()).collect();
    let used = bytes.len().min(usize::try_from(carrying.lines_len).unwrap_or(usize::MAX));
    let mut values = BTreeMap::new();
    for line in bytes[..used].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\r\n")) {
        let line = text(line.trim_ascii_end());
        if let Some((name, value)) = line.split_once(": ") {
            // As RFC 9110 §5.3 joins them.
            values
                .entry(name.to_owned())
                .and_modify(|before: &mut String| before.push_str(&format!(", {value}")))
                .or_insert_with(|| value.to_owned());
        }
    }
    values
}

/// The time, in nanoseconds since 1970, at which the monotonic clock was zero.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Zero(i128);

impl Zero {
    /// As the clocks say now.
    fn now() -> anyhow::Result<Self> {
        let read = |clock| -> anyhow::Result<i128> {
            let time = clock_gettime(clock).context("failed to read the clock")?;
            Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
        };
        Ok(Self(read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_MONOTONIC)?))
    }

    /// A moment of the monotonic clock, in nanoseconds, as people write it (RFC 3339).
    pub(crate) fn time(&self, moment: u64) -> String {
        // A moment outside of what a Timestamp holds is no moment.
        let time = Timestamp::from_nanosecond(self.0 + i128::from(moment)).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{time:.6}")
    }
}

fn flow_event(event: &Event, zero: &Zero, workload: &str, process: &Process, headers: &Headers) -> FlowEvent {
    let outbound = event.kind == kind::OUTBOUND;
    let reason = Reason::from_raw(event.reason);
    FlowEvent {
        time: zero.time(event.time),
        kind: if outbound { Kind::Outbound } else { Kind::Inbound },
        workload: workload.to_owned(),
        pid: event.tgid,
        tid: event.tid,
        comm: text(&event.comm),
        runtime: Cow::Borrowed(process.runtime),
        executor: Some(Cow::Borrowed(Executor::from_raw(event.executor as u8).name())),
        method: text(&event.method.to_le_bytes()),
        path: path(event),
        peer: peer(event),
        local: (event.local_port != 0).then(|| address(event.local, event.local_port)),
        connection: (event.cookie != 0).then(|| format!("{:x}", event.cookie)),
        headers: headers.of_bits(event.names).into_iter().map(str::to_owned).collect(),
        verdict: outbound.then(|| Cow::Borrowed(Verdict::from_raw(event.verdict).name())),
        reason: (reason != Reason::None).then(|| Cow::Borrowed(reason.name())),
        context: if event.context == 0 { None } else { Some(format!("{:016x}", event.context)) },
        ..FlowEvent::default()
    }
}

/// The other end; a Unix socket has no address.
fn peer(event: &Event) -> String {
    if event.peer == [0; 16] && event.peer_port == 0 {
        return "unix".to_owned();
    }
    address(event.peer, event.peer_port)
}

fn address(address: [u8; 16], port: u16) -> String {
    SocketAddr::new(readable(address), port).to_string()
}

/// The request target without its query: queries hold what is private.
fn path(event: &Event) -> String {
    let bytes: Vec<u8> = event.path.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = text(&bytes[..bytes.len().min(usize::from(event.path_len)).min(MAX_PATH)]);
    path.split('?').next().unwrap_or_default().to_owned()
}

/// Bytes up to the first zero, with what cannot be shown replaced.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|shown| if shown.is_control() { '\u{fffd}' } else { shown }).collect()
}
