//! `baton watch`: flow events as they happen, or as they were recorded.

use std::io::Write as _;

use super::line;
use super::source::Source;
use crate::cli::Watch;

/// Shows flow events until there are no more of them, or nobody reads them.
pub(crate) fn run(watch: &Watch) -> anyhow::Result<()> {
    let mut source = Source::open(&watch.from)?;
    // What is no terminal gets no styles, and whoever sets NO_COLOR.
    let mut output = anstream::stdout().lock();
    while let Some((line, record)) = source.next()? {
        if !watch.filter.passes(&record) {
            continue;
        }
        let shown = if watch.json {
            record.line(line, watch.show_values)?
        } else {
            let Some(shown) = line::of(&record, watch.show_values) else { continue };
            shown
        };
        if writeln!(output, "{shown}").and_then(|()| output.flush()).is_err() {
            return Ok(());
        }
    }
    if source.is_live() {
        super::say("the daemon ended");
    }
    Ok(())
}
