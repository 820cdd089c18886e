//! Mixed load on a daemon for a long time, with its memory and maps sampled. Prints one JSON object; `cargo xtask soak`
//! calls it.
//!
//! `soak [--seconds N]`

#![expect(clippy::print_stdout, reason = "its output")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use baton_tests::app::{Launch, free_port};
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::exchange::{Exchanges, Outcome, Shape};
use baton_tests::maps;
use baton_tests::metrics::Scrape;
use baton_tests::programs::{command, succeed};
use baton_tests::random::Random;
use baton_tests::{servers, wait};
use serde_json::{Value, json};

/// Maps whose elements are counted, and what they are called in the result.
const MAPS: [(&str, &str); 4] =
    [("EXECUTORS", "executors"), ("PROCESSES", "processes"), ("MEMBERS", "sockets"), ("READINGS", "readings")];

/// How many samples are taken.
const SAMPLES: u32 = 30;

/// Variables of the application, clients, and how they use it.
type Load = (&'static [(&'static str, &'static str)], usize, Shape);

/// The kinds of load.
const LOADS: [Load; 4] = [
    // Small and large, kept.
    (&[], 8, Shape { modes: &["plain"], largest: 1_000_000, keep: true, pause: 20 }),
    (
        &[("NONBLOCK", "1")],
        8,
        Shape { modes: &["plain", "bytes", "sndbuf", "dup"], largest: 300_000, keep: true, pause: 20 },
    ),
    // Short connections.
    (&[], 4, Shape { modes: &["plain", "half", "linger"], largest: 2000, keep: false, pause: 10 }),
    // Processes that come and go.
    (
        &[("WORKER", "1")],
        4,
        Shape { modes: &["fork", "by_child", "by_other"], largest: 20_000, keep: false, pause: 30 },
    ),
];

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let seconds: u64 = match (words.next().as_deref(), words.next()) {
        (None, _) => 1800,
        (Some("--seconds"), Some(seconds)) => seconds.parse()?,
        (Some(other), _) => bail!("unknown option {other}"),
    };
    let (before, cgroup, mut random) = (Objects::now()?, Cgroup::new()?, Random::of_this_run());
    let mut loads = Vec::new();
    for (variables, clients, shape) in LOADS {
        let exchanges = Exchanges::new()?;
        let app = exchanges.program(variables)?.start(&Launch::In(&cgroup))?;
        loads.push((exchanges, app, clients, shape, Random::new(random.number())));
    }
    let redis = servers::redis()?.start(&Launch::In(&cgroup))?;
    let health = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let daemon = Daemon::start_with(&[cgroup.path()], &["--health", &health.to_string()], &[])?;

    let end = Instant::now() + Duration::from_secs(seconds);
    let done = || Instant::now() > end;
    let (samples, other) = std::thread::scope(|scope| -> Result<_> {
        for (exchanges, app, clients, shape, random) in &mut loads {
            let (exchanges, address, clients, shape) = (&*exchanges, app.address(), *clients, &*shape);
            scope.spawn(move || exchanges.load(address, clients, shape, random, done));
        }
        let other = scope.spawn(|| benchmarks(redis.address(), &cgroup, done));
        let samples = sampled(&daemon, &cgroup, health, seconds, done);
        let other = other.join().map_err(|_| anyhow::anyhow!("the load on Redis panicked"))?;
        Ok((samples?, other?))
    })?;
    let outcomes = loads.iter().map(|load| load.0.outcome()).collect::<Result<Vec<_>>>()?;
    // All connections and threads end.
    drop(loads);
    drop(redis);
    let quiet = wait::until("nothing in the maps", Duration::from_secs(30), || {
        let sample = sample(&daemon, health)?;
        let empty = MAPS[..3].iter().all(|(_, name)| sample[*name] == 0);
        Ok(empty.then_some(sample))
    });
    let left = match quiet {
        Ok(sample) => sample,
        Err(_) => sample(&daemon, health)?,
    };
    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
    let clean = nothing_new_since(&before).is_ok();
    println!("{}", report(seconds, &samples, &left, &outcomes, other, clean));
    Ok(())
}

/// Redis, which does not speak HTTP, as a server in the workload, with clients in it and outside. Returns how many runs of
/// redis-benchmark there were; one that fails is an error.
fn benchmarks(redis: SocketAddr, cgroup: &Cgroup, done: impl Fn() -> bool) -> Result<usize> {
    let mut runs = 0;
    while !done() {
        let mut benchmark = command("redis-benchmark")?;
        benchmark.args(["-p", &redis.port().to_string()]);
        benchmark.args(["-n", "3000", "-c", "10", "-d", "2000", "-t", "set,get", "--csv"]);
        let benchmark = if runs % 2 == 0 { benchmark } else { cgroup.wrap(&benchmark) };
        succeed(benchmark, "redis-benchmark")?;
        runs += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(runs)
}

/// Samples until the end, with a reload now and then.
fn sampled(
    daemon: &Daemon,
    cgroup: &Cgroup,
    health: SocketAddr,
    seconds: u64,
    done: impl Fn() -> bool,
) -> Result<Vec<Value>> {
    let (start, pause) = (Instant::now(), Duration::from_secs(seconds) / SAMPLES);
    let mut samples = Vec::new();
    while !done() {
        std::thread::sleep(pause);
        let mut sample = sample(daemon, health)?;
        sample["seconds"] = json!(start.elapsed().as_secs());
        samples.push(sample);
        match samples.len() % 6 {
            // Read again as it is, then without the workload and with it.
            2 => daemon.reload(&[cgroup.path()])?,
            4 => daemon.reload(&[])?,
            5 => daemon.reload(&[cgroup.path()])?,
            _ => {}
        }
    }
    Ok(samples)
}

/// The daemon's memory, and how full its maps are.
fn sample(daemon: &Daemon, health: SocketAddr) -> Result<Value> {
    let scrape = Scrape::of(health)?;
    let mut sample = json!({
        "resident": daemon.memory()?,
        "contexts_peak": scrape.sum("baton_contexts_peak", &[]),
        "not_enrolled": scrape.sum("baton_connections_not_enrolled_total", &[]),
        "contexts_full": scrape.sum("baton_inbound_not_followed_total", &[("reason", "contexts-full")]),
    });
    for (map, name) in MAPS {
        sample[name] = json!(maps::elements(daemon.pid(), map).with_context(|| format!("failed to look into {map}"))?);
    }
    Ok(sample)
}

fn report(seconds: u64, samples: &[Value], left: &Value, outcomes: &[Outcome], other: usize, clean: bool) -> Value {
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    json!({
        "seconds": seconds,
        "baton": baton::binary().map(|binary| binary.display().to_string()).unwrap_or_default(),
        "exchanges": sum(|outcome| outcome.exchanges),
        "failed": sum(|outcome| outcome.failed + outcome.reconnects),
        "changed": sum(|outcome| outcome.changed),
        "wrong": sum(|outcome| outcome.wrong),
        "carried": sum(|outcome| outcome.carried),
        "lost": sum(|outcome| outcome.lost),
        "redis_runs": other,
        "clean": clean,
        "samples": samples,
        "left": left,
        "examples": outcomes.iter().flat_map(|outcome| &outcome.examples).collect::<Vec<_>>(),
    })
}
