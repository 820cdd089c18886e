//! Calls to the backend.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;

use crate::Result;

/// The backend, and the connections to it.
pub struct Backend {
    /// `http://HOST:PORT`.
    url: String,
    client: Client<HttpConnector, Body>,
    /// As many calls at a time as there may be connections.
    free: Semaphore,
}

impl Backend {
    pub fn new() -> Result<Self> {
        let keeps = env::var("BACKEND_KEEP_ALIVE").is_ok_and(|value| value == "1");
        let pool = env::var("BACKEND_POOL").map_or(Ok(256), |pool| pool.parse())?;
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.pool_max_idle_per_host(if keeps { pool } else { 0 }).build_http();
        Ok(Self { url: env::var("BACKEND")?, client, free: Semaphore::new(pool) })
    }

    /// The length of the answer to a GET of `path`.
    pub async fn call(&self, path: &str) -> Result<usize> {
        let _turn = self.free.acquire().await?;
        let response = self.client.get(format!("{}{path}", self.url).parse()?).await?;
        if !response.status().is_success() {
            return Err(format!("{path}: status {}", response.status()).into());
        }
        Ok(response.into_body().collect().await?.to_bytes().len())
    }

    /// As [`Backend::call`], on a thread that may wait, and over a connection of its own.
    pub fn call_blocking(&self, path: &str) -> Result<usize> {
        let address = self.url.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{path}: {head}").into());
        }
        Ok(body.len())
    }
}
