//! Single requests through a relay, one after the other, where a test wants to choose every value.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::baton::HEADERS;
use crate::load::Client;
use crate::recorder::{Recorded, Recorder};
use crate::scratch::serial;

/// A client of a relay, with the backend that the relay calls.
#[derive(Debug)]
pub struct Probe<'a> {
    client: Client,
    backend: &'a Recorder,
}

impl<'a> Probe<'a> {
    /// A client that keeps its connection.
    pub fn kept(relay: SocketAddr, backend: &'a Recorder) -> Self {
        Self { client: Client::new(relay, true), backend }
    }

    /// A client with a new connection for each request.
    pub fn fresh(relay: SocketAddr, backend: &'a Recorder) -> Self {
        Self { client: Client::new(relay, false), backend }
    }

    /// Sends a request that carries `value` or nothing; returns the one outbound request that it caused.
    pub fn relay(&mut self, value: Option<&str>) -> Result<Recorded> {
        let fields: Vec<_> = value.map(|value| (HEADERS[0], value)).into_iter().collect();
        self.relay_fields(&fields)
    }

    /// As [`Probe::relay`], with any fields.
    pub fn relay_fields(&mut self, fields: &[(&str, &str)]) -> Result<Recorded> {
        let id = format!("probe-{}", serial());
        let (head, body) = self.client.get(&format!("/relay?id={id}&n=1"), fields)?;
        ensure!(head.status == 200, "status {}: {}", head.status, String::from_utf8_lossy(&body));
        let mut caused = self.backend.take();
        caused.retain(|request| request.head.target.contains(&id));
        ensure!(caused.len() == 1, "{} outbound requests instead of one", caused.len());
        Ok(caused.remove(0))
    }

    /// Sends a request with a value of its own; whether the outbound request carried it. Any other value is an error.
    pub fn is_propagated(&mut self) -> Result<bool> {
        let value = format!("probe-value-{}", serial());
        let request = self.relay(Some(&value))?;
        let carried = request.carried()?;
        ensure!(carried.is_none_or(|carried| carried == value), "{carried:?} came instead of {value}");
        Ok(carried.is_some())
    }
}
