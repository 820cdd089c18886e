//! Three services in pods that call one another.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::pod::Pod;
use super::{Cluster, Image, LIMIT};
use crate::load::Client;
use crate::wait;

/// Where a hop listens.
pub const PORT: u16 = 8080;

const NAMES: [&str; 3] = ["gateway", "orders", "stock"];

/// What one hop of a chain has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The pod's name.
    pub pod: String,
    /// The fields of the request's head.
    pub received: Vec<(String, String)>,
}

impl Hop {
    /// All values of a field, whatever the case of its name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.received.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A chain of pods in one namespace. Its pods stay when it is dropped, for the cluster is one test run's.
#[derive(Clone, Debug)]
pub struct Chain {
    namespace: String,
    pods: Vec<Pod>,
    addresses: Vec<IpAddr>,
}

impl Chain {
    /// Starts it in a namespace that is there.
    pub fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        Self::start_with(cluster, namespace, |pod| pod)
    }

    /// As [`Chain::start`], with something added to each pod.
    pub fn start_with(cluster: &Cluster, namespace: &str, add: impl Fn(Pod) -> Pod) -> Result<Self> {
        let image = Image::HOP;
        let pods: Vec<_> = NAMES.iter().map(|name| add(Pod::new(namespace, name, image).label("app", name))).collect();
        cluster.run(&pods)?;
        let mut chain = Self { namespace: namespace.to_owned(), pods, addresses: Vec::new() };
        chain.look_up(cluster)?;
        chain.wait_for_answer()?;
        Ok(chain)
    }

    /// Its pods, in order.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The namespace that they are in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Deletes a pod, makes it anew, and takes over its new address.
    pub fn recreate(&mut self, cluster: &Cluster, hop: usize) -> Result<()> {
        cluster.recreate(self.pods.get(hop).context("no such hop")?)?;
        self.look_up(cluster)?;
        self.wait_for_answer()
    }

    /// Takes over its pods' new addresses after all of them were started anew.
    pub fn find_again(&mut self, cluster: &Cluster) -> Result<()> {
        wait::until("an answer of the chain's new pods", LIMIT, || {
            self.look_up(cluster)?;
            Ok(self.ask(&mut self.client(), &[]).ok().map(drop))
        })
    }

    /// The same chain with another pod of its image in front.
    #[must_use]
    pub fn behind(&self, first: IpAddr) -> Self {
        let addresses = [first].into_iter().chain(self.addresses.iter().copied()).collect();
        Self { addresses, ..self.clone() }
    }

    fn look_up(&mut self, cluster: &Cluster) -> Result<()> {
        let addresses = self.pods.iter().map(|pod| cluster.pod_ip(&self.namespace, pod.name()));
        self.addresses = addresses.collect::<Result<_>>()?;
        Ok(())
    }

    /// A container that runs does not listen yet.
    fn wait_for_answer(&self) -> Result<()> {
        let mut last = String::new();
        wait::until("an answer of the chain", LIMIT, || match self.ask(&mut self.client(), &[]) {
            Ok(_) => Ok(Some(())),
            Err(error) => {
                last = format!("{error:#}");
                Ok(None)
            }
        })
        .with_context(|| last)
    }

    /// A client of the first hop, which keeps its connection.
    pub fn client(&self) -> Client {
        Client::new(SocketAddr::from((self.addresses[0], PORT)), true)
    }

    /// Sends a request with these fields through all hops, and returns what each has received.
    pub fn ask(&self, client: &mut Client, fields: &[(&str, &str)]) -> Result<Vec<Hop>> {
        let path: String = self.addresses[1..].iter().map(|address| format!("/{address}:{PORT}")).collect();
        let (head, body) = client.get(&path, fields)?;
        let text = String::from_utf8_lossy(&body);
        ensure!(head.status == 200, "status {}: {text}", head.status);
        let hops = hops(&body).with_context(|| format!("in {text}"))?;
        ensure!(hops.len() == self.addresses.len(), "{} hops: {text}", hops.len());
        Ok(hops)
    }
}

/// What a hop answers.
#[derive(Deserialize)]
struct Answer {
    pod: String,
    received: Vec<(String, String)>,
    next: Option<Box<Answer>>,
}

fn hops(body: &[u8]) -> Result<Vec<Hop>> {
    let mut next = Some(Box::new(serde_json::from_slice::<Answer>(body)?));
    let mut hops = Vec::new();
    while let Some(answer) = next {
        hops.push(Hop { pod: answer.pod, received: answer.received });
        next = answer.next;
    }
    Ok(hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_those_of_the_next_hops() -> Result<()> {
        let body = br#"{"pod": "a", "received": [["X-A", "1"]], "next": {"pod": "b", "received": [], "next": null}}"#;
        let hops = hops(body)?;
        assert_eq!(hops.iter().map(|hop| hop.pod.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(hops[0].values("x-a").collect::<Vec<_>>(), ["1"]);
        Ok(())
    }
}
