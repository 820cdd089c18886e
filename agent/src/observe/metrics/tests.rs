use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use baton_common::flow::{Reason, counter};

use super::*;

fn snapshot() -> Snapshot {
    let counts = Counts::of(&[
        (counter::INBOUND, 3),
        (counter::INJECTED, 2),
        (counter::NOT_LOOKED_AT, 5),
        (counter::OUTBOUND_LOST + Reason::Ambiguous as usize, 1),
        (counter::INBOUND_LOST + Reason::Upgraded as usize, 4),
    ]);
    let program = |name: &str, hook, runs| Loaded { name: name.to_owned(), hook, runs, misses: 9 };
    Snapshot {
        started: UNIX_EPOCH + Duration::from_secs(7),
        kernel: "6.3.0".to_owned(),
        ready: true,
        tested: true,
        cured: false,
        programs: vec![
            program("sk_msg_write", "sk_msg", Some((4, Duration::from_millis(500)))),
            program("sock_ops_enrol", "sock_ops", None),
        ],
        contexts: (8192, 5),
        total: counts.clone() + &counts,
        workloads: BTreeMap::from([("shop/\"web\"\n".to_owned(), counts)]),
        attached: (1, 255),
        pods: Some(Pods { waiting: 1, notices: vec![("NotEnrolled", 0), ("PropagationRefused", 2)] }),
        watching: Watching { watchers: 1, told: 9, missed: 8 },
    }
}

#[test]
fn a_workload_has_its_counters_and_the_node_has_all() {
    let text = encode(snapshot(), Format::OpenMetrics);
    for line in [
        concat!("baton_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",kernel=\"6.3.0\"} 1"),
        "baton_start_time_seconds 7.0",
        "baton_inbound_requests_total 6",
        "baton_outbound_requests_total{verdict=\"lost\"} 2",
        "baton_outbound_requests_total{verdict=\"not-looked-at\"} 10",
        "baton_losses_total{reason=\"ambiguous\"} 2",
        "baton_losses_total{reason=\"answered\"} 0",
        "baton_workload_inbound_requests_total{workload=\"shop/\\\"web\\\"\\n\"} 3",
        "baton_workload_outbound_requests_total{workload=\"shop/\\\"web\\\"\\n\",verdict=\"injected\"} 2",
        "baton_workload_losses_total{workload=\"shop/\\\"web\\\"\\n\",reason=\"ambiguous\"} 1",
        "baton_notices{reason=\"PropagationRefused\"} 2",
        "baton_hook_info{hook=\"sock_ops\",program=\"sock_ops_enrol\"} 1",
        "baton_program_misses_total{program=\"sk_msg_write\"} 9",
        "baton_program_runs_total{program=\"sk_msg_write\"} 4",
        "baton_program_run_seconds_total{program=\"sk_msg_write\"} 0.5",
        "baton_watcher_events_missed_total 8",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert_eq!(text.matches("baton_workload_losses_total{").count(), 1, "a reason that the workload does not have");
    assert_eq!(text.matches("baton_program_runs_total{").count(), 1, "a program whose runs are not counted");
}

#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let text = encode(snapshot(), Format::Prometheus);
    let described = |line: &str| line.strip_prefix("# TYPE ").map(|rest| rest.replace(' ', " | "));
    let given: BTreeSet<String> = text.lines().filter_map(described).collect();
    let document = include_str!("../../../../docs/METRICS.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `baton_")?.split(" | ");
        Some(format!("baton_{} | {}", cells.next()?.trim_end_matches('`'), cells.next()?))
    };
    let documented: BTreeSet<String> = document.lines().filter_map(row).collect();
    assert_eq!(given, documented);
}
