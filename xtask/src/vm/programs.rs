//! Which end-to-end test programs run in guests: each one of `tests/tests` is named here, with the reason if it does not.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::job::Program;
use crate::{debian, process, test};

/// A test program's treatment.
#[derive(Debug)]
enum Treatment {
    /// It is run, but for these tests, each with the reason.
    Runs(&'static [(&'static str, &'static str)]),
    /// It is not run, for this reason.
    Skipped(&'static str),
}

use Treatment::{Runs, Skipped};

/// What a guest adds to a test on the machine itself is another kernel. These tests are of what user space does.
const USER_SPACE: &str = "it tests what baton does in user space, which no kernel changes";
const SLOW: &str = "its programs start too slowly under software emulation";
const MANY: &str = "it needs more requests than software emulation can send";
const UNTRIED: &str = "whether it fits into a guest was not tried yet";
const DEVICES: &str = "it needs a cluster or a browser, which are too much for a guest";

const PROGRAMS: &[(&str, Treatment)] = &[
    (
        "relay_accuracy",
        Runs(&[
            ("gunicorn_sync", SLOW),
            ("gunicorn_threads_with_sessions", SLOW),
            ("php", SLOW),
            ("php_with_workers", SLOW),
            ("php_fpm_over_tcp", SLOW),
            ("php_fpm_over_a_unix_socket", SLOW),
            ("ruby", SLOW),
        ]),
    ),
    ("reads", Runs(&[])),
    ("answers", Runs(&[])),
    ("bytes", Runs(&[("postgresql", SLOW), ("redis", SLOW), ("redis_server_as_the_workload", MANY)])),
    ("refusals", Runs(&[])),
    ("daemon", Runs(&[])),
    ("exec", Runs(&[])),
    ("confined", Runs(&[])),
    ("runtimes", Runs(&[("an_event_loop_in_java", SLOW), ("an_event_loop_in_java_that_was_there_before", SLOW)])),
    ("accuracy", Skipped(MANY)),
    ("adoption", Skipped(UNTRIED)),
    ("cluster", Skipped(DEVICES)),
    ("crash", Skipped(UNTRIED)),
    ("debugging", Skipped(USER_SPACE)),
    ("demo", Skipped(USER_SPACE)),
    ("discover", Skipped(USER_SPACE)),
    ("explain", Skipped(USER_SPACE)),
    ("faults", Skipped(MANY)),
    ("handed_on", Skipped(UNTRIED)),
    ("incidents", Skipped(UNTRIED)),
    ("logging", Skipped(USER_SPACE)),
    ("loops", Skipped(UNTRIED)),
    ("metrics", Skipped(USER_SPACE)),
    ("observe", Skipped(USER_SPACE)),
    ("otlp", Skipped(USER_SPACE)),
    ("page", Skipped(DEVICES)),
    ("php_fpm", Skipped(UNTRIED)),
    ("pinned", Skipped(UNTRIED)),
    ("pods", Skipped(USER_SPACE)),
    ("policy", Skipped(UNTRIED)),
    ("reasons", Skipped(UNTRIED)),
    ("top", Skipped(USER_SPACE)),
    ("watchers", Skipped(USER_SPACE)),
];

/// What the short set runs of them: enough to see that requests are read, answers seen and headers inserted.
const SHORT: &[(&str, &[&str])] = &[("relay_accuracy", &["c_with_kept_backend_connections", "python_threads"])];

/// What runs in guests of another architecture: tests all of whose programs `cross` compiles.
const CROSSED: &[(&str, &[&str])] = &[("relay_accuracy", &["c", "c_with_kept_backend_connections"])];
const NOT_CROSSED: &str = "its programs are not cross-compiled";

/// What is run, and what is not: names with reasons.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) programs: Vec<Program>,
    pub(super) skipped: Vec<(&'static str, &'static str)>,
}

/// The choice among programs that are at these places.
pub(super) fn choose(built: &BTreeMap<String, PathBuf>, short: bool) -> Result<Choice> {
    let mut choice = Choice { programs: Vec::new(), skipped: Vec::new() };
    for (name, treatment) in PROGRAMS {
        let in_short = SHORT.iter().find(|(short, _)| short == name);
        match treatment {
            Skipped(why) => choice.skipped.push((name, why)),
            Runs(_) if short && in_short.is_none() => {}
            Runs(skipped) => {
                let path = built.get(*name).with_context(|| format!("cargo built no test program {name}"))?.clone();
                let only = in_short.filter(|_| short).map_or(&[][..], |(_, only)| only);
                choice.programs.push(Program {
                    name: (*name).to_owned(),
                    path,
                    only: only.iter().map(ToString::to_string).collect(),
                    others: None,
                    skipped: skipped.iter().map(|(test, why)| ((*test).to_owned(), (*why).to_owned())).collect(),
                });
            }
        }
    }
    Ok(choice)
}

/// The names of the test programs that are cross-compiled.
pub(super) fn crossed() -> impl Iterator<Item = &'static str> {
    CROSSED.iter().map(|(name, _)| *name)
}

