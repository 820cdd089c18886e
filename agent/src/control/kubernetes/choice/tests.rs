use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::cli::Policy;

/// A node that carries `a`, `b` and, where asked, `c` and `p-*`.
fn plan(rest: &str) -> Plan {
    let directory = std::env::temp_dir().join(format!("baton-choice-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the configuration");
    // Tests run beside one another.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let path = directory.join(format!("{}.yaml", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let text = format!("headers: [a, b]\n{rest}");
    std::fs::write(&path, text).expect("the configuration is written");
    let plan = Plan::make(&Policy { config: Some(path.clone()), ..Policy::default() }).expect("legal");
    std::fs::remove_file(path).expect("it is removed");
    let _ = std::fs::remove_dir(directory);
    plan
}

fn object(label: Option<&str>, annotations: &[(&'static str, &str)]) -> Object {
    Object {
        label: label.map(str::to_owned),
        annotations: annotations.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        ..Object::default()
    }
}

const ALLOW: &str = "egress: [203.0.113.0/24]\ningress: [10.0.0.0/8]\nkubernetes: {allow: {headers: [c, 'p-*'], presets: [okteto], egress: [198.51.100.0/24], attribution: [balanced]}}\n";

#[test]
fn labels_switch_on_and_off() {
    let plan = plan("");
    for (namespace, pod, on) in [
        (None, None, Some(false)),
        (Some("enabled"), None, Some(true)),
        (None, Some("enabled"), Some(true)),
        (Some("disabled"), Some("enabled"), Some(true)),
        (Some("enabled"), Some("disabled"), Some(false)),
        (Some("disabled"), None, Some(false)),
        (Some("yes"), None, None),
        (Some("enabled"), Some("true"), None),
        (Some("yes"), Some("enabled"), Some(true)),
    ] {
        let choice = choose(&plan, Some(&object(namespace, &[])), &object(pod, &[]));
        let found = match choice {
            Choice::On(_) => Some(true),
            Choice::Off => Some(false),
            Choice::Refused(_) => None,
        };
        assert_eq!(found, on, "namespace {namespace:?}, pod {pod:?}");
    }
    assert!(matches!(choose(&plan, None, &object(Some("enabled"), &[])), Choice::On(_)), "its namespace is not known");
}

fn chosen(plan: &Plan, namespace: &[(&'static str, &str)], pod: &[(&'static str, &str)]) -> Choice {
    choose(plan, Some(&object(Some("enabled"), namespace)), &object(None, pod))
}

fn settings_of(plan: &Plan, annotations: &[(&'static str, &str)]) -> Settings {
    match chosen(plan, &[], annotations) {
        Choice::On(settings) => settings,
        other => panic!("{annotations:?}: {other:?}"),
    }
}

#[test]
fn annotations_narrow_and_widen_within_what_is_allowed() {
    let plan = plan(ALLOW);
    assert_eq!(settings_of(&plan, &[]).names, 0b11, "what is merely allowed is not carried unasked");
    assert_eq!(settings_of(&plan, &[(annotation::HEADERS, "B")]).names, 0b10);
    assert_eq!(settings_of(&plan, &[(annotation::HEADERS, "a, c,p-*")]).names.count_ones(), 3);
    assert_eq!(settings_of(&plan, &[(annotation::HEADERS, "okteto")]).names.count_ones(), 1);
    let net = |text: &str| addresses::parse(text).expect("legal");
    let asked = settings_of(&plan, &[(annotation::EGRESS, "198.51.100.7, 10.0.0.0/8")]).addresses;
    assert_eq!(asked.egress(), [net("198.51.100.7"), net("10.0.0.0/8")]);
    assert_eq!(asked.ingress(), [net("10.0.0.0/8")], "the node's");
    let asked = settings_of(&plan, &[(annotation::INGRESS, "10.1.0.0/16")]).addresses;
    assert_eq!(asked.ingress(), [net("10.1.0.0/16")]);
    assert_eq!(settings_of(&plan, &[(annotation::ATTRIBUTION, "balanced")]).attribution, Attribution::Balanced);
}

#[test]
fn a_pods_annotation_counts_before_its_namespaces() {
    let plan = plan(ALLOW);
    let Choice::On(settings) = chosen(&plan, &[(annotation::HEADERS, "a")], &[(annotation::HEADERS, "b")]) else {
        panic!("refused")
    };
    assert_eq!(settings.names, 0b10);
    let Choice::Refused(problem) = chosen(&plan, &[(annotation::HEADERS, "cookie")], &[]) else { panic!("taken") };
    assert!(problem.of_namespace && problem.text.contains("cookie"), "{problem:?}");
}

#[test]
fn what_is_not_allowed_switches_nothing_on() {
    let plan = plan(ALLOW);
    let strict = super::tests::plan("");
    for (plan, key, value) in [
        (&plan, annotation::HEADERS, "a,d"),
        (&plan, annotation::HEADERS, "p-one"),
        (&plan, annotation::HEADERS, ""),
        (&plan, annotation::HEADERS, "a b"),
        (&strict, annotation::HEADERS, "c"),
        (&plan, annotation::EGRESS, "0.0.0.0/0"),
        (&plan, annotation::EGRESS, "198.51.0.0/16"),
        (&plan, annotation::EGRESS, "all"),
        (&plan, annotation::INGRESS, "192.168.0.0/16"),
        (&plan, annotation::INGRESS, ""),
        (&strict, annotation::ATTRIBUTION, "balanced"),
        (&plan, annotation::ATTRIBUTION, "sure"),
    ] {
        let Choice::Refused(problem) = chosen(plan, &[], &[(key, value)]) else { panic!("{key}={value} was taken") };
        assert!(!problem.of_namespace && problem.text.contains(key), "{problem:?}");
    }
    assert!(matches!(chosen(&strict, &[], &[(annotation::INGRESS, "203.0.113.0/24")]), Choice::On(_)));
}

#[test]
fn who_observes_does_so_whatever_annotations_ask_for() {
    let mut plan = plan(ALLOW);
    plan.is_observing = true;
    let asked =
        [(annotation::HEADERS, "a"), (annotation::EGRESS, "198.51.100.0/24"), (annotation::ATTRIBUTION, "sure")];
    let settings = settings_of(&plan, &asked);
    assert_eq!((settings.names, settings.addresses.egress()), (plan.carried, &[][..]));
}
