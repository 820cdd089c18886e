//! `baton record`: keeps flow events for later.

use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::flow::{Kind, Record};
use super::live::Live;
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
    let mut live = Live::open(&socket).await?;
    let mut file = create(&output)?;
    let failed = || format!("failed to write {}", output.display());
    let (start, mut counts) = (Instant::now(), Counts::default());
    let mut progress = tokio::time::interval(PROGRESS);
    let told = std::io::stderr().is_terminal();
    let over = tokio::time::sleep(duration);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            next = live.next() => {
                let Some((line, record)) = next? else { break };
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

/// Opens what is to be written to.
fn create(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout()));
    }
    Ok(Box::new(std::io::BufWriter::new(super::create(path)?)))
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
