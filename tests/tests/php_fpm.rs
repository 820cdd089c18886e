//! PHP-FPM: a worker has one request at a time, and what it calls belongs to that until the answer is complete.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon, Exec, HEADERS};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::fastcgi::{self, Connection};
use baton_tests::flows::Flow;
use baton_tests::fpm::{self, Listen, Pool, wait_for_support};
use baton_tests::load::Client;
use baton_tests::probe::Probe;
use baton_tests::programs::{self, source};
use baton_tests::recorder::{Recorded, Recorder};
use baton_tests::scratch::Scratch;
use baton_tests::{flows, wait};

const LIMIT: Duration = Duration::from_secs(20);
const REQUESTS: usize = 40;

/// Of the requests that arrived, the one with this target.
fn take<'a>(calls: &'a [Recorded], target: &str) -> Result<Option<&'a str>> {
    let call = calls.iter().find(|call| call.head.target == target);
    call.with_context(|| format!("no request for {target}"))?.carried()
}

/// Its workers, and the connections that nginx keeps to them, are older than baton; nginx is in the workload, too.
#[test]
fn one_that_was_there_before() -> Result<()> {
    let before = Objects::now()?;
    for listen in [Listen::Tcp, Listen::Unix] {
        let (recorder, cgroup) = (Recorder::echoing_targets()?, Cgroup::new()?);
        let launch = Launch::In(&cgroup);
        let (app, front) = fpm::start(&recorder.url(), &Pool::of_one(listen), &launch, &launch)?;
        let mut client = Probe::kept(front.address(), &recorder);
        ensure!(client.relay(Some("early"))?.carried()?.is_none(), "without baton");
        let daemon = Daemon::start(&[cgroup.path()])?;
        wait::until("the first request that carries its header", LIMIT, || Ok(client.is_propagated()?.then_some(())))?;
        for _ in 0..REQUESTS {
            ensure!(client.is_propagated()?, "a header was lost");
            ensure!(client.relay(None)?.carried()?.is_none(), "a value from nowhere");
        }
        examine(&cgroup)?;
        ensure!(daemon.stop()? == 0, "the status after SIGTERM");
        ensure!(!client.is_propagated()?, "it goes on without the daemon");
        front.stop()?;
        app.stop()?;
    }
    nothing_new_since(&before)
}

/// What `baton doctor --pid` says of PHP-FPM's processes in `cgroup`.
fn examine(cgroup: &Cgroup) -> Result<()> {
    let mut found = 0;
    for id in cgroup.members() {
        let doctor = baton::command(["doctor", "--json", "--pid", &id.to_string()])?;
        let said: serde_json::Value = serde_json::from_str(&programs::succeed(doctor, "baton doctor --pid")?)?;
        if said["runtime"] == "php-fpm" {
            ensure!(said["reason"].is_null() && said["probes"].as_array().map_or(0, Vec::len) == 3, "{said}");
            found += 1;
        }
    }
    ensure!(found == 2, "{found} processes of PHP-FPM, not a master and a worker");
    Ok(())
}

