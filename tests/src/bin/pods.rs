//! Measures `baton run --kubernetes` with many simulated pods: real cgroups, a fake API server. Prints one JSON object;
//! `cargo xtask pods` calls it.
//!
//! `pods [--pods N]`

#![expect(clippy::print_stdout, reason = "its output")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use baton_tests::api_server::ApiServer;
use baton_tests::bpf::programs_on;
use baton_tests::cgroup::Cgroup;
use baton_tests::pins::Pins;
use baton_tests::pods::{ENABLED, Node, Tree, uid};
use baton_tests::wait;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::json;

/// How long the node is left alone to see what it costs when nothing changes.
const QUIET: Duration = Duration::from_secs(20);

/// Changes of the namespace's label.
const SWITCHES: usize = 10;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let count: usize = match (words.next().as_deref(), words.next()) {
        (None, _) => 200,
        (Some("--pods"), Some(count)) => count.parse()?,
        (Some(other), _) => bail!("unknown option {other}"),
    };
    let (api, tree, pins) = (ApiServer::start()?, Tree::new()?, Pins::new()?);
    api.set_namespace("shop", ENABLED, &[]);
    let node = Node::pinned(&api, &tree, &pins)?;
    node.until_health("/readyz", 200)?;

    let mut pods = Vec::new();
    let mut to_enrolled = Vec::new();
    for number in 0..count {
        let uid = uid();
        api.set_pod(&format!("pod-{number}"), &uid, &[], &[]);
        // The kubelet knows the pod at the same time, and takes longer.
        wait::until("the watch", wait::START, || Ok(api.is_quiet().then_some(())))?;
        let start = Instant::now();
        let pod = tree.pod(&uid)?;
        wait_enrolled(&pod, true)?;
        to_enrolled.push(start.elapsed());
        pods.push(pod);
    }

    let before = processor_time(node.pid())?;
    // What is measured is that nothing happens.
    std::thread::sleep(QUIET);
    let idle = (processor_time(node.pid())? - before).as_secs_f64() / QUIET.as_secs_f64();
    let resident = resident(node.pid())?;

    let mut to_effect = Vec::new();
    for round in 0..SWITCHES {
        let on = round % 2 == 1;
        let start = Instant::now();
        api.set_namespace("shop", if on { ENABLED } else { &[] }, &[]);
        for pod in &pods {
            wait_enrolled(pod, on).with_context(|| format!("in round {round}: {}", node.output()))?;
        }
        to_effect.push(start.elapsed());
    }
    ensure!(node.stop()? == 0, "the status after SIGTERM");
    println!(
        "{}",
        json!({
            "pods": count,
            "resident_mb": resident as f64 / 1e6,
            "idle_share_of_a_core": idle,
            "to_enrolled_ms": milliseconds(&to_enrolled),
            "label_to_effect_on_all_ms": milliseconds(&to_effect),
        })
    );
    Ok(())
}

/// Waits until programs are attached to a pod's cgroup, or are gone.
fn wait_enrolled(pod: &Cgroup, enrolled: bool) -> Result<()> {
    let limit = Duration::from_secs(10);
    let deadline = Instant::now() + limit;
    while (programs_on(pod.path())? > 0) != enrolled {
        ensure!(Instant::now() < deadline, "not within {limit:?}: {}", pod.path().display());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

/// Processor time of a process and its threads (proc(5), `stat`, fields 14 and 15).
fn processor_time(pid: i32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).context("no such field");
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) as f64 / a_second as f64))
}

/// Resident memory in bytes (proc(5), `status`, `VmRSS`).
fn resident(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
