//! Results in documents: between two comments, whatever else the document says.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Puts `result` into the document's place for it.
pub(crate) fn record(document: &Path, result: &[String]) -> Result<()> {
    let text = fs::read_to_string(document).with_context(|| format!("failed to read {}", document.display()))?;
    let text = replaced(&text, &result.join("\n"))
        .with_context(|| format!("{} has no place for the result", document.display()))?;
    fs::write(document, text).with_context(|| format!("failed to write {}", document.display()))
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
