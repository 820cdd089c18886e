//! Who sends the demo's requests: curl, or Python where there is no curl.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, workspace};

#[derive(Debug)]
pub(super) enum Client {
    Curl(PathBuf),
    Python(PathBuf),
}

impl Client {
    pub(super) fn find() -> Result<Self> {
        let curl = workspace::find("curl").map(Self::Curl);
        curl.or_else(|| workspace::find("python3").map(Self::Python))
            .context("neither curl nor python3 is on the search path: install one of them")
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Curl(_) => "curl",
            Self::Python(_) => "client",
        }
    }

    /// GETs a URL and returns the body.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<String> {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let mut command = match self {
            Self::Curl(curl) => {
                let mut command = Command::new(curl);
                // A proxy of the environment has no business with the loopback interface.
                command.args(["--silent", "--show-error", "--fail", "--max-time", "15", "--noproxy", "*", url]);
                command.args(lines.flat_map(|line| ["--header".to_owned(), line]));
                command
            }
            Self::Python(python) => {
                let mut command = Command::new(python);
                command.arg(workspace::root().join("demo/client.py")).arg(url).args(lines);
                command.env("no_proxy", "*");
                command
            }
        };
        process::read(&mut command).with_context(|| format!("the demo's request to {url} failed"))
    }
}
