//! What a run says while it goes on, and the table at the end.

use std::io::Write as _;

use super::job::Outcome;
use super::kernels::{Hook, Run};
use crate::say::{self, Colour, coloured};

/// What came out of one boot.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// What the matrix calls the kernel.
    name: String,
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
    /// Which tests were chosen.
    tests: String,
}

impl Row {
    /// Of a run with the tests that `filters` choose.
    pub(super) fn new(run: &Run, filters: &[String]) -> Self {
        let name = run.kernel.name.to_owned();
        Self {
            kernel: name.clone(),
            name,
            hook: hook(run).to_owned(),
            self_test: "–".to_owned(),
            tests: match (run.hook, filters) {
                (None, _) => "–".to_owned(),
                (_, []) => "all that fit".to_owned(),
                (_, filters) => filters.join(", "),
            },
            ..Self::default()
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

    fn cells(&self) -> [String; 8] {
        [
            self.name.clone(),
            self.kernel.clone(),
            self.hook.clone(),
            self.self_test.clone(),
            self.passed.to_string(),
            match &self.broken {
                Some(_) => "run broken off".to_owned(),
                None => self.failed.len().to_string(),
            },
            self.skipped.to_string(),
            self.tests.clone(),
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

/// How a run's hook is shown.
fn hook(run: &Run) -> &'static str {
    run.hook.map_or("– (too old: refused)", Hook::name)
}

/// The table's heading.
const HEADING: [&str; 2] = [
    "| `--kernel` | Linux | hook | self-test | passed | failed | skipped | tests |",
    "|---|---|---|---|--:|--:|--:|---|",
];

/// The table, in Markdown.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    let lines = rows.iter().map(|row| format!("| {} |", row.cells().join(" | ")));
    HEADING.iter().map(ToString::to_string).chain(lines).collect()
}

/// The lines of the table of `runs`: those of `rows`, and where a run is not among them, what `before` has of it.
pub(super) fn merged(runs: &[Run], rows: &[Row], before: &[String]) -> Vec<String> {
    let new = table(rows);
    let line = |run: &Run| {
        let is_its = |line: &&String| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells.get(1) == Some(&run.kernel.name) && cells.get(3) == Some(&hook(run))
        };
        new.iter().find(is_its).or_else(|| before.iter().find(is_its)).cloned()
    };
    HEADING.iter().map(ToString::to_string).chain(runs.iter().filter_map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kernels::choose;
    use super::*;

    fn row(run: &Run) -> Row {
        let kernel = "6.1.0-50-cloud-amd64".to_owned();
        Row { kernel, self_test: "ok".to_owned(), passed: 3, skipped: 1, ..Row::new(run, &[]) }
    }

    fn runs() -> Vec<Run> {
        choose(&["6.1".to_owned()], &[], false)
    }

    #[test]
    fn the_table_has_a_line_for_each_run() {
        let [fentry, kprobe] = runs()[..] else { panic!("two runs") };
        let lines = table(&[row(&fentry), Row { broken: Some("no".to_owned()), ..row(&kprobe) }]);
        assert_eq!(lines[2], "| 6.1 | 6.1.0-50-cloud-amd64 | fentry | ok | 3 | 0 | 1 | all that fit |");
        assert_eq!(lines[3], "| 6.1 | 6.1.0-50-cloud-amd64 | kprobe | ok | 3 | run broken off | 1 | all that fit |");
    }

    #[test]
    fn what_was_not_run_stays_in_the_table() {
        let [fentry, kprobe] = runs()[..] else { panic!("two runs") };
        let before = table(&[row(&fentry), row(&kprobe)]);
        let after = merged(&runs(), &[Row { passed: 9, ..row(&kprobe) }], &before);
        assert_eq!(after[..3], before[..3]);
        assert!(after[3].contains("| kprobe | ok | 9 |"), "{after:?}");
        assert_eq!(merged(&runs(), &[], &before), before);
        assert_eq!(merged(&runs(), &[], &["| kprobe |".to_owned()]).len(), HEADING.len());
    }

    #[test]
    fn a_run_is_good_when_all_passed_and_something_did() {
        let row = || row(&runs()[0]);
        assert!(row().is_good());
        assert!(!Row { failed: vec!["a".to_owned()], ..row() }.is_good());
        assert!(!Row { broken: Some("no".to_owned()), ..row() }.is_good());
        assert!(!Row { passed: 0, ..row() }.is_good());
        assert_eq!(row().summary(), "test result: ok. 3 passed; 0 failed; 1 skipped; finished in 0 s");
    }
}
