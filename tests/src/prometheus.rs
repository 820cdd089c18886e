//! A real Prometheus that scrapes a daemon, and promtool.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::app::{App, Launch, Program};
use crate::load::Client;
use crate::process::{self, Finished};
use crate::programs::command;
use crate::wait;

/// A running Prometheus with a store of its own.
#[derive(Debug)]
pub struct Prometheus {
    app: App,
}

impl Prometheus {
    /// Scrapes `target` every second as the job `baton` and the instance `node-1`, with these rules.
    pub fn start(target: SocketAddr, rules: &Path) -> Result<Self> {
        let mut program = Program::new(command("prometheus")?)?;
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - job_name: baton\n    static_configs:\n      - targets: [\"{target}\"]\n        labels: {{instance: node-1}}\n",
            rules.display()
        );
        let config = program.files.write("prometheus.yml", config)?;
        program.command.arg("--config.file").arg(config);
        program.command.arg("--storage.tsdb.path").arg(program.files.join("store"));
        program.command.args(["--log.level", "warn", "--web.listen-address", &format!("127.0.0.1:{}", program.port)]);
        let app = program.start(&Launch::Plain)?;
        // It listens before its store is open.
        wait::until("Prometheus to be ready", wait::START, || {
            let (head, _) = Client::new(app.address(), false).get("/-/ready", &[])?;
            Ok((head.status == 200).then_some(()))
        })
        .with_context(|| app.output())?;
        Ok(Self { app })
    }

    /// What an expression gives now: as many values, each with its labels.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(expression)))?;
        let result = answer["data"]["result"].as_array().with_context(|| answer.to_string())?;
        Ok(result.clone())
    }

    /// The one number that an expression gives now, if it gives any.
    pub fn number(&self, expression: &str) -> Result<Option<f64>> {
        match self.query(expression)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one["value"][1].as_str().unwrap_or_default().parse()?)),
            several => bail!("{expression} gives {} values", several.len()),
        }
    }

    /// The answer to an HTTP API call, which must succeed.
    pub fn ask(&self, target: &str) -> Result<Value> {
        let (head, body) = Client::new(self.app.address(), false).get(target, &[])?;
        let text = String::from_utf8_lossy(&body);
        ensure!(head.status == 200, "{target}: status {}: {text}", head.status);
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("{target}: {text}"))?;
        ensure!(answer["status"] == "success", "{target}: {answer}");
        Ok(answer)
    }

    /// What it has written.
    pub fn output(&self) -> String {
        self.app.output()
    }
}

/// Runs promtool with `input`; it must find nothing wrong.
pub fn promtool(arguments: &[&str], input: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    let mut promtool = command("promtool")?;
    promtool.args(arguments);
    let Finished { code, stdout, stderr } = process::run(promtool, input.as_bytes(), LIMIT)?;
    let said = String::from_utf8_lossy(&stdout);
    ensure!(code == 0, "promtool {}: status {code}: {said}{stderr}", arguments.join(" "));
    Ok(())
}

/// Text as part of a URL's query (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
