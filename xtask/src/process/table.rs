//! The kernel's process table: who started whom.

use std::fs;

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    /// When it started, in ticks since boot: tells apart two processes with one pid.
    started: u64,
}

impl Process {
    /// Whether this very process, not a later one with its pid, is still there.
    pub(crate) fn still_runs(&self) -> bool {
        read(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// All processes below `root`, without `root` itself.
pub(crate) fn descendants(root: u32) -> Vec<Process> {
    let all = all();
    let mut family: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            family.push(*process);
        }
    }
    family
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: u32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): the name, in parentheses, may hold anything; the numbers come after the last of them.
fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let pid = before.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process { pid, parent: number(4)?.try_into().ok()?, started: number(22)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_blanks() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 64 1 2 3 4 10 20 30 40 20 0 1 0 999 5 6";
        let expected = Process { pid: 7, parent: 3, started: 999 };
        assert_eq!(parse(line), Some(expected));
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = read(std::process::id());
        assert!(own.is_some_and(|process| process.still_runs()));
    }
}
