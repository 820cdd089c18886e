//! `/metrics`: counts equal what was sent, never fall, and a real Prometheus takes them, the alert rules and every
//! expression of the dashboard.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::api_server::ApiServer;
use baton_tests::app::{App, Launch, Program, free_port};
use baton_tests::baton::{self, Daemon};
use baton_tests::cgroup::Cgroup;
use baton_tests::dashboard;
use baton_tests::load::Client;
use baton_tests::metrics::{self, Scrape};
use baton_tests::pods::{ENABLED, Node, Pod, Tree, uid, until_propagated};
use baton_tests::probe::Probe;
use baton_tests::process::Running;
use baton_tests::programs::workspace;
use baton_tests::prometheus::{Prometheus, promtool};
use baton_tests::recorder::Recorder;
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wait;
use baton_tests::wire::{Script, Wire};

const LIMIT: Duration = Duration::from_secs(30);
const HEADER: &str = "x-telepresence-id";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn health() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// The daemon, which gives metrics at `health`.
fn serving(cgroups: &[&Path], health: SocketAddr) -> Result<Daemon> {
    Daemon::start_with(cgroups, &["--health", &health.to_string()], &[])
}

/// An application in a cgroup of its own, and its backend.
struct Workload {
    app: App,
    recorder: Recorder,
    cgroup: Cgroup,
}

impl Workload {
    fn start(program: impl FnOnce(&str) -> Result<Program>) -> Result<Self> {
        let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
        let app = program(&recorder.url())?.start(&Launch::In(&cgroup))?;
        Ok(Self { app, recorder, cgroup })
    }

    fn relay() -> Result<Self> {
        Self::start(|url| relay::c(url, Backend::Fresh))
    }

    /// Sends so many requests, all with or without a header; each causes one.
    fn send(&self, count: usize, value: Option<&str>) -> Result<()> {
        let mut probe = Probe::fresh(self.app.address(), &self.recorder);
        (0..count).try_for_each(|_| probe.relay(value).map(drop))
    }

