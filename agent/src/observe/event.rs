//! Flow events, from the kernel side's records to what users read.

use std::borrow::Cow;
use std::net::SocketAddr;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use baton_common::flow::{Event, Reason, Verdict, kind};
use baton_common::limits::MAX_PATH;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::flow::{FlowEvent, Kind};
use super::runtime::Runtimes;
use crate::config::addresses::readable;
use crate::config::headers::Headers;
use crate::datapath::pod;
use crate::datapath::workload::Workloads;

/// Reads flow events out of the ring buffer.
pub(crate) struct Reader {
    events: RingBuf<MapData>,
    headers: Headers,
    runtimes: Runtimes,
}

impl Reader {
    /// Reads `events`, whose bits stand for `headers`.
    pub(crate) fn new(events: RingBuf<MapData>, headers: &Headers) -> Self {
        Self { events, headers: headers.clone(), runtimes: Runtimes::default() }
    }

    /// The bits stand for `headers` from now on.
    pub(crate) fn set_headers(&mut self, headers: &Headers) {
        self.headers = headers.clone();
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
        let boot = monotonic_zero()?;
        while let Some(item) = self.events.next() {
            let Some(event) = pod::event(&item) else { continue };
            drop(item);
            let runtime = self.runtimes.of(event.tgid);
            sink(&flow_event(&event, boot, workloads.name(event.workload), runtime, &self.headers))?;
        }
        Ok(())
    }
}

/// The time, in nanoseconds since 1970, at which the monotonic clock was zero.
fn monotonic_zero() -> anyhow::Result<i128> {
    let read = |clock| -> anyhow::Result<i128> {
        let time = clock_gettime(clock).context("failed to read the clock")?;
        Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    Ok(read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_MONOTONIC)?)
}

fn flow_event(event: &Event, zero: i128, workload: &str, runtime: &'static str, headers: &Headers) -> FlowEvent {
    let outbound = event.kind == kind::OUTBOUND;
    let reason = Reason::from_raw(event.reason);
    // A moment outside of what a Timestamp holds is no moment.
    let time = Timestamp::from_nanosecond(zero + i128::from(event.time)).unwrap_or(Timestamp::UNIX_EPOCH);
    FlowEvent {
        time: format!("{time:.6}"),
        kind: if outbound { Kind::Outbound } else { Kind::Inbound },
        workload: workload.to_owned(),
        pid: event.tgid,
        tid: event.tid,
        comm: text(&event.comm),
        runtime: Cow::Borrowed(runtime),
        method: text(&event.method.to_le_bytes()),
        path: path(event),
        peer: peer(event),
        headers: headers.of_bits(event.names).into_iter().map(str::to_owned).collect(),
        verdict: outbound.then(|| Cow::Borrowed(Verdict::from_raw(event.verdict).name())),
        reason: (reason != Reason::None).then(|| Cow::Borrowed(reason.name())),
        context: if event.context == 0 { None } else { Some(format!("{:016x}", event.context)) },
    }
}

/// The other end; a Unix socket has no address.
fn peer(event: &Event) -> String {
    if event.peer == [0; 16] && event.peer_port == 0 {
        return "unix".to_owned();
    }
    SocketAddr::new(readable(event.peer), event.peer_port).to_string()
}

/// The request target without its query: queries hold what is private.
fn path(event: &Event) -> String {
    let bytes: Vec<u8> = event.path.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = text(&bytes[..bytes.len().min(event.path_len as usize).min(MAX_PATH)]);
    path.split('?').next().unwrap_or_default().to_owned()
}

/// Bytes up to the first zero, with what cannot be shown replaced.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|shown| if shown.is_control() { '\u{fffd}' } else { shown }).collect()
}
