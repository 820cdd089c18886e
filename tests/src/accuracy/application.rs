//! The applications, and what each must reach.

use anyhow::Result;
use serde::Serialize;

use super::{Handler, start};
use crate::app::Program;
use crate::programs::Go;

/// One application of the accuracy bench.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Application {
    /// Its name in reports and on the command line.
    pub name: &'static str,
    /// What runs: runtime, server, client.
    pub title: &'static str,
    /// The handlers that it has.
    #[serde(skip)]
    pub handlers: &'static [Handler],
    /// The share of calls that must carry their context; without one, every call may be refused.
    pub goal: Option<f64>,
    /// For the backend at this URL.
    #[serde(skip)]
    start: fn(&str) -> Result<Program>,
}

/// What one thread can do.
const OWN_THREAD: &[Handler] =
    &[Handler::Now, Handler::Sleep, Handler::Twice, Handler::File, Handler::Resolve, Handler::Database];

/// What one thread can do, and what it does after the answer.
const OWN_THREAD_AND_AFTER: &[Handler] =
    &[Handler::Now, Handler::Sleep, Handler::Twice, Handler::File, Handler::Resolve, Handler::Database, Handler::After];

/// What an event loop or a scheduler of light threads can do.
const TASKS: &[Handler] = &[
    Handler::Now,
    Handler::Sleep,
    Handler::Twice,
    Handler::Fan,
    Handler::File,
    Handler::Resolve,
    Handler::Database,
    Handler::Task,
    Handler::After,
];

/// As [`TASKS`], with a pool of threads beside.
const TASKS_AND_POOL: &[Handler] = &[
    Handler::Now,
    Handler::Sleep,
    Handler::Twice,
    Handler::Fan,
    Handler::File,
    Handler::Resolve,
    Handler::Database,
    Handler::Task,
    Handler::Thread,
    Handler::After,
];

/// What a proxy can do without a language of its own.
const PROXY: &[Handler] = &[Handler::Now, Handler::Twice, Handler::Fan, Handler::File, Handler::After];

/// All applications.
pub const APPLICATIONS: &[Application] = &[
    Application {
        name: "gunicorn",
        title: "Python threads: gunicorn gthread, Flask, requests",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: |_| start::gunicorn(),
    },
    Application {
        name: "java",
        title: "Java threads: HttpServer, HttpURLConnection",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: |_| start::java(),
    },
    Application {
        name: "java-client",
        title: "Java threads: HttpServer, HttpClient",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::java_client(),
    },
    Application {
        name: "java-virtual",
        title: "Java virtual threads: HttpServer, HttpURLConnection",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::java_virtual(),
    },
    Application {
        name: "tomcat",
        title: "Java threads: embedded Tomcat, HttpURLConnection",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: |_| start::tomcat("TomcatRelay"),
    },
    Application {
        name: "tomcat-async",
        title: "Java threads: embedded Tomcat, asynchronous servlet",
        handlers: OWN_THREAD,
        goal: None,
        start: |_| start::tomcat("TomcatAsyncRelay"),
    },
    Application {
        name: "aiohttp",
        title: "Python asyncio: aiohttp",
        handlers: TASKS_AND_POOL,
        goal: Some(0.999),
        start: |_| start::aiohttp(false),
    },
    Application {
        name: "aiohttp-uvloop",
        title: "Python uvloop: aiohttp",
        handlers: TASKS_AND_POOL,
        goal: Some(0.999),
        start: |_| start::aiohttp(true),
    },
    Application {
        name: "fastapi",
        title: "Python asyncio: FastAPI on uvicorn, httpx",
        handlers: TASKS_AND_POOL,
        goal: Some(0.999),
        start: |_| start::fastapi("asyncio"),
    },
    Application {
        name: "fastapi-uvloop",
        title: "Python uvloop: FastAPI on uvicorn, httpx",
        handlers: TASKS_AND_POOL,
        goal: Some(0.999),
        start: |_| start::fastapi("uvloop"),
    },
    Application {
        name: "tornado",
        title: "Python asyncio: Tornado",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::tornado(),
    },
    Application {
        name: "puma",
        title: "Ruby threads: Puma, Net::HTTP",
        handlers: OWN_THREAD_AND_AFTER,
        // What Puma's reactor reads is refused.
        goal: Some(0.95),
        start: |_| start::puma(),
    },
    Application {
        name: "puma-threads",
        title: "Ruby threads: Puma, Net::HTTP in other threads",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::puma(),
    },
    Application {
        name: "gevent",
        title: "Python greenlets: gevent.pywsgi, requests",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::gevent(),
    },
    Application {
        name: "gunicorn-gevent",
        title: "Python greenlets: gunicorn gevent, Flask, requests",
        handlers: OWN_THREAD,
        goal: None,
        start: |_| start::gunicorn_gevent(),
    },
    Application {
        name: "node-request",
        title: "Node.js: http, http.request",
        handlers: TASKS,
        goal: None,
        start: |_| start::node("request"),
    },
    Application {
        name: "node-fetch",
        title: "Node.js: http, fetch",
        handlers: TASKS,
        goal: None,
        start: |_| start::node("fetch"),
    },
    Application {
        name: "express",
        title: "Node.js: Express, axios",
        handlers: TASKS,
        goal: None,
        start: |_| start::express(),
    },
    Application {
        name: "tokio",
        title: "Rust, tokio on many threads: axum, hyper",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::tokio("multi-thread"),
    },
    Application {
        name: "tokio-current",
        title: "Rust, tokio on one thread: axum, hyper",
        handlers: TASKS_AND_POOL,
        goal: None,
        start: |_| start::tokio("current-thread"),
    },
    Application {
        name: "nginx",
        title: "nginx as a proxy that removes the headers",
        handlers: PROXY,
        goal: None,
        start: start::nginx,
    },
    Application {
        name: "go",
        title: "Go of Debian: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: |_| start::go(Go::Plain),
    },
    Application {
        name: "go-stripped",
        title: "Go of Debian, stripped: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: |_| start::go(Go::Stripped),
    },
    Application {
        name: "go-movable",
        title: "Go of Debian, stripped, position-independent: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: |_| start::go(Go::Movable),
    },
    Application {
        name: "go-new",
        title: "newest Go: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: |_| start::go(Go::New),
    },
    Application {
        name: "go-new-stripped",
        title: "newest Go, stripped: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: |_| start::go(Go::NewStripped),
    },
];

impl Application {
    /// The application with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        APPLICATIONS.iter().find(|application| application.name == name)
    }

    /// Ready to start: with a backend, a Redis server, a small pool of backend connections, and a timer of its own.
    pub(super) fn program(&self, backend: &str, redis: u16) -> Result<Program> {
        let mut program = (self.start)(backend)?;
        program.command.env("BACKEND", backend).env("REDIS_PORT", redis.to_string());
        program.command.envs([("BACKEND_KEEP_ALIVE", "1"), ("BACKEND_POOL", "12"), ("BACKGROUND", "1")]);
        Ok(program)
    }
}
