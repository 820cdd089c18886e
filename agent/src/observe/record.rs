//! `baton record`: keeps flow events for later.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::flow::{Kind, Record};
use crate::cli;
use crate::failure::Failure;

/// Time between two words about progress; so much is lost where this process is killed.
const PROGRESS: Duration = Duration::from_secs(1);

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    lost: u64,
    missed: u64,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        match record {
            Record::Flow(event) if event.kind == Kind::Response => {}
            Record::Flow(event) => {
                self.requests += 1;
                self.lost += u64::from(event.verdict.as_deref() == Some("lost"));
            }
            Record::Missed(count) => self.missed += *count,
            Record::Notice(_) | Record::Other => {}
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, lost, missed } = self;
        write!(formatter, "{requests} requests, {lost} lost contexts")?;
        if *missed > 0 {
            write!(formatter, "; {missed} more requests were too many to be kept")?;
        }
        Ok(())
    }
}

/// Records until the time is over, the daemon ends, or somebody interrupts.
pub(crate) async fn run(arguments: cli::Record) -> anyhow::Result<()> {
    let cli::Record { socket, duration, output, show_values } = arguments;
    let [mut interrupt, mut terminate] = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let stream =
        UnixStream::connect(&socket).await.map_err(|error| Failure::NoDaemon { path: socket.clone(), error })?;
    let mut file = create(&output)?;
    let failed = || format!("failed to write {}", output.display());
    let mut lines = BufReader::new(stream).lines();
    let (start, mut counts) = (Instant::now(), Counts::default());
    let mut progress = tokio::time::interval(PROGRESS);
    let told = std::io::stderr().is_terminal();
    let over = tokio::time::sleep(duration);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            line = lines.next_line() => {
                let Some(line) = line.context("failed to read what the daemon sends")? else {
                    super::say("the daemon ended");
                    break;
                };
                let record = Record::parse(&line).context("cannot use what the daemon sends")?;
                counts.add(&record);
                let line = record.line(line, show_values)?;
                writeln!(file, "{line}").with_context(failed)?;
            }
            _ = progress.tick() => {
                file.flush().with_context(failed)?;
                if told {
                    eprint!("\r{} of {} s: {counts}\x1b[K", start.elapsed().as_secs(), duration.as_secs());
                }
            }
        }
    }
    file.flush().with_context(failed)?;
    if told {
        eprint!("\r\x1b[K");
    }
    super::say(&format!("recorded {counts}, in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// For its owner only: paths say what people do.
fn create(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))?;
    Ok(Box::new(std::io::BufWriter::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::FlowEvent;
    use crate::observe::flow::tests::lost;

    #[test]
    fn counts_say_what_was_recorded() {
        let mut counts = Counts::default();
        counts.add(&Record::Flow(Box::new(lost())));
        counts.add(&Record::Flow(Box::new(FlowEvent { kind: Kind::Response, ..lost() })));
        assert_eq!(counts.to_string(), "1 requests, 1 lost contexts");
        counts.add(&Record::Missed(5));
        assert_eq!(counts.to_string(), "1 requests, 1 lost contexts; 5 more requests were too many to be kept");
    }
}
