//! Concurrent clients that send every request with header values of its own, or with none.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::baton::HEADERS;
use crate::http::{self, Head};
use crate::scratch::serial;
use crate::wait;

/// One combination of load.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Concurrent clients.
    pub clients: usize,
    /// Requests of all clients together.
    pub requests: usize,
    /// Whether a client keeps its connection.
    pub keep_alive: bool,
    /// What is added to the query, such as `&via=pool`.
    pub query: &'static str,
}

impl Cell {
    /// A combination without an addition to the query.
    pub fn new(clients: usize, requests: usize, keep_alive: bool) -> Self {
        Self { clients, requests, keep_alive, query: "" }
    }
}

/// An inbound request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The id that joins it to the outbound requests that it causes.
    pub id: String,
    /// How many outbound requests it causes.
    pub fan_out: usize,
    /// The propagated headers that it carried, names in lower case; empty for a third of the requests.
    pub carried: Vec<(&'static str, String)>,
}

/// What the clients did.
#[derive(Debug, Default)]
pub struct Report {
    /// Every request, all of them answered with 200 and the expected body.
    pub sent: Vec<Sent>,
    /// Kept-alive connections that the server had closed, so that a request went over a new one.
    pub reconnects: usize,
}

/// Sends a cell's requests to a relay and checks each response.
pub fn run(address: SocketAddr, cell: &Cell) -> Result<Report> {
    let run = serial();
    let next = AtomicUsize::new(0);
    let client = || -> Result<Report> {
        let mut client = Client::new(address, cell.keep_alive);
        let mut report = Report::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cell.requests {
                report.reconnects = client.reconnects;
                return Ok(report);
            }
            let sent = Sent::new(run, number);
            let response = client.send(&sent.message(cell, number)).with_context(|| format!("request {}", sent.id))?;
            sent.check(&response)?;
            report.sent.push(sent);
        }
    };
    let mut total = Report::default();
    for report in concurrently(cell.clients, |_| client())? {
        total.sent.extend(report.sent);
        total.reconnects += report.reconnects;
    }
    Ok(total)
}

impl Sent {
    fn new(run: u32, number: usize) -> Self {
        let id = format!("r{run}-{number}");
        let carried = if number % 3 == 2 { Vec::new() } else { values(&id, number) };
        Self { id, fan_out: fan_out(number), carried }
    }

    /// The request's bytes: GET or POST, other fields around the wanted ones, their names in varying case.
    fn message(&self, cell: &Cell, number: usize) -> Vec<u8> {
        let body = if number % 4 == 3 { "x".repeat(number % 100 + 1) } else { String::new() };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut head = format!("{method} /relay?id={}&n={}{} HTTP/1.1\r\n", self.id, self.fan_out, cell.query);
        head.push_str("Host: relay.test\r\nAccept: */*\r\n");
        for (name, value) in &self.carried {
            let name = if number.is_multiple_of(2) { name.to_uppercase() } else { (*name).to_owned() };
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("User-Agent: baton-tests\r\n");
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str(if cell.keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
        [head.into_bytes(), body.into_bytes()].concat()
    }

    fn check(&self, (head, body): &(Head, Vec<u8>)) -> Result<()> {
        // The backend answers with the target of the outbound request.
        let expected: String = (1..=self.fan_out).map(|k| format!("{}\n", target(&self.id, k).len())).collect();
        let body = String::from_utf8_lossy(body);
        ensure!(head.status == 200 && body == expected, "request {}: status {}, body {body:?}", self.id, head.status);
        Ok(())
    }
}

/// How many requests to send instead of so many: `BATON_TEST_SCALE=10` makes them a tenth, in guests and in CI.
pub fn scaled(requests: usize) -> usize {
    let scale = std::env::var("BATON_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    requests / std::cmp::max(1, scale)
}

/// The target of outbound request `k` of an inbound request.
pub fn target(id: &str, k: usize) -> String {
    format!("/out/{id}/{k}")
}

/// Values that no other request of this process has.
pub(crate) fn values(id: &str, number: usize) -> Vec<(&'static str, String)> {
    let run = id.trim_start_matches('r').split('-').next().unwrap_or_default();
    let [telepresence, traceparent] = HEADERS;
    vec![
        (telepresence, format!("value-of-{id}")),
        (traceparent, format!("00-{run:0>16}{number:016x}-{:016x}-01", number + 1)),
    ]
}

/// One to five, 1.5 on average.
fn fan_out(number: usize) -> usize {
    match number % 25 {
        0..=18 => 1,
        19..=21 => 2,
        22 => 3,
        23 => 4,
        _ => 5,
    }
}

/// Runs `work` on so many threads at once, each with its number.
pub fn concurrently<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?).collect()
    })
}

