//! What was sampled, for a reader.

use std::collections::BTreeSet;

use super::Profile;
use super::step::Step;
use crate::bench::case::Case;
use crate::machine::Machine;

/// Functions that are shown of each case.
const SHOWN: usize = 15;

/// A function's microseconds of a request, without and with baton.
struct Function<'a> {
    name: &'a str,
    without: f64,
    with: f64,
}

impl Function<'_> {
    fn added(&self) -> f64 {
        self.with - self.without
    }
}

/// The profiles of `cases`, without and with baton each.
pub(super) fn markdown(cases: &[Case], profiles: &[(Profile, Profile)]) -> Vec<String> {
    let all: Vec<Vec<Function<'_>>> = profiles.iter().map(|(off, on)| functions(off, on)).collect();
    let mut lines = vec![String::new(), Machine::here().line(), String::new()];
    let titles = cases.iter().map(|case| format!(" {} |", case.title()));
    lines.push(format!("| added to a request, µs |{}", titles.collect::<String>()));
    lines.push(format!("|---|{}", "---:|".repeat(cases.len())));
    let row = |title: &str, of: &dyn Fn(&[Function<'_>]) -> String| {
        format!("| {title} |{}", all.iter().map(|functions| format!(" {} |", of(functions))).collect::<String>())
    };
    for step in Step::ALL {
        let sum = |functions: &[Function<'_>]| {
            let own = functions.iter().filter(|function| Step::of(function.name) == step);
            format!("{:.2}", own.map(Function::added).sum::<f64>())
        };
        lines.push(row(step.title(), &sum));
    }
    let sum = |functions: &[Function<'_>], of: fn(&Function<'_>) -> f64| functions.iter().map(of).sum::<f64>();
    let known = |functions: &[Function<'_>]| {
        let known = functions.iter().filter(|function| Step::of(function.name) != Step::Other);
        format!("{:.2}", known.map(Function::added).sum::<f64>())
    };
    lines.push(row("all but the last", &known));
    lines.push(row("a request's CPU time without baton", &|functions| {
        format!("{:.1}", sum(functions, |function| function.without))
    }));
    lines.push(row("with baton", &|functions| format!("{:.1}", sum(functions, |function| function.with))));
    for (case, functions) in cases.iter().zip(&all) {
        lines.extend(of_case(*case, functions));
    }
    lines
}

/// The functions that are there for baton and to which most was added.
fn of_case(case: Case, functions: &[Function<'_>]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!("| {} | without | with | added, µs/request |", case.title()),
        "|---|---:|---:|---:|".to_owned(),
    ];
    // Of all others noise is the most.
    let known = functions.iter().filter(|function| Step::of(function.name) != Step::Other);
    lines.extend(known.take(SHOWN).map(|function| {
        format!("| `{}` | {:.2} | {:.2} | {:.2} |", function.name, function.without, function.with, function.added())
    }));
    lines
}

/// All that was sampled, those to which most was added first.
fn functions<'a>(off: &'a Profile, on: &'a Profile) -> Vec<Function<'a>> {
    let time = |profile: &Profile, name: &str| profile.get(name).copied().unwrap_or_default();
    let names: BTreeSet<&String> = off.keys().chain(on.keys()).collect();
    let mut functions = Vec::new();
    for name in names {
        functions.push(Function { name, without: time(off, name), with: time(on, name) });
    }
    functions.sort_by(|one, other| other.added().total_cmp(&one.added()));
    functions
}
