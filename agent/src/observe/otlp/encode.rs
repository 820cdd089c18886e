//! Spans as OTLP's protobuf, with the names of OpenTelemetry's semantic conventions for HTTP.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::service::Service;
use super::spans::Span;
use crate::observe::flow::Kind;

/// Bits of a span's flags (trace.proto, `SpanFlags`; W3C Trace Context): it is recorded, and whether its parent is
/// another process's is known.
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// One request to a collector with all `spans`.
pub(super) fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let mut services: HashMap<Service, Vec<otlp::Span>> = HashMap::new();
    for span in spans {
        services.entry(span.service.clone()).or_default().push(of(&span));
    }
    let resource_spans = services.into_iter().map(|(service, spans)| otlp::ResourceSpans {
        resource: Some(Resource { attributes: resource(&service), ..Resource::default() }),
        scope_spans: vec![otlp::ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "baton".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..otlp::ScopeSpans::default()
        }],
        ..otlp::ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn resource(service: &Service) -> Vec<KeyValue> {
    let mut attributes = vec![text("service.name", &service.name), text("telemetry.sdk.name", "baton")];
    for (key, value) in [
        ("service.namespace", &service.namespace),
        ("k8s.namespace.name", &service.namespace),
        ("k8s.pod.name", &service.pod),
        ("k8s.container.name", &service.container),
    ] {
        attributes.extend(value.as_ref().map(|value| text(key, value)));
    }
    attributes
}

fn of(span: &Span) -> otlp::Span {
    let event = &span.event;
    let is_server = event.answers == Some(Kind::Inbound);
    let end = nanoseconds(&event.time);
    let start = end.saturating_sub(event.latency_us.unwrap_or(0) * 1000);
    let mut attributes = vec![
        text("http.request.method", &event.method),
        text("url.path", &event.path),
        text("url.scheme", "http"),
        number("process.pid", event.pid.into()),
        number("thread.id", event.tid.into()),
        text("thread.name", &event.comm),
    ];
    // The other end, and this one where it is the server.
    let (client, server) =
        if is_server { (Some(&event.peer), event.local.as_ref()) } else { (None, Some(&event.peer)) };
    for (place, keys) in [(client, ["client.address", "client.port"]), (server, ["server.address", "server.port"])] {
        if let Some((address, port)) = place.and_then(|place| place.rsplit_once(':')) {
            attributes.push(text(keys[0], address.trim_matches(['[', ']'])));
            attributes.extend(port.parse().ok().map(|port| number(keys[1], port)));
        }
    }
    for (key, value) in [
        ("baton.peer", event.peer_name.as_deref()),
        ("baton.runtime", Some(&*event.runtime)),
        ("baton.verdict", event.verdict.as_deref()),
        ("baton.reason", event.reason.as_deref()),
    ] {
        attributes.extend(value.map(|value| text(key, value)));
    }
    attributes.extend(event.status.map(|status| number("http.response.status_code", status.into())));
    // A server is to blame for 5xx, a client's request failed with 4xx, too (semantic conventions for HTTP, "Status").
    let failed = event.status.is_some_and(|status| status >= if is_server { 500 } else { 400 });
    otlp::Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.to_vec(),
        // No route is known, and a path is no name.
        name: event.method.clone(),
        kind: if is_server { SpanKind::Server } else { SpanKind::Client }.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes,
        status: failed.then(|| otlp::Status { code: StatusCode::Error.into(), ..otlp::Status::default() }),
        flags: SAMPLED | HAS_IS_REMOTE | if is_server { IS_REMOTE } else { 0 },
        ..otlp::Span::default()
    }
}

/// Nanoseconds since 1970 of an RFC 3339 time; 0 if it is none.
fn nanoseconds(time: &str) -> u64 {
    let time: Option<jiff::Timestamp> = time.parse().ok();
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
