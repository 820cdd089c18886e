//! Reading flow events: the JSON lines of `--flows` and of `baton watch --json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What every flow event has. Fields may be added to the schema, never renamed.
#[derive(Clone, Debug, Deserialize)]
pub struct Flow {
    /// RFC 3339.
    pub time: String,
    /// `inbound`, `outbound` or `response`.
    pub kind: String,
    /// The workload's name.
    pub workload: String,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The runtime that was recognised.
    pub runtime: String,
    /// The request's method.
    pub method: String,
    /// The request's target, perhaps shortened.
    pub path: String,
    /// `address:port` of the other side.
    pub peer: String,
    /// Inbound: the names that were found. Outbound: the names that were inserted.
    pub headers: Vec<String>,
    /// Outbound: `injected`, `already-present`, `nothing-to-insert`, `lost`.
    #[serde(deserialize_with = "present")]
    pub verdict: Option<String>,
    /// Why it was lost.
    #[serde(deserialize_with = "present")]
    pub reason: Option<String>,
    /// The context's id.
    #[serde(deserialize_with = "present")]
    pub context: Option<String>,
    /// This end, where it is known.
    #[serde(deserialize_with = "present")]
    pub local: Option<String>,
    /// What all events of a connection have in common.
    #[serde(deserialize_with = "present")]
    pub connection: Option<String>,
    /// Inbound: values by name.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// A response: `inbound` or `outbound`, as its request.
    #[serde(default)]
    pub answers: Option<String>,
    /// A response: its status.
    #[serde(default)]
    pub status: Option<u16>,
    /// A response: microseconds since its request.
    #[serde(default)]
    pub latency_us: Option<u64>,
}

impl Flow {
    /// Whether it is an outbound request with this verdict.
    pub fn is(&self, verdict: &str) -> bool {
        self.kind == "outbound" && self.verdict.as_deref() == Some(verdict)
    }
}

/// A field that may be null but must be there: serde takes a plain `Option` for absent, too.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(value)
}

/// Parses JSON lines.
pub fn parse(text: &str) -> Result<Vec<Flow>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a flow event: {line}"))).collect()
}

/// Reads a file of JSON lines.
pub fn read(path: &Path) -> Result<Vec<Flow>> {
    parse(&std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?)
}
