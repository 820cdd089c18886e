//! A fake Kubernetes API server: it lists and watches the metadata of namespaces and pods, takes Events, and misbehaves
//! when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 403 to everything.
    Forbidden,
    /// 503 to everything.
    Unavailable,
    /// An answer that is no JSON.
    Garbage,
    /// A watch that ends in the middle of a line, a list that ends early.
    HangUp,
    /// 403 to whoever asks for namespaces.
    NoNamespaces,
}

/// Labels or annotations.
pub type Words<'a> = &'a [(&'a str, &'a str)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Namespace,
    Pod,
}

#[derive(Debug, Default)]
struct Inner {
    namespaces: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    services: Vec<Value>,
    /// Changes with their versions.
    history: Vec<(u64, Value)>,
    version: u64,
    /// Watches from before this version are answered with 410.
    oldest: u64,
    fault: Option<Fault>,
    failed: usize,
    asked: Vec<String>,
    whole: bool,
    /// The newest version that every open watch of pods was told.
    told: u64,
    events: Vec<Value>,
}

/// Counts changes, and how often all open watches were ended.
type Changes = (u64, u64);

/// A running server; it ends with this.
#[derive(Debug)]
pub struct ApiServer {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<Changes>,
    address: String,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Receiver<Changes>,
}

impl ApiServer {
    /// Starts one in a thread of its own.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port for the fake API server")?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Mutex::new(Inner { version: 1, ..Inner::default() }));
        let (changes, receiver) = watch::channel((0, 0));
        let routes = Router::new().fallback(answer).with_state(Shared { inner: Arc::clone(&inner), changes: receiver });
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { inner, changes, address, runtime: Some(runtime) })
    }

    /// Its URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A kubeconfig that names it.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    /// Adds or changes a namespace.
    pub fn set_namespace(&self, name: &str, labels: Words<'_>, annotations: Words<'_>) {
        self.put(Kind::Namespace, name, name, labels, annotations);
    }

    /// Adds or changes a pod in the namespace `shop`.
    pub fn set_pod(&self, name: &str, uid: &str, labels: Words<'_>, annotations: Words<'_>) {
        self.put(Kind::Pod, name, uid, labels, annotations);
    }

    /// Says where the pod runs and what runs there, for whoever asks for more than metadata.
    pub fn set_pod_status(&self, name: &str, spec: Value, status: Value) {
        if let Some(pod) = self.lock().pods.get_mut(name) {
            (pod["spec"], pod["status"]) = (spec, status);
        }
    }

    /// Adds a service in the namespace `shop`.
    pub fn add_service(&self, name: &str, address: &str) {
        self.lock().services.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterIP": address, "clusterIPs": [address]},
        }));
    }

    /// Removes a pod.
    pub fn remove_pod(&self, name: &str) {
        let mut inner = self.lock();
        let version = inner.next();
        if let Some(mut pod) = inner.pods.remove(name) {
            pod["metadata"]["resourceVersion"] = json!(version.to_string());
            inner.history.push((version, json!({"type": "DELETED", "object": pod})));
        }
        drop(inner);
        self.changes.send_modify(|changes| changes.0 += 1);
    }

    fn put(&self, kind: Kind, name: &str, uid: &str, labels: Words<'_>, annotations: Words<'_>) {
        let words = |words: Words<'_>| -> BTreeMap<String, String> {
            words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let mut inner = self.lock();
        let version = inner.next();
        let mut object = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string(),
                         "labels": words(labels), "annotations": words(annotations)},
        });
        if kind == Kind::Pod {
            object["metadata"]["namespace"] = json!("shop");
        }
        let of_kind = inner.of(kind);
        let verb = if of_kind.insert(name.to_owned(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        inner.history.push((version, json!({"type": verb, "object": object})));
        drop(inner);
        self.changes.send_modify(|changes| changes.0 += 1);
    }

    /// Misbehaves from now on, or no more.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Ends all watches that are open.
    pub fn end_watches(&self) {
        self.changes.send_modify(|changes| changes.1 += 1);
    }

    /// From now on a watch from before now cannot be resumed.
    pub fn forget_history(&self) {
        let mut inner = self.lock();
        inner.version += 2;
        inner.oldest = inner.version;
        inner.history.clear();
    }

    /// Number of requests that a fault answered.
    pub fn failed(&self) -> usize {
        self.lock().failed
    }

    /// What was asked for, as method and target.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// Whether nobody asked for more than metadata.
    pub fn only_metadata(&self) -> bool {
        !self.lock().whole
    }

    /// Whether a watch of pods was told all there is.
    pub fn is_quiet(&self) -> bool {
        let inner = self.lock();
        inner.told == inner.version
    }

    /// The Events that were created.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // Without waiting, which is refused to tests that are asynchronous themselves.
        self.runtime.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Inner {
    const fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    const fn of(&mut self, kind: Kind) -> &mut BTreeMap<String, Value> {
        match kind {
            Kind::Namespace => &mut self.namespaces,
            Kind::Pod => &mut self.pods,
        }
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = head.uri.path().to_owned();
    let parameter = |name: &str| -> Option<String> {
        let pairs = head.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let accept = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let watches = parameter("watch").is_some();
    let mut inner = lock(&shared.inner);
    inner.asked.push(format!("{} {}", head.method, head.uri));
    let fault = inner.fault.filter(|fault| *fault != Fault::NoNamespaces || path == "/api/v1/namespaces");
    if let Some(fault) = fault {
        inner.failed += 1;
        return misbehave(fault, watches);
    }
    let kind = match path.as_str() {
        "/api/v1/namespaces" => Kind::Namespace,
        "/api/v1/pods" => Kind::Pod,
        "/api/v1/services" => return list(&inner.services, inner.version, 0, 0),
        _ => return create(&mut inner, &head.method, &path, &body),
    };
    let whole = !accept.contains("as=PartialObjectMetadata");
    inner.whole |= whole;
    let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if watches {
        let from = number("resourceVersion");
        if from < inner.oldest {
            return line(&json!({"type": "ERROR", "object": status(410, "Expired")})).into_response();
        }
        drop(inner);
        return follow(shared, kind, from);
    }
    let (from, limit) = (number("continue") as usize, number("limit") as usize);
    let version = inner.version;
    let mut all: Vec<Value> = inner.of(kind).values().cloned().collect();
    if whole {
        let fields = parameter("fieldSelector").unwrap_or_default().replace("%3D", "=").replace("%2C", ",");
        let address = fields.split(',').find_map(|field| field.strip_prefix("status.podIP="));
        all.retain(|pod| address.is_none_or(|address| pod["status"]["podIP"] == address));
        all.iter_mut().for_each(|pod| (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod")));
    }
    list(&all, version, from, limit)
}

/// Takes Events of events.k8s.io/v1, and nothing else.
fn create(inner: &mut Inner, method: &Method, path: &str, body: &Bytes) -> Response {
    let is_event = path.starts_with("/apis/events.k8s.io/v1/namespaces/") && path.ends_with("/events");
    match serde_json::from_slice::<Value>(body) {
        Ok(event) if is_event && method == Method::POST => {
            inner.events.push(event.clone());
            (StatusCode::CREATED, event.to_string()).into_response()
        }
        _ => (StatusCode::FORBIDDEN, status(403, "Forbidden").to_string()).into_response(),
    }
}

fn list(all: &[Value], version: u64, from: usize, limit: usize) -> Response {
    let to = if limit == 0 { all.len() } else { all.len().min(from + limit) };
    let rest = if to < all.len() { to.to_string() } else { String::new() };
    let list = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "metadata": {"resourceVersion": version.to_string(), "continue": rest},
        "items": all[from.min(to)..to],
    });
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

/// Sends a bookmark, what happened after `from`, and what happens from now on.
fn follow(shared: Shared, kind: Kind, from: u64) -> Response {
    let ends = shared.changes.borrow().1;
    let lines = stream::unfold((shared, from, true), move |(mut shared, from, first)| async move {
        loop {
            if shared.changes.borrow_and_update().1 != ends {
                return None;
            }
            let (text, newest) = news(&mut lock(&shared.inner), kind, from, first);
            if !text.is_empty() {
                return Some((Ok::<_, std::io::Error>(text), (shared, newest, false)));
            }
            if shared.changes.changed().await.is_err() {
                return None;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}

fn news(inner: &mut Inner, kind: Kind, from: u64, first: bool) -> (String, u64) {
    let name = if kind == Kind::Pod { "Pod" } else { "Namespace" };
    let bookmark = json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": name,
        "metadata": {"resourceVersion": from.to_string()}}});
    let mut text = if first { line(&bookmark) } else { String::new() };
    let is_of_kind = |event: &Value| event["object"]["metadata"]["namespace"].is_string() == (kind == Kind::Pod);
    let events = inner.history.iter().filter(|(version, event)| *version > from && is_of_kind(event));
    text.extend(events.map(|(_, event)| line(event)));
    if kind == Kind::Pod {
        inner.told = inner.version;
    }
    (text, inner.version.max(from))
}

fn misbehave(fault: Fault, watches: bool) -> Response {
    match fault {
        Fault::Forbidden | Fault::NoNamespaces => {
            (StatusCode::FORBIDDEN, status(403, "Forbidden").to_string()).into_response()
        }
        Fault::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, status(503, "ServiceUnavailable").to_string()).into_response()
        }
        Fault::Garbage => "<html>a proxy's own words</html>\n".into_response(),
        Fault::HangUp => {
            let beginning = if watches { "{\"type\":\"ADDED\",\"obj" } else { "{\"items\":[" };
            Body::from_stream(stream::iter([Ok(beginning), Err(std::io::Error::other("cut"))])).into_response()
        }
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
