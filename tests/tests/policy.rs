//! What may be copied, from where, to where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use baton_tests::app::{App, Launch};
use baton_tests::baton::{Exec, HEADERS};
use baton_tests::flows;
use baton_tests::http::Head;
use baton_tests::load::Client;
use baton_tests::namespace;
use baton_tests::probe::Probe;
use baton_tests::recorder::{Recorder, Reply};
use baton_tests::relay::{self, Backend};
use baton_tests::scratch::Scratch;
use baton_tests::wire::{Script, Wire};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PUBLIC_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn backend(address: impl Into<IpAddr>) -> Result<Recorder> {
    Recorder::start_at(SocketAddr::new(address.into(), 0), |head| Reply::ok(head.target.as_bytes()))
}

/// Whether a Python relay under `exec` propagates to a backend at this address.
fn propagates_to(address: impl Into<IpAddr>, exec: &Exec) -> Result<bool> {
    let recorder = backend(address)?;
    let app = relay::python_threads(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(exec))?;
    Probe::fresh(app.address(), &recorder).is_propagated()
}

#[test]
fn only_allowed_addresses_get_headers() -> Result<()> {
    let addresses = ["203.0.113.5/32", "10.9.8.7/32", "100.64.1.2/32", "2001:db8::5/128", "fd00::5/128"];
    namespace::within(&addresses, || {
        let exec = Exec::default();
        for private in ["10.9.8.7", "100.64.1.2", "127.0.0.9", "::1", "fd00::5"] {
            let address: IpAddr = private.parse()?;
            ensure!(propagates_to(address, &exec)?, "nothing to {private}");
        }
        ensure!(!propagates_to(PUBLIC, &exec)?, "leaked to {PUBLIC}");
        ensure!(!propagates_to(PUBLIC_6, &exec)?, "leaked to {PUBLIC_6}");
        let allowed = exec.option("--egress", "203.0.113.0/24").option("--egress", "2001:db8::/32");
        ensure!(propagates_to(PUBLIC, &allowed)?, "nothing to {PUBLIC}, which is allowed");
        ensure!(propagates_to(PUBLIC_6, &allowed)?, "nothing to {PUBLIC_6}, which is allowed");
        Ok(())
    })
}

#[test]
fn a_denied_address_is_told() -> Result<()> {
    namespace::within(&["203.0.113.5/32"], || {
        let scratch = Scratch::new()?;
        let file = scratch.join("flows");
        let recorder = backend(PUBLIC)?;
        let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default().flows(&file)))?;
        Probe::fresh(app.address(), &recorder).is_propagated()?;
        app.stop()?;
        let flows = flows::read(&file)?;
        let denied = flows.iter().any(|flow| flow.is("lost") && flow.reason.as_deref() == Some("egress-denied"));
        ensure!(denied, "{flows:?}");
        Ok(())
    })
}

#[test]
fn only_allowed_sources_give_headers() -> Result<()> {
    ensure!(!propagates_to(Ipv4Addr::LOCALHOST, &Exec::default().option("--ingress", "10.0.0.0/8"))?, "taken");
    ensure!(propagates_to(Ipv4Addr::LOCALHOST, &Exec::default().option("--ingress", "127.0.0.0/8"))?, "not taken");
    Ok(())
}

#[test]
fn mapped_addresses_of_dual_stack_sockets_are_ipv4_addresses() -> Result<()> {
    // Java's sockets are IPv6 sockets that speak IPv4.
    for (source, expected) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let recorder = Recorder::echoing_targets()?;
        let app = relay::java(&recorder.url())?.start(&Launch::Exec(&Exec::default().option("--ingress", source)))?;
        let taken = Probe::fresh(app.address(), &recorder).is_propagated()?;
        ensure!(taken == expected, "from {source}: {taken}");
    }
    Ok(())
}

