//! Real servers of other protocols, as peers of the programs under test.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::User;

use crate::app::{App, Launch, Program};
use crate::baton::HEADERS;
use crate::programs::{command, find, python, source, succeed};

/// redis-server without persistence.
pub fn redis() -> Result<Program> {
    let mut program = Program::new(command("redis-server")?)?;
    program.command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    program.command.args(["--port", &program.port.to_string()]);
    Ok(program)
}

/// PostgreSQL with an empty database and without passwords; it refuses to run as root.
pub fn postgres() -> Result<App> {
    let mut program = Program::new(as_nobody("postgres")?)?;
    let nobody = User::from_name("nobody")?.context("there is no user nobody")?;
    let data = program.files.join("data");
    std::fs::create_dir(&data)?;
    chown(&data, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))?;
    let mut initdb = as_nobody("initdb")?;
    initdb.args(["--auth", "trust", "--username", "postgres", "--no-sync", "--locale", "C", "-E", "UTF8", "-D"]);
    initdb.arg(&data);
    succeed(initdb, "initdb")?;
    program.command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-c", "fsync=off", "-c"]);
    program.command.arg("unix_socket_directories=").args(["-p", &program.port.to_string()]);
    program.start(&Launch::Plain)
}

fn as_nobody(program: &str) -> Result<Command> {
    let mut command = command("setpriv")?;
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(find(program)?);
    command.current_dir("/");
    Ok(command)
}

/// An HTTPS server that echoes bodies.
pub fn tls() -> Result<App> {
    let mut server = Command::new(python()?);
    server.arg(source("python/tls_server.py"));
    let mut program = Program::new(server)?;
    let certificate = program.files.join("certificate.pem");
    self_signed(&certificate)?;
    program.command.env("CERT", certificate).env("FORBIDDEN", HEADERS[0]);
    program.start(&Launch::Plain)
}

fn self_signed(file: &Path) -> Result<()> {
    let mut openssl = command("openssl")?;
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    let key = file.with_extension("key");
    openssl.arg("-keyout").arg(&key).arg("-out").arg(file);
    succeed(openssl, "openssl")?;
    let both = [std::fs::read(&key)?, std::fs::read(file)?].concat();
    std::fs::write(file, both).context("failed to write the certificate")
}
