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

/// The lines that the document's place of this name has.
pub(crate) fn recorded(document: &Path, name: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(document).with_context(|| format!("failed to read {}", document.display()))?;
    let (_, place, _) =
        parts(&text, name).with_context(|| format!("{} has no place for what was {name}", document.display()))?;
    Ok(place.lines().map(str::to_owned).collect())
}

fn replaced(text: &str, name: &str, result: &str) -> Option<String> {
    let (before, _, after) = parts(text, name)?;
    Some(format!("{before}\n{}\n\n{after}", result.trim()))
}

/// What is up to the place of this name, in it, and from its end on.
fn parts<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let at = text.find(&begin)? + begin.len();
    let (before, rest) = text.split_at(at);
    let (place, after) = rest.split_at(rest.find(&end)?);
    Some((before, place, after))
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
