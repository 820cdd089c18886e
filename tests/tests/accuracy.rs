//! A small run of the accuracy bench: no outbound request carries anything but its own request's headers, on any runtime,
//! and those runtimes that are supported lose nothing. `cargo xtask accuracy` is the full run.

use anyhow::{Context as _, Result};
use baton_tests::accuracy::{self, Application, Attribution};
use baton_tests::load;

const REQUESTS: usize = 1200;
const CLIENTS: [usize; 3] = [1, 16, 64];

fn check(name: &str) -> Result<()> {
    let application = Application::named(name).with_context(|| format!("there is no application {name}"))?;
    for cell in accuracy::measure(application, &CLIENTS, load::scaled(REQUESTS), Attribution::Strict)? {
        eprintln!("{name}, {} clients: {:?}", cell.clients, cell.total());
        cell.check(application.goal)?;
    }
    Ok(())
}

#[test]
fn gunicorn_with_threads() -> Result<()> {
    check("gunicorn")
}

#[test]
fn java_with_threads() -> Result<()> {
    check("java")
}

#[test]
fn java_http_client() -> Result<()> {
    check("java-client")
}

#[test]
fn java_virtual_threads() -> Result<()> {
    check("java-virtual")
}

#[test]
fn tomcat() -> Result<()> {
    check("tomcat")
}

#[test]
fn tomcat_asynchronous() -> Result<()> {
    check("tomcat-async")
}

#[test]
fn aiohttp() -> Result<()> {
    check("aiohttp")?;
    check("aiohttp-uvloop")
}

#[test]
fn fastapi() -> Result<()> {
    check("fastapi")?;
    check("fastapi-uvloop")
}

#[test]
fn gevent() -> Result<()> {
    check("gevent")?;
    check("gunicorn-gevent")
}

#[test]
fn tornado() -> Result<()> {
    check("tornado")
}

#[test]
fn puma() -> Result<()> {
    check("puma")?;
    check("puma-threads")
}

#[test]
fn node() -> Result<()> {
    check("node-request")?;
    check("node-fetch")
}

#[test]
fn express() -> Result<()> {
    check("express")
}

#[test]
fn tokio() -> Result<()> {
    check("tokio")?;
    check("tokio-current")
}

#[test]
fn nginx() -> Result<()> {
    check("nginx")
}

#[test]
fn go() -> Result<()> {
    check("go")?;
    check("go-stripped")?;
    check("go-movable")
}

#[test]
fn newest_go() -> Result<()> {
    check("go-new")?;
    check("go-new-stripped")
}
