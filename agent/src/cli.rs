//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_common::flow::{Reason, Verdict};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::config::{Attribution, addresses};
use crate::datapath::hook::ReadHook;
use crate::failure::Failure;
use crate::logging::Filter as LogFilter;
use crate::observe::otlp::Endpoint;
use crate::observe::page;

/// Where the daemon listens and `baton watch` asks.
pub(crate) const DEFAULT_SOCKET: &str = "/run/baton/baton.sock";

/// Where the kubelet and Prometheus ask the daemon of a node.
const DEFAULT_HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9640);

/// Carries request headers through unmodified applications, with eBPF.
#[derive(Debug, Parser)]
#[command(name = "baton", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log to standard error: off, error, warn, info, debug, trace, or TARGET=LEVEL,… [default: $BATON_LOG, else warn]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Log")]
    pub(crate) log: Option<LogFilter>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command with propagation on
    Exec(Exec),
    /// Run the daemon: propagation for existing cgroups
    Run(Box<Run>),
    /// Show the running daemon's flow events, or recorded ones
    Watch(Watch),
    /// Keep the running daemon's flow events in a file
    Record(Record),
    /// Wait for a request, and tell its journey: each hop, and where and why its context was lost
    Explain(Explain),
    /// Watch which of the usual headers come in, which the applications pass on, and say what to configure
    Discover(Discover),
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
    /// Look for all usual headers, besides those that are named, and insert nothing
    #[arg(long)]
    pub(crate) observe: bool,
    /// Configuration file (YAML); flags take the place of its keys
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What sees the applications' reads [default: the first that this kernel has]
    #[arg(long, value_enum, value_name = "KIND", env = "BATON_HOOK", hide_env_values = true, help_heading = "Kernel")]
    pub(crate) hook: Option<ReadHook>,
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
    /// Write values in full, not only their beginnings
    #[arg(long, requires = "flows")]
    pub(crate) show_values: bool,
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
    /// Where to answer /healthz, /readyz and /metrics [default: 0.0.0.0:9640 with --kubernetes, else nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health: Option<SocketAddr>,
    /// Keep what open connections need in DIR of a BPF file system (/sys/fs/bpf/baton) when all of
    /// baton is killed at once, as in a container; the next daemon with DIR takes them over
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_dir: Option<PathBuf>,
    /// Send requests as spans to the collector at URL (OTLP/HTTP), in the traces that their traceparent names;
    /// $OTEL_EXPORTER_OTLP_HEADERS is sent along
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<Endpoint>,
    /// Serve the page that shows this node's workloads and the calls between them [default: off; without
    /// a value: 127.0.0.1:9641]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:9641", value_parser = page::address)]
    pub(crate) listen: Option<SocketAddr>,
    /// A name under which browsers may ask for the page (repeatable); localhost and its address always may
    #[arg(long = "listen-host", value_name = "NAME", requires = "listen", value_parser = page::host)]
    pub(crate) listen_hosts: Vec<String>,
    /// Where `baton watch` finds this daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Report in JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Whether nothing is reported at all: somebody else does.
    #[arg(skip)]
    pub(crate) is_quiet: bool,
}

impl Run {
    /// Where health and metrics are to be answered, if anywhere.
    pub(crate) fn health_address(&self) -> Option<SocketAddr> {
        self.health.or_else(|| self.kubernetes.then_some(DEFAULT_HEALTH))
    }

    /// A daemon that only observes `cgroups`, and looks for `headers` besides the usual ones.
    ///
    /// # Errors
    /// [`Failure::Usage`], in one line.
    pub(crate) fn observing(cgroups: &[PathBuf], headers: &[String], socket: &Path) -> Result<Self, Failure> {
        let mut words: Vec<OsString> = ["baton", "run", "--observe", "--socket"].map(OsString::from).to_vec();
        words.push(socket.into());
        for cgroup in cgroups {
            words.extend(["--cgroup".into(), cgroup.into()]);
        }
        for name in headers {
            words.extend(["--headers".into(), name.into()]);
        }
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Run(run), .. }) => Ok(Self { is_quiet: true, ..*run }),
            Ok(_) => Err(Failure::Usage("nothing to observe".to_owned())),
            Err(error) => Err(Failure::Usage(one_line(&error))),
        }
    }
}

/// Where flow events come from.
#[derive(Args, Debug)]
pub(crate) struct From {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Flow events in FILE instead of the daemon's; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) from: Option<PathBuf>,
}

