//! Results in documents: between two comments, whatever else the document says.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Puts `result` into the document's place of this name.
pub(crate) fn record(document: &Path, name: &str, result: &[String]) -> Result<()> {
    let text = fs::read_to_string(document).with_context(|| format!("failed to read {}", document.display()))?;
    let text = replaced(&text, name, &result.join("\n"))
        .with_context(|| format!("{} has no place for what was {name}", document.display()))?;
    fs::write(document, text).with_context(|| format!("failed to write {}", document.display()))
}

fn replaced(text: &str, name: &str, result: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", result.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_comments_changes() {
        let text = "a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nb\n";
        let expected = "a\n<!-- measured: begin -->\n\nnew\n\n<!-- measured: end -->\nb\n";
        assert_eq!(replaced(text, "measured", "\nnew\n").as_deref(), Some(expected));
        assert_eq!(replaced("a", "measured", "new"), None);
    }
}
