//! Concurrent clients whose requests go to all of an application's handlers at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

use super::Handler;
use crate::load::{Client, concurrently, values};
use crate::scratch::serial;

/// Longest delay of a handler that sleeps, in milliseconds.
const MAX_DELAY: usize = 8;

/// An inbound request as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Joins it to the outbound requests that it causes.
    pub(super) id: String,
    pub(super) handler: Handler,
    /// The headers that it carried; none in a third of the requests.
    pub(super) carried: Vec<(&'static str, String)>,
}

/// Sends `requests` requests from `clients` clients; each is answered as it should be.
pub(super) fn send(address: SocketAddr, handlers: &[Handler], clients: usize, requests: usize) -> Result<Vec<Sent>> {
    let run = serial();
    let next = AtomicUsize::new(0);
    let client = |_| -> Result<Vec<Sent>> {
        let mut client = Client::new(address, true);
        let mut all = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return Ok(all);
            }
            let sent = Sent::new(run, number, handlers);
            sent.exchange(&mut client, number).with_context(|| format!("{} to {:?}", sent.id, sent.handler))?;
            all.push(sent);
        }
    };
    Ok(concurrently(clients, client)?.into_iter().flatten().collect())
}

impl Sent {
    fn new(run: u32, number: usize, handlers: &[Handler]) -> Self {
        let id = format!("r{run}-{number}");
        let carried = if number % 3 == 2 { Vec::new() } else { values(&id, number) };
        // A stride that has no common factor with the thirds.
        Self { id, handler: handlers[number / 3 % handlers.len()], carried }
    }

    fn exchange(&self, client: &mut Client, number: usize) -> Result<()> {
        // As good as random, and the same each time.
        let delay = number.wrapping_mul(2_654_435_761) >> 7 & 0xffff;
        let target = format!(
            "/relay?id={}&n={}&via={}&delay={}",
            self.id,
            self.handler.calls(),
            self.handler.via(),
            delay % (MAX_DELAY + 1)
        );
        let fields: Vec<_> = self.carried.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (head, body) = client.get(&target, &fields)?;
        // The backend answers with the target of the outbound request.
        let calls = if self.handler == Handler::After { 0 } else { self.handler.calls() };
        let replies: Vec<String> = (1..=calls).map(|k| self.handler.target(&self.id, k)).collect();
        let lengths: String = replies.iter().map(|reply| format!("{}\n", reply.len())).collect();
        let body = String::from_utf8_lossy(&body);
        // A proxy cannot count, and passes the replies themselves on.
        ensure!(
            head.status == 200 && (body == lengths || body == replies.concat()),
            "status {}, body {body:?}",
            head.status
        );
        Ok(())
    }
}