#[test]
fn an_illegal_or_over_long_value_is_dropped_whole() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&Exec::default()))?;
    let mut probe = Probe::fresh(app.address(), &recorder);
    let [first, second] = HEADERS;
    for bad in ["a\u{1}b", "a\u{7f}b", "caf\u{e9}", "", &"x".repeat(4200), &"x".repeat(9000)] {
        let request = probe.relay_fields(&[(first, bad), (second, "kept")])?;
        let shown = bad.chars().take(10).collect::<String>();
        ensure!(request.head.values(first).next().is_none(), "{shown:?} was propagated: {:?}", request.head);
        ensure!(request.head.says(second, "kept"), "{shown:?} took another header with it: {:?}", request.head);
    }
    let long = "y".repeat(3900);
    let request = probe.relay(Some(&long))?;
    ensure!(request.carried()? == Some(&long), "a value of 3900 bytes was not propagated");
    Ok(())
}

#[test]
fn sixty_four_names_and_prefixes() -> Result<()> {
    let names: Vec<String> = (0..63).map(|number| format!("x-wanted-{number}")).collect();
    let exec = Exec::new().option("--headers", format!("{},ot-baggage-*", names.join(",")));
    let recorder = Recorder::echoing_targets()?;
    let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&exec))?;
    let mut probe = Probe::fresh(app.address(), &recorder);
    // One context keeps up to 32 lines.
    for names in names.chunks(21) {
        let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        fields.extend([("OT-Baggage-One", "1"), ("ot-baggage-two", "2"), ("x-wanted-99", "no"), ("ot-baggag", "no")]);
        let request = probe.relay_fields(&fields)?;
        for name in names.iter().map(String::as_str).chain(["ot-baggage-one", "ot-baggage-two"]) {
            ensure!(request.head.values(name).count() == 1, "{name}: {:?}", request.head);
        }
        for name in ["x-wanted-99", "ot-baggag"] {
            ensure!(request.head.values(name).next().is_none(), "{name} was propagated");
        }
    }
    Ok(())
}

#[test]
fn several_lines_of_one_name_keep_their_order() -> Result<()> {
    let exec = Exec::new().option("--preset", "w3c");
    let recorder = Recorder::echoing_targets()?;
    let app = relay::c(&recorder.url(), Backend::Fresh)?.start(&Launch::Exec(&exec))?;
    let fields = [("baggage", "a=1"), ("Baggage", "b=2"), ("x-other", "y"), ("baggage", "c=3")];
    let request = Probe::fresh(app.address(), &recorder).relay_fields(&fields)?;
    let values = request.head.values("baggage").collect::<Vec<_>>().join(",");
    ensure!(values == "a=1,b=2,c=3", "{values}");
    Ok(())
}

/// The head that arrives when the application sends these lines itself.
fn head_with_own(app: &App, wire: &Wire, own: &str, inbound: &[(&str, &str)]) -> Result<Head> {
    let target = format!("/case/with_fields?port={}&fields={own}", wire.address().port());
    let (answer, body) = Client::new(app.address(), false).get(&target, inbound)?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&body));
    Head::request(wire.take(1)?.pop().context("no connection")?.bytes)
}

#[test]
fn groups_go_together_or_not_at_all() -> Result<()> {
    let exec = Exec::new().option("--preset", "w3c").option("--preset", "b3");
    let wire = Wire::start(Script::silent().after(b"\r\n\r\n", OK))?;
    let app = relay::wire()?.start(&Launch::Exec(&exec))?;
    let inbound =
        [("traceparent", "tp"), ("tracestate", "ts"), ("x-b3-traceid", "t"), ("x-b3-sampled", "1"), ("baggage", "b")];
    for (own, present, absent) in [
        ("traceparent:own", ["x-b3-traceid", "x-b3-sampled"], ["tracestate", "b3"]),
        ("TraceState:own", ["x-b3-traceid", "baggage"], ["traceparent", "b3"]),
        ("b3:own", ["traceparent", "tracestate"], ["x-b3-traceid", "x-b3-sampled"]),
        ("X-B3-Flags:own", ["traceparent", "baggage"], ["x-b3-traceid", "x-b3-sampled"]),
    ] {
        let head = head_with_own(&app, &wire, own, &inbound)?;
        let has = |name: &str| head.values(name).count();
        ensure!(present.iter().all(|name| has(name) == 1), "own {own}: {head:?}");
        ensure!(absent.iter().all(|name| has(name) == 0), "own {own}: {head:?}");
    }
    Ok(())
}
