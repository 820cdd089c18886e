//! How each application is started.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::app::Program;
use crate::programs::{self, Go, compile_go, compile_java, compile_rust, find, new_java, node_modules, python, source};
use crate::relay;
use crate::scratch::Scratch;

pub(super) fn gunicorn() -> Result<Program> {
    flask(&["--worker-class", "gthread", "--threads", "64"])
}

pub(super) fn gunicorn_gevent() -> Result<Program> {
    flask(&["--worker-class", "gevent"])
}

fn flask(worker: &[&str]) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.args(["-m", "gunicorn", "--log-level", "warning", "--chdir"]).arg(source("python"));
    command.args(["--workers", "1", "--graceful-timeout", "1"]).args(worker);
    let mut program = Program::new(command)?;
    program.command.args(["--bind", &format!("127.0.0.1:{}", program.port), "flask_app:app"]);
    Ok(program)
}

pub(super) fn java() -> Result<Program> {
    java_relay(&find("java")?)
}

pub(super) fn java_client() -> Result<Program> {
    let mut program = java()?;
    program.command.env("CLIENT", "HttpClient");
    Ok(program)
}

pub(super) fn java_virtual() -> Result<Program> {
    let mut program = java_relay(&new_java()?)?;
    program.command.env("THREADS", "virtual");
    Ok(program)
}

fn java_relay(java: &Path) -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(java);
    // Head and body go in two writes: without this Nagle and delayed acknowledgements cost 40 ms a response.
    command.args(["-Dsun.net.httpserver.nodelay=true", "-Xmx256m", "-cp"]);
    command.arg(compile_java("Relay", &[], &classes)?).arg("Relay");
    let mut program = Program::new(command)?;
    program.files = classes;
    Ok(program)
}

pub(super) fn tomcat(class: &str) -> Result<Program> {
    let classes = Scratch::new()?;
    let mut command = Command::new(find("java")?);
    let path = compile_java(class, &programs::tomcat()?, &classes)?;
    command.args(["-Xmx256m", "-cp", &path, class]).env("BASE", classes.path());
    let mut program = Program::new(command)?;
    program.files = classes;
    Ok(program)
}

pub(super) fn aiohttp(uvloop: bool) -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/aio.py"));
    if uvloop {
        command.env("UVLOOP", "1");
    }
    Program::new(command)
}

pub(super) fn gevent() -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/gevent_app.py"));
    Program::new(command)
}

pub(super) fn tornado() -> Result<Program> {
    let mut command = Command::new(python()?);
    command.arg(source("python/tornado_app.py"));
    Program::new(command)
}

pub(super) fn fastapi(event_loop: &str) -> Result<Program> {
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

pub(super) fn puma() -> Result<Program> {
    let mut command = Command::new(find("puma")?);
    command.arg("-C").arg(source("ruby/puma_config.rb"));
    Program::new(command)
}

pub(super) fn node(client: &str) -> Result<Program> {
    let mut command = Command::new(find("node")?);
    command.arg(source("node/relay.js")).env("CLIENT", client);
    Program::new(command)
}

pub(super) fn express() -> Result<Program> {
    let mut command = Command::new(find("node")?);
    command.arg(source("node/express_app.js")).env("NODE_PATH", node_modules()?);
    Program::new(command)
}

pub(super) fn tokio(runtime: &str) -> Result<Program> {
    let mut command = Command::new(compile_rust()?);
    command.env("RUNTIME", runtime);
    Program::new(command)
}

pub(super) fn nginx(backend: &str) -> Result<Program> {
    relay::nginx_with("relay.conf", backend.trim_start_matches("http://"))
}

pub(super) fn go(build: Go) -> Result<Program> {
    let files = Scratch::new()?;
    let mut program = Program::new(Command::new(compile_go("relay", build, &files)?))?;
    program.files = files;
    Ok(program)
}
