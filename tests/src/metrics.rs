//! What a daemon says of itself at `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::load::Client;

/// One line of metrics.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Whether it has all of these labels, with these values.
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|found| found == value))
    }
}

/// All metrics at one moment.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// As they came.
    pub text: String,
    samples: Vec<Sample>,
}

impl Scrape {
    /// Asks who listens at `address`, in Prometheus's older format.
    pub fn of(address: SocketAddr) -> Result<Self> {
        let text = get(address, "text/plain; version=0.0.4")?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| parse(line).with_context(|| format!("not a sample: {line}")));
        let samples = samples.collect::<Result<_>>()?;
        Ok(Self { text, samples })
    }

    /// All samples of the metric `name` that have these labels.
    pub fn all<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// The sum of all samples of the metric `name` that have these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.all(name, labels).map(|sample| sample.value as u64).sum()
    }

    /// The names of all counters, with their labels and values.
    pub fn counters(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.name.ends_with("_total"))
    }
}

/// The metrics as text in the format that `accept` asks for.
pub fn get(address: SocketAddr, accept: &str) -> Result<String> {
    let (head, body) = Client::new(address, false).get("/metrics", &[("accept", accept)])?;
    let text = String::from_utf8(body)?;
    let wanted = accept.split(';').next().unwrap_or_default();
    ensure!(head.status == 200, "status {}: {text}", head.status);
    ensure!(head.values("content-type").all(|kind| kind.starts_with(wanted)), "{:?} for {accept}", head.fields);
    Ok(text)
}

fn parse(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut labels = BTreeMap::new();
    // The tests' own names have nothing in them that is escaped.
    for label in rest.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once("=\"")?;
        labels.insert(name.to_owned(), value.trim_end_matches('"').to_owned());
    }
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples() -> Result<()> {
        let sample = parse("a_total{b=\"c d\",e=\"f\"} 1.5").context("a sample")?;
        assert!(sample.name == "a_total" && sample.has(&[("b", "c d"), ("e", "f")]) && sample.value == 1.5);
        let plain = parse("up 1").context("a sample")?;
        assert!(plain.name == "up" && plain.labels.is_empty());
        Ok(())
    }
}
