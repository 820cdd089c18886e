//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::config::{Attribution, addresses};
use crate::failure::Failure;

/// Where the daemon listens and `baton watch` asks.
pub(crate) const DEFAULT_SOCKET: &str = "/run/baton/baton.sock";

/// Carries request headers through unmodified applications, with eBPF.
#[derive(Debug, Parser)]
#[command(name = "baton", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command with propagation on
    Exec(Exec),
    /// Run the daemon: propagation for existing cgroups
    Run(Run),
    /// Show the running daemon's flow events
    Watch(Watch),
    /// Check what this machine offers and what is missing
    Doctor(Doctor),
}

/// What is carried, and from where to where.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Header names to carry, separated by commas; NAME* is a prefix
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) headers: Vec<String>,
    /// A set of header names to carry (repeatable): telepresence, w3c, b3, datadog, …
    #[arg(long = "preset", value_name = "NAME")]
    pub(crate) presets: Vec<String>,
    /// More destinations that may get headers (repeatable); internal addresses always may
    #[arg(long, value_name = "CIDR", value_parser = addresses::parse)]
    pub(crate) egress: Vec<IpNet>,
    /// Sources whose headers are taken (repeatable); all if none is given
    #[arg(long, value_name = "CIDR", value_parser = addresses::parse)]
    pub(crate) ingress: Vec<IpNet>,
    /// How sure it must be which request caused another [default: strict]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) attribution: Option<Attribution>,
    /// Configuration file (YAML); flags take the place of its keys
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `baton exec`
#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// What is carried.
    #[command(flatten)]
    pub(crate) policy: Policy,
    /// Write flow events to FILE, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) flows: Option<PathBuf>,
    /// Write the summary at the end as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The command to run, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// `baton run`
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// What is carried.
    #[command(flatten)]
    pub(crate) policy: Policy,
    /// A workload's cgroup v2 directory (repeatable); in addition to the configuration's
    #[arg(long = "cgroup", value_name = "DIR")]
    pub(crate) cgroups: Vec<PathBuf>,
    /// Follow the labels baton.dev/propagation of this node's pods and their namespaces
    #[arg(long)]
    pub(crate) kubernetes: bool,
    /// This node's name in Kubernetes [default: $NODE_NAME]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub(crate) node: Option<String>,
    /// The cgroup v2 directory below which the pods' are [default: the root of the hierarchy]
    #[arg(long, value_name = "DIR", requires = "kubernetes")]
    pub(crate) cgroup_root: Option<PathBuf>,
    /// Where to answer /healthz and /readyz, with --kubernetes
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9640")]
    pub(crate) health: SocketAddr,
    /// Keep what open connections need in DIR of a BPF file system (/sys/fs/bpf/baton) when all of
    /// baton is killed at once, as in a container; the next daemon with DIR takes them over
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_dir: Option<PathBuf>,
    /// Where `baton watch` finds this daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Report in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `baton watch`
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `baton doctor`
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Say what this process runs, what its requests are told apart by, and what is attached to it for that
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Report in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads the command line. `None` if help or the version was asked for, and shown.
///
/// # Errors
/// [`Failure::Usage`], in one line.
pub(crate) fn read() -> Result<Option<Cli>, Failure> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if !error.use_stderr() => {
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            Ok(None)
        }
        Err(error) => Err(Failure::Usage(one_line(&error))),
    }
}

/// clap's message as one line, without its usage text.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "nothing to do: see `baton --help`".to_owned();
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    format!("{}; see `baton --help`", words.join(" ").trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_are_one_line() {
        let error = Cli::try_parse_from(["baton", "exec", "--nonsense"]).expect_err("not an option");
        let line = one_line(&error);
        assert!(!line.contains('\n') && line.contains("--nonsense"), "{line}");
    }
}
