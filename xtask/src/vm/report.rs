//! What a run says while it goes on, and the table at the end.

use std::io::Write as _;

use super::job::Outcome;
use super::kernels::Run;
use crate::say::{self, Colour, coloured};

/// What came out of one boot.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// `uname -r`, or what the matrix calls the kernel.
    pub(super) kernel: String,
    /// How baton reads, or that it is to refuse.
    pub(super) hook: String,
    /// The self-test's finding.
    pub(super) self_test: String,
    pub(super) passed: usize,
    pub(super) skipped: usize,
    /// The names of those that failed.
    pub(super) failed: Vec<String>,
    /// Why the run ended early.
    pub(super) broken: Option<String>,
    pub(super) seconds: u64,
}

impl Row {
    pub(super) fn new(run: &Run) -> Self {
        let hook = run.hook.map_or("– (too old: refused)", |hook| hook.name());
        Self {
            kernel: run.kernel.name.to_owned(), hook: hook.to_owned(), self_test: "–".to_owned(), ..Self::default()
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.broken.is_none() && self.passed > 0
    }

    /// Counts a test and ends its line, as libtest does.
    pub(super) fn count(&mut self, test: &str, outcome: &Outcome, seconds: f64) {
        let verdict = match outcome {
            Outcome::Passed => {
                self.passed += 1;
                format!("{} ({seconds:.0} s)", coloured(Colour::Green, "ok"))
            }
            Outcome::Failed(_) => {
                self.failed.push(test.to_owned());
                format!("{} ({seconds:.0} s)", coloured(Colour::Red, "FAILED"))
            }
            Outcome::Skipped(why) => {
                self.skipped += 1;
                format!("{}: {why}", coloured(Colour::Yellow, "skipped"))
            }
        };
        say::result(&verdict);
        if let Outcome::Failed(output) = outcome {
            for line in output.lines() {
                say::result(&format!("    {line}"));
            }
        }
    }

    /// One line, as libtest's last one.
    pub(super) fn summary(&self) -> String {
        let verdict = if self.is_good() { "ok" } else { "FAILED" };
        format!(
            "test result: {verdict}. {} passed; {} failed; {} skipped; finished in {} s",
            self.passed,
            self.failed.len(),
            self.skipped,
            self.seconds
        )
    }

    fn cells(&self) -> [String; 6] {
        [
            self.kernel.clone(),
            self.hook.clone(),
            self.self_test.clone(),
            self.passed.to_string(),
            match &self.broken {
                Some(_) => "run broken off".to_owned(),
                None => self.failed.len().to_string(),
            },
            self.skipped.to_string(),
        ]
    }
}

/// Begins a test's line.
#[expect(clippy::print_stdout, reason = "the verdict follows on the same line when it is known")]
pub(super) fn begin(test: &str) {
    print!("test {test} ... ");
    // Nobody to tell.
    let _ = std::io::stdout().flush();
}

/// The table, in Markdown.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        "| kernel | hook | self-test | passed | failed | skipped |".to_owned(),
        "|---|---|---|--:|--:|--:|".to_owned(),
    ];
    lines.extend(rows.iter().map(|row| format!("| {} |", row.cells().join(" | "))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let kernel = "6.1.0-50-cloud-amd64".to_owned();
        Row { kernel, hook: "fentry".to_owned(), self_test: "ok".to_owned(), passed: 3, skipped: 1, ..Row::default() }
    }

    #[test]
    fn the_table_has_a_line_for_each_run() {
        let lines = table(&[row(), Row { broken: Some("no".to_owned()), ..row() }]);
        assert_eq!(lines[2], "| 6.1.0-50-cloud-amd64 | fentry | ok | 3 | 0 | 1 |");
        assert_eq!(lines[3], "| 6.1.0-50-cloud-amd64 | fentry | ok | 3 | run broken off | 1 |");
    }

    #[test]
    fn a_run_is_good_when_all_passed_and_something_did() {
        assert!(row().is_good());
        assert!(!Row { failed: vec!["a".to_owned()], ..row() }.is_good());
        assert!(!Row { broken: Some("no".to_owned()), ..row() }.is_good());
        assert!(!Row { passed: 0, ..row() }.is_good());
        assert_eq!(row().summary(), "test result: ok. 3 passed; 0 failed; 1 skipped; finished in 0 s");
    }
}
