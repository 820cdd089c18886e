//! What a client and a server do with each other, and how fast.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::stage::{LARGE, Side, Stage};
use crate::process;

/// Requests of one run of redis-benchmark.
const REDIS_REQUESTS: &str = "60000";

#[derive(Debug, Clone, Copy)]
pub(super) enum Exchange {
    Redis,
    Download,
    Upload,
}

impl Exchange {
    pub(super) const ALL: [Self; 3] = [Self::Redis, Self::Download, Self::Upload];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Redis => "redis-benchmark with 32 connections and a Redis server",
            Self::Download => "curl reads 1 GiB in one response",
            Self::Upload => "curl sends 1 GiB in one request",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Redis => "requests/s",
            Self::Download | Self::Upload => "MB/s",
        }
    }

    /// The part of the speed without baton that is to be reached at least.
    pub(super) const fn target(self, side: Side) -> Option<f64> {
        match (self, side) {
            (_, Side::Without) => None,
            (_, Side::Neither) => Some(0.995),
            (Self::Redis, _) => Some(0.98),
            (Self::Download | Self::Upload, _) => Some(0.97),
        }
    }

    /// Lets it happen once; returns its speed.
    pub(super) fn run(self, stage: &Stage<'_>, side: Side) -> Result<f64> {
        let mut command = match self {
            Self::Redis => Command::new("redis-benchmark"),
            Self::Download | Self::Upload => Command::new("curl"),
        };
        let port = stage.bulk.of(side);
        match self {
            Self::Redis => {
                let port = stage.redis.of(side).to_string();
                command.args(["-p", &port, "-c", "32", "-n", REDIS_REQUESTS, "-t", "get", "-q", "--csv"]);
            }
            Self::Download => {
                command.args(["--output", "/dev/null", "--write-out", "%{speed_download}"]);
                command.arg(format!("http://127.0.0.1:{port}/{LARGE}"));
            }
            Self::Upload => {
                // Without asking first whether the server will take it.
                command.args(["--header", "Expect:", "--write-out", "%{speed_upload}", "--upload-file"]);
                command.arg(&stage.file).arg(format!("http://127.0.0.1:{port}/"));
            }
        }
        if !matches!(self, Self::Redis) {
            command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
        }
        let printed = process::read(&mut stage.client(side, &command))?;
        self.speed(&printed).with_context(|| format!("no speed in what was printed: {printed:?}"))
    }

    /// The speed in what the client prints.
    fn speed(self, printed: &str) -> Option<f64> {
        match self {
            Self::Redis => printed.lines().last()?.split(',').nth(1)?.trim_matches('"').parse().ok(),
            Self::Download | Self::Upload => Some(printed.trim().parse::<f64>().ok()? / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exchange;

    #[test]
    fn speeds_are_found() {
        let printed = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"92592.59\",\"0.176\"\n";
        assert_eq!(Exchange::Redis.speed(printed), Some(92592.59));
        assert_eq!(Exchange::Upload.speed("1500000000\n"), Some(1500.0));
        assert_eq!(Exchange::Upload.speed(""), None);
    }
}
