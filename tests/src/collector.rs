//! A collector of traces: it takes spans by OTLP/HTTP, checks their protobuf, and is busy when it is told to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

/// A span as it came, with its service.
#[derive(Clone, Debug)]
pub struct Span {
    /// The resource's attributes.
    pub resource: BTreeMap<String, String>,
    /// The span's own.
    pub attributes: BTreeMap<String, String>,
    /// In hexadecimal, as all ids.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Its parent's id.
    pub parent: String,
    /// Server or client.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Whether its status is an error.
    pub failed: bool,
}

#[derive(Debug, Default)]
struct Inner {
    spans: Vec<Span>,
    errors: Vec<String>,
    /// Answers that are yet to be 503.
    busy: usize,
    refused: usize,
    fields: HeaderMap,
}

/// A running collector; it ends with this.
#[derive(Debug)]
pub struct Collector {
    inner: Arc<Mutex<Inner>>,
    url: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Collector {
    /// Starts one in a thread of its own.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port for the collector")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Mutex::new(Inner::default()));
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&inner));
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { inner, url, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Refuses the next `count` batches with 503, and wants them again in a second.
    pub fn be_busy(&self, count: usize) {
        self.lock().busy = count;
    }

    /// How many batches it has refused.
    pub fn refused(&self) -> usize {
        self.lock().refused
    }

    /// What came until now.
    pub fn spans(&self) -> Vec<Span> {
        self.lock().spans.clone()
    }

    /// What was wrong with what came.
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.clone()
    }

    /// A header field of the last batch.
    pub fn field(&self, name: &str) -> Option<String> {
        self.lock().fields.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, fields: HeaderMap, body: Bytes) -> Response {
    let mut inner = lock(&inner);
    if inner.busy > 0 {
        (inner.busy, inner.refused) = (inner.busy - 1, inner.refused + 1);
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
    }
    if fields.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/x-protobuf") {
        inner.errors.push(format!("the content type is {:?}", fields.get(header::CONTENT_TYPE)));
    }
    inner.fields = fields;
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            let spans = spans(&request);
            inner.errors.extend(spans.iter().filter_map(mistake));
            inner.spans.extend(spans);
        }
        Err(error) => {
            inner.errors.push(format!("no protobuf: {error}"));
            return StatusCode::BAD_REQUEST.into_response();
        }
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in &request.resource_spans {
        let resource = group.resource.as_ref().map(|resource| texts(&resource.attributes)).unwrap_or_default();
        spans.extend(group.scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| Span {
            resource: resource.clone(),
            attributes: texts(&span.attributes),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: span.kind(),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        }));
    }
    spans
}

/// What a back-end could not use.
fn mistake(span: &Span) -> Option<String> {
    let is_id = |id: &str, len| id.len() == len && id.bytes().any(|digit| digit != b'0');
    let is_right = is_id(&span.trace, 32)
        && is_id(&span.id, 16)
        && is_id(&span.parent, 16)
        && span.start > 0
        && span.start <= span.end
        && span.resource.contains_key("service.name");
    (!is_right).then(|| format!("{span:?}"))
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
