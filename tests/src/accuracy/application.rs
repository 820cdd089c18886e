//! The applications, and what each must reach.

use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::Handler;
use crate::app::Program;
use crate::programs::{self, Go, compile_go, compile_java, find, node_modules, python, source};
use crate::scratch::Scratch;

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
    #[serde(skip)]
    start: fn() -> Result<Program>,
}

/// What one thread can do.
const OWN_THREAD: &[Handler] =
    &[Handler::Now, Handler::Sleep, Handler::Twice, Handler::File, Handler::Resolve, Handler::Database];

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

/// Python's event loops have threads, too.
const PYTHON_TASKS: &[Handler] = &[
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

/// All applications.
pub const APPLICATIONS: &[Application] = &[
    Application {
        name: "gunicorn",
        title: "Python threads: gunicorn gthread, Flask, requests",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: gunicorn,
    },
    Application {
        name: "java",
        title: "Java threads: HttpServer, HttpURLConnection",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: java,
    },
    Application {
        name: "tomcat",
        title: "Java threads: embedded Tomcat, HttpURLConnection",
        handlers: OWN_THREAD,
        goal: Some(1.0),
        start: tomcat,
    },
    Application {
        name: "aiohttp",
        title: "Python asyncio: aiohttp",
        handlers: PYTHON_TASKS,
        goal: Some(0.999),
        start: || aiohttp(false),
    },
    Application {
        name: "aiohttp-uvloop",
        title: "Python uvloop: aiohttp",
        handlers: PYTHON_TASKS,
        goal: Some(0.999),
        start: || aiohttp(true),
    },
    Application {
        name: "fastapi",
        title: "Python asyncio: FastAPI on uvicorn, httpx",
        handlers: PYTHON_TASKS,
        goal: Some(0.999),
        start: || fastapi("asyncio"),
    },
    Application {
        name: "fastapi-uvloop",
        title: "Python uvloop: FastAPI on uvicorn, httpx",
        handlers: PYTHON_TASKS,
        goal: Some(0.999),
        start: || fastapi("uvloop"),
    },
    Application {
        name: "node-request",
        title: "Node.js: http, http.request",
        handlers: TASKS,
        goal: None,
        start: || node("request"),
    },
    Application {
        name: "node-fetch",
        title: "Node.js: http, fetch",
        handlers: TASKS,
        goal: None,
        start: || node("fetch"),
    },
    Application { name: "express", title: "Node.js: Express, axios", handlers: TASKS, goal: None, start: express },
    Application {
        name: "go",
        title: "Go of Debian: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: || go(Go::Plain),
    },
    Application {
        name: "go-stripped",
        title: "Go of Debian, stripped: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: || go(Go::Stripped),
    },
    Application {
        name: "go-movable",
        title: "Go of Debian, stripped, position-independent: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: || go(Go::Movable),
    },
    Application {
        name: "go-new",
        title: "newest Go: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: || go(Go::New),
    },
    Application {
        name: "go-new-stripped",
        title: "newest Go, stripped: net/http",
        handlers: TASKS,
        goal: Some(0.999),
        start: || go(Go::NewStripped),
    },
];

impl Application {
    /// The application with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        APPLICATIONS.iter().find(|application| application.name == name)
    }

    /// Ready to start: with a backend, a Redis server, a small pool of backend connections, and a timer of its own.
    pub(super) fn program(&self, backend: &str, redis: u16) -> Result<Program> {
        let mut program = (self.start)()?;
        program.command.env("BACKEND", backend).env("REDIS_PORT", redis.to_string());
        program.command.envs([("BACKEND_KEEP_ALIVE", "1"), ("BACKEND_POOL", "12"), ("BACKGROUND", "1")]);
        Ok(program)
    }
}

fn gunicorn() -> Result<Program> {
    let mut command = Command::new(python()?);
    command.args(["-m", "gunicorn", "--log-level", "warning", "--chdir"]).arg(source("python"));
    command.args(["--workers", "1", "--worker-class", "gthread", "--threads", "64", "--graceful-timeout", "1"]);
    let mut program = Program::new(command)?;
    program.command.args(["--bind", &format!("127.0.0.1:{}", program.port), "flask_app:app"]);
    Ok(program)
}

fn java() -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(find("java")?);
    // Head and body go in two writes: without this Nagle and delayed acknowledgements cost 40 ms a response.
    command.args(["-Dsun.net.httpserver.nodelay=true", "-Xmx256m", "-cp"]);
    command.arg(compile_java("Relay", &[], &classes)?).arg("Relay");
    let mut program = Program::new(command)?;
    program.files = classes;
    Ok(program)
}

fn tomcat() -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(find("java")?);
    let path = compile_java("TomcatRelay", &programs::tomcat()?, &classes)?;
    command.args(["-Xmx256m", "-cp", &path, "TomcatRelay"]).env("BASE", classes.path());
    let mut program = Program::new(command)?;
    program.files = classes;
    Ok(program)
}

fn aiohttp(uvloop: bool) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/aio.py"));
    if uvloop {
        command.env("UVLOOP", "1");
    }
    Program::new(command)
}

fn fastapi(event_loop: &str) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.args([
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--host",
        "127.0.0.1",
        "--http",
        "h11",
        "--log-level",
        "warning",
    ]);
    command.args(["--loop", event_loop, "--app-dir"]).arg(source("python"));
    let mut program = Program::new(command)?;
    program.command.args(["--port", &program.port.to_string()]);
    Ok(program)
}

fn node(client: &str) -> Result<Program> {
    let mut command = Command::new(find("node")?);
    command.arg(source("node/relay.js")).env("CLIENT", client);
    Program::new(command)
}

fn express() -> Result<Program> {
    let mut command = Command::new(find("node")?);
    command.arg(source("node/express_app.js")).env("NODE_PATH", node_modules()?);
    Program::new(command)
}

fn go(build: Go) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = Program::new(Command::new(compile_go("relay", build, &files)?))?;
    program.files = files;
    Ok(program)
}