/// The choice for guests of another architecture.
pub(super) fn choose_crossed(built: &BTreeMap<String, PathBuf>) -> Result<Choice> {
    let mut choice = Choice { programs: Vec::new(), skipped: Vec::new() };
    for (name, treatment) in PROGRAMS {
        match (CROSSED.iter().find(|(crossed, _)| crossed == name), treatment) {
            (Some((_, tests)), _) => choice.programs.push(Program {
                name: (*name).to_owned(),
                path: built.get(*name).with_context(|| format!("there is no test program {name}"))?.clone(),
                only: tests.iter().map(ToString::to_string).collect(),
                others: Some(NOT_CROSSED.to_owned()),
                skipped: Vec::new(),
            }),
            (None, Skipped(why)) => choice.skipped.push((name, why)),
            (None, Runs(_)) => choice.skipped.push((name, NOT_CROSSED)),
        }
    }
    Ok(choice)
}

/// Builds the end-to-end test programs and returns where they are, by name.
pub(super) fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut command = test::cargo_test();
    command.args(["--test", "*", "--no-run", "--message-format", "json-render-diagnostics"]).stdin(Stdio::null());
    let messages = process::read_aloud(&mut command).context("failed to build the end-to-end tests")?;
    Ok(executables(&messages))
}

/// The test programs that cargo's messages name.
pub(super) fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages.lines().filter_map(executable).collect()
}

/// Cargo's messages: https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let path = PathBuf::from(message["executable"].as_str()?);
    is_test.then_some((message["target"]["name"].as_str()?.to_owned(), path))
}

/// The newest test programs of a directory of cargo's, by name.
pub(super) fn find(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let directory = directory.canonicalize().with_context(|| format!("there is no {}", directory.display()))?;
    let mut found = BTreeMap::new();
    for path in debian::files(&directory, "")? {
        let Ok(data) = path.metadata() else { continue };
        let name = path.file_name().and_then(|name| name.to_str()?.rsplit_once('-')).map(|(name, _)| name.to_owned());
        let is_program = data.is_file() && data.permissions().mode() & 0o100 != 0 && path.extension().is_none();
        if let (Some(name), true, Ok(time)) = (name, is_program, data.modified()) {
            let newest = found.entry(name).or_insert((time, path.clone()));
            if newest.0 < time {
                *newest = (time, path);
            }
        }
    }
    Ok(found.into_iter().map(|(name, (_, path))| (name, path)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workspace;

    #[test]
    fn no_test_program_is_left_out_silently() {
        let here = debian::files(&workspace::root().join("tests/tests"), "").expect("the tests");
        let names: BTreeSet<String> =
            here.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
        let treated: BTreeSet<String> = PROGRAMS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, treated);
    }

    #[test]
    fn the_short_set_is_part_of_the_whole() {
        for (name, _) in SHORT {
            assert!(PROGRAMS.iter().any(|(program, treatment)| program == name && matches!(treatment, Runs(_))));
        }
    }

    #[test]
    fn no_test_is_left_out_silently_on_another_architecture() {
        let built = crossed().map(|name| (name.to_owned(), PathBuf::from(name))).collect();
        let choice = choose_crossed(&built).expect("all are built");
        assert_eq!(choice.programs.len() + choice.skipped.len(), PROGRAMS.len());
        for program in choice.programs {
            assert_eq!(program.skips("c_that_is_new"), Some(NOT_CROSSED));
            let source = workspace::root().join(format!("tests/tests/{}.rs", program.name));
            let source = std::fs::read_to_string(source).expect("the test program's source");
            for test in &program.only {
                assert!(source.contains(&format!("\nfn {test}()")), "{test} is no test");
                assert_eq!(program.skips(test), None);
            }
        }
    }

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let message =
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"bytes"},"executable":"/d/bytes-1"}"#;
        assert_eq!(executable(message), Some(("bytes".to_owned(), PathBuf::from("/d/bytes-1"))));
        assert_eq!(executable(r#"{"target":{"kind":["lib"],"name":"a"},"executable":null}"#), None);
        assert_eq!(executable("no JSON"), None);
    }
}