/// Which workloads are wanted.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Place {
    /// Of pods in this namespace
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Of this pod, NAME or NAMESPACE/NAME; without Kubernetes, of this workload
    #[arg(long, value_name = "NAME")]
    pub(crate) pod: Option<String>,
}

/// Which flow events are wanted: all that are named must fit.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Of which workloads.
    #[command(flatten)]
    pub(crate) place: Place,
    /// With this header found or inserted (repeatable: or this one)
    #[arg(long, value_name = "NAME")]
    pub(crate) header: Vec<String>,
    /// With this verdict (repeatable)
    #[arg(long, value_name = "VERDICT", value_parser = PossibleValuesParser::new(Verdict::ALL.map(Verdict::name)))]
    pub(crate) verdict: Vec<String>,
    /// With this reason (repeatable)
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.name())), hide_possible_values = true)]
    pub(crate) reason: Vec<String>,
    /// With a path that begins so
    #[arg(long, value_name = "PREFIX")]
    pub(crate) path: Option<String>,
}

/// `baton watch`
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Where they come from.
    #[command(flatten)]
    pub(crate) from: From,
    /// Which are shown.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Show values in full, not only their beginnings
    #[arg(long)]
    pub(crate) show_values: bool,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// A full-screen view: workloads, their losses, and their last requests
    #[arg(long, conflicts_with = "json")]
    pub(crate) top: bool,
}

/// `baton record`
#[derive(Args, Debug)]
pub(crate) struct Record {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// For how long: 60s, 5m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) duration: Duration,
    /// The file to write, one JSON object per line; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Keep values in full, not only their beginnings
    #[arg(long)]
    pub(crate) show_values: bool,
}

/// `baton explain`
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// Where flow events come from.
    #[command(flatten)]
    pub(crate) from: From,
    /// A request that carries this header
    #[arg(long, value_name = "NAME")]
    pub(crate) header: Option<String>,
    /// With this value
    #[arg(long, value_name = "VALUE")]
    pub(crate) value: Option<String>,
    /// With a path that begins so
    #[arg(long, value_name = "PREFIX")]
    pub(crate) path: Option<String>,
    /// To which workloads.
    #[command(flatten)]
    pub(crate) place: Place,
    /// How long to wait for it: 60s, 5m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) duration: Duration,
    /// Show values in full, not only their beginnings
    #[arg(long)]
    pub(crate) show_values: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `baton discover`
#[derive(Args, Debug)]
pub(crate) struct Discover {
    /// Where flow events come from.
    #[command(flatten)]
    pub(crate) from: From,
    /// Observe this cgroup v2 directory, without a running daemon (repeatable); nothing is inserted
    #[arg(long = "cgroup", value_name = "DIR", conflicts_with_all = ["from", "socket"])]
    pub(crate) cgroups: Vec<PathBuf>,
    /// With --cgroup: header names to look for besides the usual ones, separated by commas; NAME* is a prefix
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "cgroups")]
    pub(crate) headers: Vec<String>,
    /// In which workloads.
    #[command(flatten)]
    pub(crate) place: Place,
    /// For how long: 60s, 5m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) duration: Duration,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time that people write.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| "write it as 60s, 5m or 1h 30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "it lies in the past".to_owned())
}

/// `baton doctor`
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Say what this process runs, what its requests are told apart by, and what is attached to it for that
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// What shall see the applications' reads [default: the first that this kernel has]
    #[arg(long, value_enum, value_name = "KIND", env = "BATON_HOOK", hide_env_values = true)]
    pub(crate) hook: Option<ReadHook>,
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
    let is_said = |line: &&str| !line.is_empty() && !line.starts_with("For more information");
    let words: Vec<&str> = lines.filter(is_said).collect();
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
    fn times_are_written_as_people_do() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!([seconds("60s"), seconds("5m"), seconds("1h 30m")], [Ok(60), Ok(300), Ok(5400)]);
        assert!(seconds("60").is_err() && seconds("-5s").is_err() && seconds("soon").is_err());
    }

    #[test]
    fn errors_are_one_line() {
        let error = Cli::try_parse_from(["baton", "exec", "--nonsense"]).expect_err("not an option");
        let line = one_line(&error);
        assert!(!line.contains('\n') && line.contains("--nonsense"), "{line}");
        let error = Cli::try_parse_from(["baton", "run", "--egress", "nonsense"]).expect_err("no address");
        assert!(one_line(&error).ends_with("fd00::/8; see `baton --help`"), "{}", one_line(&error));
    }
}
