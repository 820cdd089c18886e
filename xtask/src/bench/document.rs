//! The place of the result in docs/BENCHMARKS.md: between two comments, whatever else the document says.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::report::Report;
use crate::{say, workspace};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Where `--record` puts everything that was measured.
pub(super) fn json() -> PathBuf {
    workspace::root().join("docs/benchmarks.json")
}

pub(super) fn record(report: &Report) -> Result<()> {
    let file = workspace::root().join("docs/BENCHMARKS.md");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let result = report.markdown().join("\n");
    let text = replaced(&text, &result).with_context(|| format!("{} has no place for the result", file.display()))?;
    fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    say::note(&format!("{} and {} hold this result", file.display(), json().display()));
    Ok(())
}

fn replaced(text: &str, result: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", result.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_comments_changes() {
        let text = "a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nb\n";
        let expected = "a\n<!-- measured: begin -->\n\nnew\n\n<!-- measured: end -->\nb\n";
        assert_eq!(replaced(text, "\nnew\n").as_deref(), Some(expected));
        assert_eq!(replaced("a", "new"), None);
    }
}
