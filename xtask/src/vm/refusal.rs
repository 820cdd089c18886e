//! What baton must say on a kernel that is too old: one line, and the exit status that the README names.

/// The README's status for a kernel that lacks something.
const STATUS: i32 = 69;

/// The kernels that would do.
const NEWER: &str = "6.1 or later";

/// A command and what is expected of it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [&'static str],
    /// Whether it says why in one line on stderr; otherwise it reports at length on stdout.
    one_line: bool,
}

pub(super) const CASES: &[Case] = &[
    Case { name: "baton_doctor", arguments: &["doctor"], one_line: false },
    Case { name: "baton_exec", arguments: &["exec", "--headers", "x-a", "--", "true"], one_line: true },
    Case { name: "baton_run", arguments: &["run", "--headers", "x-a", "--cgroup", "/sys/fs/cgroup"], one_line: true },
];

impl Case {
    /// Says what is wrong with what baton did.
    pub(super) fn judge(&self, status: i32, stdout: &str, stderr: &str) -> Result<(), String> {
        let words = format!("stdout:\n{stdout}\nstderr:\n{stderr}");
        if status != STATUS {
            return Err(format!("it ended with {status} instead of {STATUS}. {words}"));
        }
        if self.one_line {
            let line = stderr.trim();
            let tells = ["kernel", NEWER, "baton doctor"].iter().all(|word| line.contains(word));
            if line.lines().count() != 1 || !tells {
                return Err(format!("it does not say in one line what the kernel lacks and which would do. {words}"));
            }
        } else if !stdout.contains("FAIL") || !stdout.contains(NEWER) {
            return Err(format!("it does not say which kernel would do. {words}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_cause_and_remedy() {
        let exec = &CASES[1];
        let good = "error: this kernel cannot run baton: Linux 5.10 is too old; use 6.1 or later; `baton doctor` lists what is needed\n";
        assert_eq!(exec.judge(69, "", good), Ok(()));
        assert!(exec.judge(70, "", good).is_err());
        assert!(exec.judge(69, "", "error: no\n").is_err());
        assert!(exec.judge(69, "", &format!("{good}{good}")).is_err());
        assert_eq!(CASES[0].judge(69, "FAIL  kernel  Linux 5.10\n      -> use Linux 6.1 or later\n", ""), Ok(()));
    }
}
