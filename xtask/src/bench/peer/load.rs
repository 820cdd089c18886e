//! The load generator: a fixed number of connections with one request in flight on each.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};

use super::message;
use crate::{cgroup, say};

/// The timer among what epoll watches; connections have their index.
const TIMER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: SocketAddr,
    pub(super) connections: usize,
    /// Requests a second, on all connections; as many as go if none.
    pub(super) rate: Option<f64>,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    /// The header whose value is another one in each request.
    pub(super) header: String,
    /// Header lines of each request.
    pub(super) lines: usize,
    /// Whether each request has a connection of its own.
    pub(super) fresh: bool,
    /// The cgroup whose CPU time counts.
    pub(super) observe: PathBuf,
}

/// What one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::bench) struct Measured {
    pub(in crate::bench) requests: u64,
    pub(in crate::bench) requests_per_second: f64,
    pub(in crate::bench) p50_us: f64,
    pub(in crate::bench) p99_us: f64,
    pub(in crate::bench) p999_us: f64,
    /// CPU time of the observed cgroup: of the program and, where it runs, baton.
    pub(in crate::bench) cpu_us_per_request: f64,
    /// The same with that of the load generator and of all else in its cgroup, such as the backend. A packet costs its
    /// sender what the kernel does for its receiver.
    pub(in crate::bench) total_us_per_request: f64,
    /// Requests whose id reached the backend.
    pub(in crate::bench) carried: u64,
    /// Requests for which the backend saw the id of another. Never anything but zero.
    pub(in crate::bench) wrong: u64,
}

pub(super) fn run(plan: &Plan) -> Result<()> {
    let mut load = Load::connect(plan)?;
    load.send_until(Instant::now() + plan.warm_up)?;
    load.reset();

    let own = cgroup::own()?;
    let (begun, cpu) = (Instant::now(), cgroup::cpu_microseconds(&plan.observe)?);
    let peers = cgroup::cpu_microseconds(&own)?;
    load.send_until(begun + plan.measured)?;
    let elapsed = begun.elapsed();
    let cpu = cgroup::cpu_microseconds(&plan.observe)? - cpu;
    let peers = cgroup::cpu_microseconds(&own)? - peers;

    let mut latencies = load.latencies;
    ensure!(!latencies.is_empty(), "no request was answered within {:?}", plan.measured);
    latencies.sort_unstable();
    let requests = latencies.len() as u64;
    let per_request = |microseconds: u64| microseconds as f64 / requests as f64;
    let quantile = |part: f64| {
        let index = (latencies.len() as f64 * part) as usize;
        latencies[index.min(latencies.len() - 1)].as_nanos() as f64 / 1e3
    };
    let measured = Measured {
        requests,
        requests_per_second: requests as f64 / elapsed.as_secs_f64(),
        p50_us: quantile(0.50),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        cpu_us_per_request: per_request(cpu),
        total_us_per_request: per_request(cpu + peers),
        carried: load.carried,
        wrong: load.wrong,
    };
    say::result(&serde_json::to_string(&measured)?);
    Ok(())
}

struct Load {
    target: SocketAddr,
    header: String,
    lines: usize,
    fresh: bool,
    epoll: Epoll,
    /// Expires whenever each connection is to send one more request.
    pace: Option<TimerFd>,
    connections: Vec<Connection>,
    next_id: u64,
    latencies: Vec<Duration>,
    carried: u64,
    wrong: u64,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    id: String,
    sent: Instant,
    /// Whether no request is in flight.
    is_idle: bool,
    /// Requests that should have been sent by now and were not.
    owed: u64,
}

impl Load {
    fn connect(plan: &Plan) -> Result<Self> {
        let mut load = Self {
            target: plan.target,
            header: plan.header.clone(),
            lines: plan.lines,
            fresh: plan.fresh,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            pace: None,
            connections: Vec::new(),
            next_id: 0,
            latencies: Vec::new(),
            carried: 0,
            wrong: 0,
        };
        for index in 0..plan.connections {
            let stream = load.open(index)?;
            let (received, id, sent) = (Vec::new(), String::new(), Instant::now());
            load.connections.push(Connection { stream, received, id, sent, is_idle: false, owed: 0 });
            load.send(index)?;
        }
        if let Some(rate) = plan.rate {
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
            let interval = Duration::from_secs_f64(plan.connections as f64 / rate);
            timer.set(Expiration::Interval(TimeSpec::from_duration(interval)), TimerSetTimeFlags::empty())?;
            load.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
            load.pace = Some(timer);
        }
        Ok(load)
    }

    /// Forgets what was measured and what is owed, not what is in flight.
    fn reset(&mut self) {
        self.latencies.clear();
        self.connections.iter_mut().for_each(|connection| connection.owed = 0);
        (self.carried, self.wrong) = (0, 0);
    }