/// A client with at most one connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    keep_alive: bool,
    connection: Option<BufReader<TcpStream>>,
    reconnects: usize,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(address: SocketAddr, keep_alive: bool) -> Self {
        Self { address, keep_alive, connection: None, reconnects: 0 }
    }

    /// How often the server had closed a kept connection, so that a request went over a new one.
    pub fn reconnects(&self) -> usize {
        self.reconnects
    }

    /// Sends a whole request in one call and reads its response.
    pub fn send(&mut self, message: &[u8]) -> Result<(Head, Vec<u8>)> {
        self.send_pieces(&[message])
    }

    /// Sends a whole request in several calls and reads its response.
    pub fn send_pieces(&mut self, pieces: &[&[u8]]) -> Result<(Head, Vec<u8>)> {
        if let Some(kept) = self.connection.take() {
            if let Some(response) = self.exchange(kept, pieces)? {
                return Ok(response);
            }
            self.reconnects += 1;
        }
        let fresh = TcpStream::connect(self.address).context("failed to connect")?;
        fresh.set_nodelay(true)?;
        fresh.set_read_timeout(Some(wait::scaled(Duration::from_secs(60))))?;
        self.exchange(BufReader::new(fresh), pieces)?.context("the server closed the connection without an answer")
    }

    /// GET of a target with these fields.
    pub fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Result<(Head, Vec<u8>)> {
        let mut message = format!("GET {target} HTTP/1.1\r\nHost: relay.test\r\n");
        for (name, value) in fields {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str(if self.keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        self.send(message.as_bytes())
    }

    /// `None`: the server closed the connection before it answered.
    fn exchange(&mut self, mut stream: BufReader<TcpStream>, pieces: &[&[u8]]) -> Result<Option<(Head, Vec<u8>)>> {
        let raw = match write_and_read_head(&mut stream, pieces) {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(None),
            Err(error) if closed(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let head = Head::response(raw)?;
        let body = http::read_response_body(&head, &mut stream)?;
        if self.keep_alive && !head.closes() {
            self.connection = Some(stream);
        }
        Ok(Some((head, body)))
    }
}

fn write_and_read_head(stream: &mut BufReader<TcpStream>, pieces: &[&[u8]]) -> Result<Option<Vec<u8>>> {
    for piece in pieces {
        stream.get_mut().write_all(piece)?;
    }
    http::read_head(stream)
}

fn closed(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    error.downcast_ref::<std::io::Error>().is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionReset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fan_out_is_one_and_a_half_on_average() {
        let total: usize = (0..25_000).map(fan_out).sum();
        assert!((36_000..39_000).contains(&total), "{total}");
    }

    #[test]
    fn a_third_of_the_requests_carries_nothing_and_values_are_unique() {
        let sent: Vec<_> = (0..300).map(|number| Sent::new(7, number)).collect();
        assert_eq!(sent.iter().filter(|sent| sent.carried.is_empty()).count(), 100);
        let values: std::collections::HashSet<_> = sent.iter().flat_map(|sent| &sent.carried).collect();
        assert_eq!(values.len(), 400);
    }
}