/// `fastcgi_finish_request()` completes the answer, and so does the end of the script, after what it has registered for that.
#[test]
fn calls_before_and_after_the_answer() -> Result<()> {
    for listen in [Listen::Tcp, Listen::Unix] {
        let (recorder, scratch) = (Recorder::echoing_targets()?, Scratch::new()?);
        let file = scratch.join("flows");
        let launch = Launch::Exec(&Exec::default().flows(&file));
        // A connection that is there before the runtime is known is work that is not known, for as long as it is there.
        let pool = Pool { keep: listen == Listen::Unix, ..Pool::of_one(listen) };
        let (app, front) = fpm::start(&recorder.url(), &pool, &launch, &Launch::Plain)?;
        wait_for_support(front.address(), &recorder)?;
        let mut client = Client::new(front.address(), true);
        for number in 0..REQUESTS {
            let value = format!("value-{number}");
            let target = format!("/relay?id={number}&n=1&stream=1&child=1");
            client.get(&format!("{target}&late=1"), &[(HEADERS[0], value.as_str())])?;
            let calls = recorder.take();
            ensure!(calls.len() == 4, "{} calls instead of four", calls.len());
            for call in &calls {
                ensure!(call.carried()? == Some(&value), "{} carries {:?}", call.head.target, call.carried()?);
            }
            client.get(&format!("{target}&after=1"), &[(HEADERS[0], value.as_str())])?;
            let mut calls = Vec::new();
            wait::until("the call after the answer", LIMIT, || {
                calls.extend(recorder.take());
                Ok((calls.len() == 4).then_some(()))
            })?;
            for place in ["out", "stream", "child"] {
                let target = if place == "out" { format!("/out/{number}/1") } else { format!("/{place}/{number}") };
                ensure!(take(&calls, &target)? == Some(&value), "{target} carries {:?}", take(&calls, &target)?);
            }
            ensure!(take(&calls, &format!("/after/{number}"))?.is_none(), "carried after the answer");
            client.get(&target, &[])?;
            for call in recorder.take() {
                ensure!(call.carried()?.is_none(), "{} carries {:?}", call.head.target, call.carried()?);
            }
        }
        front.stop()?;
        app.stop()?;
        let flows = flows::read(&file)?;
        let late: Vec<&Flow> =
            flows.iter().filter(|flow| flow.kind == "outbound" && flow.path.starts_with("/after/")).collect();
        ensure!(late.len() == REQUESTS, "{} flow events of calls after the answer", late.len());
        for flow in late {
            ensure!(flow.is("lost") && flow.reason.as_deref() == Some("answered"), "{flow:?}");
        }
        let inbound = flows.iter().find(|flow| flow.kind == "inbound").context("no inbound request")?;
        ensure!((inbound.method.as_str(), inbound.path.as_str()) == ("GET", "/relay"), "{inbound:?}");
        ensure!((inbound.peer == "unix") == (listen == Listen::Unix), "{inbound:?}");
    }
    Ok(())
}

/// What is written to a connection, each by itself.
type Pieces = Vec<Vec<u8>>;

/// Makes a request of the variables that each has.
type Request<'a> = dyn Fn(&[(&str, &str)]) -> Result<Pieces> + 'a;

