//! What baton's metrics tell of the time in its programs.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result};

/// Runs of a program, and nanoseconds in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Time {
    pub(super) runs: f64,
    pub(super) nanoseconds: f64,
}

/// What a daemon's metrics say of its programs.
pub(super) fn scrape(port: u16) -> Result<BTreeMap<String, Time>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("failed to ask baton for its metrics")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("failed to read baton's metrics")?;
    Ok(parse(&text))
}

fn parse(text: &str) -> BTreeMap<String, Time> {
    let mut times: BTreeMap<String, Time> = BTreeMap::new();
    for line in text.lines() {
        let Some((metric, rest)) = line.split_once("{program=\"") else { continue };
        let Some((program, value)) = rest.split_once("\"} ") else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        match metric {
            "baton_program_runs_total" => times.entry(program.to_owned()).or_default().runs = value,
            "baton_program_run_seconds_total" => times.entry(program.to_owned()).or_default().nanoseconds = value * 1e9,
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_metrics() {
        let text = "# TYPE baton_program_runs_total counter\nbaton_program_runs_total{program=\"a\"} 4\n\
                    baton_program_run_seconds_total{program=\"a\"} 0.000002\nbaton_program_misses_total{program=\"a\"} 9\n";
        assert_eq!(parse(text), BTreeMap::from([("a".to_owned(), Time { runs: 4.0, nanoseconds: 2000.0 })]));
    }
}