    fn name(&self) -> String {
        self.cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What a scrape says of outbound requests, by verdict.
fn verdicts(scrape: &Scrape, metric: &str, labels: &[(&str, &str)]) -> [u64; 4] {
    ["injected", "already-present", "nothing-to-insert", "lost"]
        .map(|verdict| scrape.sum(metric, &[&[("verdict", verdict)], labels].concat()))
}

#[test]
fn counts_equal_what_was_sent() -> Result<()> {
    let relay = Workload::relay()?;
    let threads = Workload::start(|url| relay::python_threads(url, Backend::Fresh))?;
    let (own, server) = (Workload::start(|_| relay::wire())?, Wire::start(Script::silent().after(b"\r\n\r\n", OK))?);
    let address = health()?;
    let daemon = serving(&[relay.cgroup.path(), threads.cgroup.path(), own.cgroup.path()], address)?;
    let start = Scrape::of(address)?;
    ensure!(start.counters().all(|sample| sample.value == 0.0), "not all begins with 0:\n{}", start.text);
    ensure!(start.all("baton_losses_total", &[]).count() > 15, "reasons are missing at the start:\n{}", start.text);

    relay.send(30, Some("dev1"))?;
    relay.send(20, None)?;
    relay.send(3, Some("a\u{1}b"))?;
    let mut client = Client::new(threads.app.address(), false);
    for number in 0..7 {
        client.get(&format!("/relay?id=t{number}&n=2&via=thread"), &[(HEADER, "dev2")])?;
    }
    let mut client = Client::new(own.app.address(), false);
    let target = format!("/case/with_fields?port={}&fields={HEADER}:own|traceparent:own", server.address().port());
    for _ in 0..5 {
        client.get(&target, &[(HEADER, "dev3")])?;
    }

    let now = Scrape::of(address)?;
    let of = |workload: &Workload| {
        let (name, outbound) = (workload.name(), "baton_workload_outbound_requests_total");
        let label = [("workload", name.as_str())];
        (now.sum("baton_workload_inbound_requests_total", &label), verdicts(&now, outbound, &label))
    };
    ensure!(of(&relay) == (53, [30, 0, 23, 0]), "{:?}\n{}", of(&relay), now.text);
    ensure!(of(&threads) == (7, [0, 0, 0, 14]), "{:?}\n{}", of(&threads), now.text);
    ensure!(of(&own) == (5, [0, 5, 0, 0]), "{:?}\n{}", of(&own), now.text);
    let (name, ambiguous) = (threads.name(), [("reason", "ambiguous")]);
    let label = ("workload", name.as_str());
    ensure!(now.sum("baton_workload_losses_total", &[ambiguous[0], label]) == 14, "{}", now.text);
    ensure!(now.all("baton_workload_losses_total", &[]).count() == 1, "other losses:\n{}", now.text);
    let relay = relay.name();
    ensure!(now.sum("baton_workload_lines_dropped_total", &[("workload", &relay)]) == 3, "{}", now.text);

    ensure!(now.sum("baton_inbound_requests_total", &[]) == 65, "{}", now.text);
    ensure!(verdicts(&now, "baton_outbound_requests_total", &[]) == [30, 5, 23, 14], "{}", now.text);
    ensure!(now.sum("baton_losses_total", &[]) == 14, "{}", now.text);
    ensure!(now.sum("baton_losses_total", &ambiguous) == 14, "{}", now.text);
    ensure!(now.sum("baton_lines_dropped_total", &[]) == 3, "{}", now.text);
    ensure!(now.sum("baton_workloads", &[]) == 3 && now.sum("baton_ready", &[]) == 1, "{}", now.text);
    ensure!(now.sum("baton_contexts_peak", &[]) > 0, "{}", now.text);
    ensure!(now.all("baton_hook_info", &[("program", "inet_sock_set_state"), ("hook", "tracepoint")]).count() == 1);
    daemon.stop().map(drop)
}

#[test]
fn counters_never_fall_when_workloads_come_and_go() -> Result<()> {
    let (one, two) = (Workload::relay()?, Workload::relay()?);
    let address = health()?;
    let daemon = serving(&[one.cgroup.path()], address)?;
    let mut last = Scrape::of(address)?;
    // A scrape whose node's counters are not below those of the one before.
    let mut scrape = || -> Result<Scrape> {
        let now = Scrape::of(address)?;
        for before in last.counters().filter(|sample| !sample.labels.contains_key("workload")) {
            let labels: Vec<_> = before.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let after = now.all(&before.name, &labels).next().with_context(|| format!("{before:?} is gone"))?;
            ensure!(after.value >= before.value, "{before:?} fell to {}", after.value);
        }
        last = now.clone();
        Ok(now)
    };
    let until = |what: &str, scrape: &mut dyn FnMut() -> Result<Scrape>, is_so: &dyn Fn(&Scrape) -> bool| {
        wait::until(what, LIMIT, || scrape().map(|now| is_so(&now).then_some(now))).with_context(|| daemon.output())
    };
    let inbound = "baton_workload_inbound_requests_total";
    let of = |scrape: &Scrape, workload: &Workload| scrape.sum(inbound, &[("workload", &workload.name())]);
    let is_there = |scrape: &Scrape, workload: &Workload| {
        let name = workload.name();
        scrape.all(inbound, &[("workload", &name)]).next().is_some()
    };

    one.send(40, Some("dev1"))?;
    ensure!(of(&scrape()?, &one) == 40);
    // The second gets the first one's place.
    daemon.reload(&[two.cgroup.path()])?;
    let now = until("the second in the place of the first", &mut scrape, &|now| is_there(now, &two))?;
    ensure!(!is_there(&now, &one) && of(&now, &two) == 0, "{}", now.text);
    ensure!(now.sum("baton_inbound_requests_total", &[]) == 40, "{}", now.text);
    two.send(7, Some("dev2"))?;
    one.send(5, Some("dev1"))?;
    let now = scrape()?;
    ensure!(of(&now, &two) == 7, "{}", now.text);
    ensure!(verdicts(&now, "baton_outbound_requests_total", &[]) == [47, 0, 0, 0], "{}", now.text);

    // Nobody has the place, then the first has it again, and begins anew.
    daemon.reload(&[])?;
    let now = until("no workload", &mut scrape, &|now| now.sum("baton_workloads", &[]) == 0)?;
    ensure!(now.sum("baton_inbound_requests_total", &[]) == 47, "{}", now.text);
    daemon.reload(&[one.cgroup.path(), two.cgroup.path()])?;
    let now = until("both", &mut scrape, &|now| now.sum("baton_workloads", &[]) == 2)?;
    ensure!(of(&now, &one) == 0 && of(&now, &two) == 0, "{}", now.text);
    one.send(1, Some("dev1"))?;
    let now = scrape()?;
    ensure!(of(&now, &one) == 1 && now.sum("baton_inbound_requests_total", &[]) == 48, "{}", now.text);
    daemon.stop().map(drop)
}

#[test]
fn nobody_listens_unasked() -> Result<()> {
    let workload = Workload::relay()?;
    let daemon = Daemon::start(&[workload.cgroup.path()])?;
    let inodes = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.flatten();
    let inodes = inodes.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let sockets: Vec<String> = inodes
        .filter_map(|target| Some(target.to_string_lossy().strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", daemon.pid()))?;
        let owns =
            |line: &str| line.split_whitespace().nth(9).is_some_and(|inode| sockets.iter().any(|own| own == inode));
        ensure!(!table.lines().any(owns), "it has a TCP socket: {table}");
    }
    daemon.stop()?;
    let address = health()?;
    let daemon = serving(&[workload.cgroup.path()], address)?;
    for path in ["/healthz", "/readyz"] {
        let (head, _) = Client::new(address, false).get(path, &[])?;
        ensure!(head.status == 200, "{path}: {}", head.status);
    }
    daemon.stop().map(drop)
}

#[test]
fn watchers_and_what_they_are_told_are_counted() -> Result<()> {
    let (scratch, workload, address) = (Scratch::new()?, Workload::relay()?, health()?);
    let daemon = serving(&[workload.cgroup.path()], address)?;
    workload.send(5, Some("dev1"))?;
    let mut watch = baton::command(["watch", "--json", "--socket"])?;
    watch.arg(daemon.socket());
    let mut watch = Running::spawn(watch, scratch.join("watched"))?;
    wait::until("a watcher", LIMIT, || Ok((Scrape::of(address)?.sum("baton_watchers", &[]) == 1).then_some(())))?;
    workload.send(10, Some("dev1"))?;
    // Those before it came are not its.
    wait::until("all flow events", LIMIT, || {
        Ok((Scrape::of(address)?.sum("baton_flow_events_total", &[]) == 20).then_some(()))
    })
    .with_context(|| watch.output())?;
    watch.terminate()?;
    wait::until("no watcher", LIMIT, || Ok((Scrape::of(address)?.sum("baton_watchers", &[]) == 0).then_some(())))?;
    daemon.stop().map(drop)
}

#[test]
fn pods_are_counted_and_those_that_stay_out() -> Result<()> {
    let (api, tree) = (ApiServer::start()?, Tree::new()?);
    let (good, bad) = (Pod::start(&tree)?, Pod::start(&tree)?);
    api.set_namespace("shop", ENABLED, &[]);
    api.set_pod("good", &good.uid, &[], &[]);
    api.set_pod("bad", &bad.uid, &[], &[("baton.dev/headers", "x-secret")]);
    api.set_pod("late", &uid(), &[], &[]);
    let node = Node::start(&api, &tree, "")?;
    node.until_health("/readyz", 200)?;
    for _ in 0..10 {
        ensure!(good.probe().is_propagated()?, "{}", node.output());
    }
    let now = Scrape::of(node.address())?;
    let count = |metric: &str, reason: &str| now.sum(metric, &[("reason", reason)]);
    ensure!(now.sum("baton_workloads", &[]) == 1 && now.sum("baton_pods_waiting", &[]) == 1, "{}", now.text);
    ensure!(count("baton_notices", "PropagationRefused") == 1, "{}", now.text);
    ensure!(count("baton_notices", "NotEnrolled") == 0, "{}", now.text);
    let inbound = |scrape: &Scrape| scrape.sum("baton_workload_inbound_requests_total", &[("workload", "shop/good")]);
    ensure!(inbound(&now) == 10, "{}", now.text);

    // With other settings it is attached anew, and goes on counting.
    api.set_pod("good", &good.uid, &[], &[("baton.dev/headers", "traceparent")]);
    until_propagated(&good, false, LIMIT)?;
    let now = Scrape::of(node.address())?;
    let before = inbound(&now);
    ensure!(before >= 10, "{}", now.text);
    good.probe().is_propagated()?;
    let now = Scrape::of(node.address())?;
    ensure!(inbound(&now) == before + 1 && now.sum("baton_inbound_requests_total", &[]) == before + 1, "{}", now.text);
    node.stop().map(drop)
}

/// The kernel's BPF statistics, while it lives as the test wants them.
struct Statistics {
    before: String,
}

impl Statistics {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn set(on: bool) -> Result<Self> {
        let before = std::fs::read_to_string(Self::SWITCH)?;
        std::fs::write(Self::SWITCH, if on { "1" } else { "0" })?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SWITCH, &self.before);
    }
}

#[test]
fn time_in_programs_is_there_while_the_kernel_counts_it() -> Result<()> {
    let (workload, address) = (Workload::relay()?, health()?);
    let _off = Statistics::set(false)?;
    let daemon = serving(&[workload.cgroup.path()], address)?;
    let counted = |metric: &str| -> Result<Option<f64>> {
        let scrape = Scrape::of(address)?;
        Ok(scrape.all(metric, &[("program", "sk_msg_write")]).next().map(|sample| sample.value))
    };
    ensure!(counted("baton_program_runs_total")?.is_none(), "runs are there, though the kernel does not count them");
    let on = Statistics::set(true)?;
    workload.send(10, Some("dev1"))?;
    let (runs, seconds) = (counted("baton_program_runs_total")?, counted("baton_program_run_seconds_total")?);
    ensure!(runs.is_some_and(|runs| runs >= 10.0), "{runs:?}");
    ensure!(seconds.is_some_and(|seconds| seconds > 0.0 && seconds < 1.0), "{seconds:?}");
    drop(on);
    ensure!(counted("baton_program_runs_total")?.is_none(), "runs are there, though the kernel counts no more");
    daemon.stop().map(drop)
}

fn deployed(name: &str) -> PathBuf {
    workspace().join("deploy").join(name)
}

#[test]
fn promtool_finds_nothing_wrong() -> Result<()> {
    let (workload, address) = (Workload::relay()?, health()?);
    let daemon = serving(&[workload.cgroup.path()], address)?;
    let _on = Statistics::set(true)?;
    workload.send(3, Some("dev1"))?;
    promtool(&["check", "metrics"], &Scrape::of(address)?.text)?;
    let rules = deployed("prometheus/baton.rules.yaml");
    promtool(&["check", "rules", &rules.display().to_string()], "")?;
    promtool(&["test", "rules", &deployed("prometheus/baton.rules.test.yaml").display().to_string()], "")?;
    // The configurations that the documentation shows.
    let (scratch, document) = (Scratch::new()?, std::fs::read_to_string(workspace().join("docs/METRICS.md"))?);
    let shown: Vec<&str> = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(shown.len() == 2, "{shown:?}");
    for config in shown {
        // Debian's Prometheus is built without this.
        let config =
            config.replace("kubernetes_sd_configs:\n      - role: pod\n", "static_configs: [{targets: [pod]}]\n");
        let file = scratch.write("prometheus.yml", config)?;
        promtool(&["check", "config", &file.display().to_string()], "")?;
    }
    daemon.stop().map(drop)
}

/// Panels that show nothing in the test: they are about what is rare.
const EMPTY: [&str; 2] = ["Alerts that fire", "Inbound requests that were not followed"];

#[test]
fn prometheus_scrapes_and_the_dashboard_has_data() -> Result<()> {
    let (relay, address) = (Workload::relay()?, health()?);
    let threads = Workload::start(|url| relay::python_threads(url, Backend::Fresh))?;
    let daemon = serving(&[relay.cgroup.path(), threads.cgroup.path()], address)?;
    let _on = Statistics::set(true)?;
    ensure!(metrics::get(address, "application/openmetrics-text; version=1.0.0")?.ends_with("# EOF\n"));
    let prometheus = Prometheus::start(address, &deployed("prometheus/baton.rules.yaml"))?;
    let mut client = Client::new(threads.app.address(), false);
    let mut drive = || -> Result<()> {
        relay.send(5, Some("dev1"))?;
        client.get("/relay?id=t&n=1&via=thread", &[(HEADER, "dev2")]).map(drop)
    };
    // Rates take two scrapes at least, and losses a change between two.
    let rate = "sum(rate(baton_workload_losses_total[30s]))";
    wait::until("a rate of losses", LIMIT, || {
        drive()?;
        Ok(prometheus.number(rate)?.filter(|rate| *rate > 0.0))
    })
    .with_context(|| prometheus.output())?;
    let sent = Scrape::of(address)?.sum("baton_inbound_requests_total", &[]);
    wait::until("the last scrape", LIMIT, || {
        let seen = prometheus.number("baton_inbound_requests_total{job=\"baton\", instance=\"node-1\"}")?;
        Ok(seen.filter(|seen| *seen as u64 == sent))
    })?;

    let targets = prometheus.ask("/api/v1/targets")?;
    ensure!(targets["data"]["activeTargets"][0]["lastError"] == "", "{targets}");
    let rules = prometheus.ask("/api/v1/rules")?;
    let loaded = rules["data"]["groups"][0]["rules"].as_array().with_context(|| rules.to_string())?;
    let wrong: Vec<_> = loaded.iter().filter(|rule| rule["health"] == "err").collect();
    ensure!(loaded.len() > 10 && wrong.is_empty(), "{wrong:?}");
    ensure!(prometheus.query("ALERTS{alertstate=\"firing\"}")?.is_empty(), "alerts fire though all is well");

    let mut panels = 0;
    for (title, expressions) in dashboard::expressions(&deployed("grafana/baton.json"))? {
        for expression in &expressions {
            let values = prometheus.query(expression).with_context(|| format!("{title}: {expression}"))?;
            let is_empty = values.iter().all(|value| value["value"][1] == "NaN");
            // What only comes with a pod, or a loss, is added to what is always there.
            let may_be_empty = EMPTY.contains(&title.as_str()) || expression.ends_with("> 0") && expressions.len() > 1;
            let may_be_empty = may_be_empty || expression.contains("baton_pods_waiting");
            ensure!(may_be_empty || !is_empty, "{title}: nothing for {expression}");
        }
        panels += 1;
    }
    ensure!(panels > 20, "{panels} panels and variables");
    let share = "sum(baton_outbound_requests_total{verdict=\"injected\"}) / sum(baton_outbound_requests_total)";
    ensure!(prometheus.number(share)?.is_some_and(|share| share > 0.5 && share < 1.0));
    ensure!(prometheus.query("{__name__=~\"baton_.*\", path=~\".+\"}")?.is_empty(), "a path is a label");
    daemon.stop().map(drop)
}
