//! `baton discover`: which headers come in, which the applications pass on by themselves, and what to configure.

mod fold;
mod hop;
mod report;
mod seen;
mod suggest;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use self::report::Report;
use self::seen::Seen;
use super::flow::{FlowEvent, Record};
use super::live::Live;
use super::say;
use super::source::Source;
use crate::cli::Discover;

/// Time between two words about progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Learns from a running daemon, or from a file. The exit status is 1 if there was no request.
pub(crate) async fn run(arguments: Discover) -> anyhow::Result<u8> {
    let mut seen = Seen::default();
    let time = if arguments.from.from.is_some() {
        let mut source = Source::open(&arguments.from)?;
        let mut times = Times::default();
        while let Some((_, record)) = source.next()? {
            times.add(&record);
            seen.add(&record);
        }
        times.span()
    } else {
        let live = Live::open(&arguments.from.socket).await?;
        watch(&mut seen, live, &arguments).await?
    };
    say(
        "only the headers that the daemon looks for are seen: `baton run --observe` and `baton discover --cgroup DIR` look for all usual ones",
    );
    tell(&mut seen, time, &arguments)
}

/// Learns from the daemon at `socket`, which is this process's own and may not be there yet.
pub(crate) async fn run_beside(arguments: Discover, socket: &Path) -> anyhow::Result<u8> {
    let mut seen = Seen::default();
    let time = watch(&mut seen, Live::open_own(socket).await?, &arguments).await?;
    tell(&mut seen, time, &arguments)
}

/// Looks on until the time is over, the daemon ends, or somebody interrupts. Returns for how long it did.
async fn watch(seen: &mut Seen, mut live: Live, arguments: &Discover) -> anyhow::Result<Duration> {
    say(&format!("watching for {} s; Ctrl-C ends it before", arguments.duration.as_secs()));
    let start = Instant::now();
    let mut progress = tokio::time::interval(PROGRESS);
    let told = std::io::stderr().is_terminal();
    let over = tokio::time::sleep(arguments.duration);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            next = live.next() => {
                let Some((_, record)) = next? else { break };
                seen.add(&record);
            }
            _ = progress.tick(), if told => {
                let (now, all) = (start.elapsed().as_secs(), arguments.duration.as_secs());
                eprint!("\r{now} of {all} s: {} requests\x1b[K", seen.requests);
            }
        }
    }
    if told {
        eprint!("\r\x1b[K");
    }
    Ok(start.elapsed())
}

fn tell(seen: &mut Seen, time: Duration, arguments: &Discover) -> anyhow::Result<u8> {
    seen.settle_all();
    // Until here, what others received has said what these have sent.
    seen.workloads.retain(|name, _| arguments.place.holds(name));
    let report = Report::of(seen, time);
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string(&report)?)
    } else {
        let cgroups = arguments.cgroups.iter().map(|cgroup| format!(" --cgroup {}", cgroup.display()));
        report.text(&cgroups.collect::<String>())
    };
    // Nobody can be told that nobody reads it.
    let _ = write!(anstream::stdout().lock(), "{text}");
    if seen.workloads.is_empty() {
        say("no request was seen: is the workload watched, does it speak cleartext HTTP/1, and was there traffic?");
        return Ok(1);
    }
    Ok(0)
}

/// The first and the last time in a file.
#[derive(Debug, Default)]
struct Times(Option<(jiff::Timestamp, jiff::Timestamp)>);

impl Times {
    fn add(&mut self, record: &Record) {
        let Record::Flow(event) = record else { return };
        let FlowEvent { time, .. } = &**event;
        if let Ok(time) = time.parse() {
            let (first, last) = self.0.unwrap_or((time, time));
            self.0 = Some((first.min(time), last.max(time)));
        }
    }

    fn span(&self) -> Duration {
        self.0.and_then(|(first, last)| Duration::try_from(last.duration_since(first)).ok()).unwrap_or_default()
    }
}