/// What web servers do not send: pieces of any size, more variables than are looked at, values that are no text, and
/// another request's records in between.
#[test]
fn unusual_fastcgi() -> Result<()> {
    let (recorder, scratch) = (Recorder::echoing_targets()?, Scratch::new()?);
    let file = scratch.join("flows");
    let app =
        Pool::of_one(Listen::Tcp).program(&recorder.url())?.start(&Launch::Exec(&Exec::default().flows(&file)))?;
    let script = source("php/fpm.php").display().to_string();
    let call = |pieces: &Request<'_>| -> Result<Option<String>> {
        let variables = [
            ("SCRIPT_FILENAME", script.as_str()),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/"),
            ("QUERY_STRING", "id=1&n=1"),
        ];
        let mut connection = Connection::new(app.address())?;
        let pieces = pieces(&variables)?;
        connection.send(pieces.iter().map(Vec::as_slice))?;
        let response = connection.response()?;
        let calls = recorder.take();
        ensure!(calls.len() == 1, "{} calls instead of one: {response}", calls.len());
        Ok(calls[0].carried()?.map(str::to_owned))
    };
    let plain = |variables: &[(&str, &str)], more: &[(&str, &str)]| -> Result<Vec<u8>> {
        Ok([fastcgi::begin(1)?, fastcgi::params(1, &[variables, more].concat())?, fastcgi::end(1)?].concat())
    };
    let own = [("HTTP_X_TELEPRESENCE_ID", "own")];
    wait::until("the first request that carries its header", LIMIT, || {
        Ok(call(&|variables| Ok(vec![plain(variables, &own)?]))?.map(drop))
    })?;
    let nothing = || -> Result<()> {
        ensure!(call(&|variables| Ok(vec![plain(variables, &[])?]))?.is_none(), "a value from nowhere");
        Ok(())
    };
    nothing()?;
    for size in [1, 7, 8, 100] {
        let found = call(&|variables| Ok(plain(variables, &own)?.chunks(size).map(<[u8]>::to_vec).collect()))?;
        ensure!(found.as_deref() == Some("own"), "in pieces of {size}: {found:?}");
        nothing()?;
    }
    // One record for each variable, and one variable twice: the last one counts, as for PHP.
    let found = call(&|variables| {
        let all = [&[("HTTP_X_TELEPRESENCE_ID", "other")], variables, &own].concat();
        let params = all.iter().map(|one| fastcgi::params(1, &[*one])).collect::<Result<Vec<_>>>()?;
        Ok(vec![[fastcgi::begin(1)?, params.concat(), fastcgi::end(1)?].concat()])
    })?;
    ensure!(found.as_deref() == Some("own"), "in many records: {found:?}");
    nothing()?;
    let many: Vec<String> = (0..2000).map(|number| format!("V{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).chain(own).collect();
    let found = call(&|variables| Ok(vec![plain(variables, &many)?]))?;
    ensure!(found.is_none(), "of more variables than are looked at: {found:?}");
    nothing()?;
    for bad in ["a\r\nx: y", "a\u{1}", &"long".repeat(1100)] {
        let found = call(&|variables| Ok(vec![plain(variables, &[("HTTP_X_TELEPRESENCE_ID", bad)])?]))?;
        ensure!(found.is_none(), "a value that cannot be sent: {found:?}");
    }
    // PHP takes variables whatever their request's number is; what counts is what the script sees.
    let found = call(&|variables| {
        let other = fastcgi::params(2, &[("HTTP_X_TELEPRESENCE_ID", "other")])?;
        Ok(vec![
            [fastcgi::begin(1)?, fastcgi::params(1, variables)?, fastcgi::begin(2)?, other, fastcgi::end(1)?].concat(),
        ])
    })?;
    ensure!(found.is_none(), "of another request's records: {found:?}");
    nothing()?;
    app.stop()?;
    let reasons: Vec<String> = flows::read(&file)?.into_iter().filter_map(|flow| flow.reason).collect();
    for reason in ["head-too-large", "line-dropped"] {
        ensure!(reasons.iter().any(|found| found == reason), "no {reason} in {reasons:?}");
    }
    Ok(())
}

/// A request that comes over a Unix socket has no address: it is taken where all sources are, and only there.
#[test]
fn sources() -> Result<()> {
    for (listen, range, allowed) in [
        (Listen::Tcp, "127.0.0.0/8", true),
        (Listen::Tcp, "192.0.2.0/24", false),
        (Listen::Unix, "127.0.0.0/8", false),
        (Listen::Unix, "::/0", true),
    ] {
        let (recorder, scratch) = (Recorder::echoing_targets()?, Scratch::new()?);
        let file = scratch.join("flows");
        let launch = Launch::Exec(&Exec::default().flows(&file).option("--ingress", range));
        let (app, front) = fpm::start(&recorder.url(), &Pool::of_one(listen), &launch, &Launch::Plain)?;
        let mut client = Probe::fresh(front.address(), &recorder);
        // Until its runtime is known no inbound request is seen.
        let inbound = || -> Result<Option<Flow>> {
            client.is_propagated()?;
            let flows = flows::parse(&complete_lines(&std::fs::read_to_string(&file)?))?;
            Ok(flows.into_iter().find(|flow| flow.kind == "inbound"))
        };
        let flow = wait::until("an inbound request", LIMIT, inbound)?;
        ensure!(flow.reason.as_deref() == (!allowed).then_some("ingress-denied"), "{listen:?} {range}: {flow:?}");
        ensure!(client.is_propagated()? == allowed, "{listen:?} from {range}");
        front.stop()?;
        app.stop()?;
    }
    Ok(())
}

/// `text` without a last line that is still being written.
fn complete_lines(text: &str) -> String {
    text.rsplit_once('\n').map(|(lines, _)| lines.to_owned()).unwrap_or_default()
}
