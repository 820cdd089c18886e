//! Contenders in turns: whatever else the machine does changes all of them alike.

use anyhow::{Context as _, Result};

use super::Arguments;
use super::contest::{Contender, Contest};
use super::entry::{Arena, Entry, Load};
use crate::bench::counting::Counting;
use crate::bench::peer::Measured;
use crate::say;

/// After programs were started: the first requests are slow, and compilers at run time take their time.
const FIRST_SECONDS: f64 = 2.0;
/// Before each measurement: new connections are slower.
const WARM_UP_SECONDS: f64 = 0.1;
/// How long baton's programs are counted.
const COUNTED_SECONDS: f64 = 2.0;
/// The part of the slowest contender's throughput at which latency is measured.
const PACE: f64 = 0.5;

/// All that was measured of one contender; in the order of time, as with all others of the contest.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) contender: Contender,
    /// As many requests as go.
    pub(super) closed: Vec<Measured>,
    /// At the contest's rate.
    pub(super) paced: Vec<Measured>,
    pub(super) start_ms: Vec<f64>,
    pub(super) memory: Vec<f64>,
    /// What baton's programs take of a request at full speed.
    pub(super) in_programs: Vec<InPrograms>,
}

/// Of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct InPrograms {
    pub(super) us: f64,
    /// Runs of probes in the contest's program.
    pub(super) probes: f64,
}

/// Measures the contenders of a contest; returns the rate at which latencies were measured, too.
pub(super) fn measure(arena: &Arena<'_>, contest: &Contest, arguments: &Arguments) -> Result<(Vec<Record>, f64)> {
    let blank = |contender: &Contender| Record {
        contender: *contender,
        closed: Vec::new(),
        paced: Vec::new(),
        start_ms: Vec::new(),
        memory: Vec::new(),
        in_programs: Vec::new(),
    };
    let mut records: Vec<Record> = contest.contenders.iter().map(blank).collect();
    let (_backend, backend) = arena.backend(contest.shape.body)?;
    let cycles = arguments.cycles.div_ceil(arguments.rounds);
    let mut pace = None;
    for round in 0..arguments.rounds {
        say::step(&format!("{}: round {} of {}", contest.title, round + 1, arguments.rounds));
        let enter = |contender: &Contender| arena.enter(contest, *contender, backend);
        let mut entries = contest.contenders.iter().map(enter).collect::<Result<Vec<Entry>>>()?;
        let first = Load { seconds: FIRST_SECONDS, warm_up: WARM_UP_SECONDS, rate: None };
        for (entry, record) in entries.iter_mut().zip(&mut records) {
            record.start_ms.push(entry.start_ms);
            arena.measure(contest, entry, first)?;
        }
        let load = Load { seconds: arguments.seconds, ..first };
        in_turns(arena, contest, &mut entries, cycles, load, |index, measured| records[index].closed.push(measured))?;
        let rate = *pace.get_or_insert(slowest(&records).context("nothing was measured")? * PACE);
        let paced = Load { rate: Some(rate), ..load };
        in_turns(arena, contest, &mut entries, cycles, paced, |index, measured| records[index].paced.push(measured))?;
        for (entry, record) in entries.iter_mut().zip(&mut records) {
            record.memory.push(entry.memory() as f64);
            record.in_programs.extend(in_programs(arena, contest, entry, load)?);
        }
    }
    Ok((records, pace.unwrap_or_default()))
}

/// Measures what baton's programs take, apart from all else: counting costs time, too.
fn in_programs(arena: &Arena<'_>, contest: &Contest, entry: &mut Entry, load: Load) -> Result<Option<InPrograms>> {
    let _counting = Counting::begin()?;
    let Some(before) = entry.in_programs()? else { return Ok(None) };
    // The programs' time is counted from the first request on.
    let measured = arena.measure(contest, entry, Load { seconds: COUNTED_SECONDS, warm_up: 0.0, ..load })?;
    let Some(after) = entry.in_programs()? else { return Ok(None) };
    let requests = measured.requests as f64;
    Ok(Some(InPrograms {
        us: (after.nanoseconds - before.nanoseconds) as f64 / 1e3 / requests,
        probes: (after.probes - before.probes) as f64 / requests,
    }))
}

/// Measures each entry so many times. The one that begins is another one each time.
fn in_turns(
    arena: &Arena<'_>,
    contest: &Contest,
    entries: &mut [Entry],
    cycles: usize,
    load: Load,
    mut keep: impl FnMut(usize, Measured),
) -> Result<()> {
    for cycle in 0..cycles {
        for turn in 0..entries.len() {
            let index = (cycle + turn) % entries.len();
            keep(index, arena.measure(contest, &mut entries[index], load)?);
        }
    }
    Ok(())
}

/// The smallest of the contenders' average throughputs.
fn slowest(records: &[Record]) -> Option<f64> {
    let average = |record: &Record| {
        let sum: f64 = record.closed.iter().map(|measured| measured.requests_per_second).sum();
        sum / record.closed.len() as f64
    };
    records.iter().map(average).min_by(f64::total_cmp)
}