    fn open(&self, index: usize) -> Result<TcpStream> {
        let stream =
            TcpStream::connect(self.target).with_context(|| format!("failed to connect to {}", self.target))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        Ok(stream)
    }

    fn send_until(&mut self, end: Instant) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        while Instant::now() < end {
            let ready = self.epoll.wait(&mut events, EpollTimeout::from(1000u16))?;
            for event in &events[..ready] {
                match event.data() {
                    TIMER => self.tick()?,
                    index => self.receive(index as usize)?,
                }
            }
        }
        Ok(())
    }

    /// Each connection owes a request more for each time that the timer has expired.
    fn tick(&mut self) -> Result<()> {
        let mut count = [0; 8];
        let Some(timer) = &self.pace else { return Ok(()) };
        // That nothing has expired is no error.
        let expired = nix::unistd::read(timer, &mut count).map_or(0, |_| u64::from_ne_bytes(count));
        for index in 0..self.connections.len() {
            self.connections[index].owed += expired;
            if self.connections[index].is_idle {
                self.send_next(index)?;
            }
        }
        Ok(())
    }

    /// Sends the next request, if one is to be sent now.
    fn send_next(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        if self.pace.is_some() {
            connection.is_idle = connection.owed == 0;
            if connection.is_idle {
                return Ok(());
            }
            connection.owed -= 1;
        }
        self.send(index)
    }

    fn send(&mut self, index: usize) -> Result<()> {
        self.next_id += 1;
        let connection = &mut self.connections[index];
        // As `baggage` wants it, and every other header takes it.
        connection.id = format!("load={:016x}", self.next_id);
        connection.received.clear();
        let request = request(&self.header, &connection.id, self.lines);
        connection.sent = Instant::now();
        // Far below the smallest send buffer, with nothing in flight: it is taken whole.
        connection.stream.write_all(&request).context("failed to send a request")
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let mut chunk = [0; 65_536];
        let length = match connection.stream.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            read => read.context("failed to read a response")?,
        };
        if length == 0 {
            // Servers close idle or worn connections; a request that was in flight is sent again.
            self.connections[index].stream = self.open(index)?;
            return self.send(index);
        }
        connection.received.extend_from_slice(&chunk[..length]);
        let whole = message::length(&connection.received);
        if whole.is_none_or(|whole| connection.received.len() < whole) {
            return Ok(());
        }
        self.latencies.push(connection.sent.elapsed());
        let closes = self.judge(index)?;
        if closes || self.fresh {
            self.connections[index].stream = self.open(index)?;
        }
        self.send_next(index)
    }

    /// Compares the id that the backend saw with the one that was sent; says whether the server will close.
    fn judge(&mut self, index: usize) -> Result<bool> {
        let connection = &self.connections[index];
        let head = message::head_length(&connection.received).unwrap_or(0);
        let (head, body) = connection.received.split_at(head);
        if !head.starts_with(b"HTTP/1.1 200") {
            bail!("the target answered {:?}", String::from_utf8_lossy(&connection.received));
        }
        match body.trim_ascii() {
            b"-" => {}
            id if id == connection.id.as_bytes() => self.carried += 1,
            _ => self.wrong += 1,
        }
        Ok(message::header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")))
    }
}

/// Header lines of a request as browsers send them: with those that are always there, a head of about 600 bytes.
const LINES: [&str; 10] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding: identity",
    "Referer: http://shop.example.test/basket?session=0123456789abcdef",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "X-Forwarded-For: 192.0.2.17",
    "X-Forwarded-Proto: http",
    "Connection: keep-alive",
];

/// Lines that are always there: `Host` and the two that are wanted.
const NEEDED: usize = 3;

/// The number of lines of such a request.
pub(in crate::bench) const REQUEST_LINES: usize = LINES.len() + NEEDED;

/// A request with so many header lines, of which two are wanted ones.
fn request(header: &str, id: &str, lines: usize) -> Vec<u8> {
    let mut head = "GET /relay?item=4711&language=en HTTP/1.1\r\nHost: shop.example.test\r\n".to_owned();
    let others = lines.saturating_sub(NEEDED);
    for line in LINES.iter().take(others) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    for number in LINES.len()..others {
        head.push_str(&format!("X-Shop-Detail-{number}: value-of-a-usual-length\r\n"));
    }
    head.push_str(&format!("{header}: {id}\r\n"));
    head.push_str("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_LINES, request};

    #[test]
    fn the_head_has_about_600_bytes() {
        let length = request("x-telepresence-id", "load=0000000000000001", REQUEST_LINES).len();
        assert!((580..=620).contains(&length), "{length}");
    }

    #[test]
    fn the_head_has_as_many_lines_as_are_asked_for() {
        for lines in [5, REQUEST_LINES, 30] {
            let head = String::from_utf8(request("baggage", "load=1", lines)).expect("it is text");
            // The request line, and the blank one.
            assert_eq!(head.lines().count(), lines + 2);
        }
    }
}
