//! Samples of what the machine's processors do while a program is under load.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Profile;
use super::step::USER_SPACE;
use crate::bench::case::{Bench, Stage};
use crate::bench::peer::Measured;
use crate::process;

/// Samples a second on each processor.
const FREQUENCY: f64 = 4999.0;

/// What a processor does that has nothing to do.
const IDLE: &str = "swapper";

/// Microseconds in each function, by request.
pub(super) fn sample(bench: &Bench<'_>, stage: &mut Stage, seconds: f64) -> Result<Profile> {
    let data = bench.tools.scratch.join("perf.data");
    let mut command = Command::new("perf");
    // By the clock: virtual machines have no counters of cycles as a rule.
    command.args(["record", "--quiet", "--event", "cpu-clock", "--freq", &FREQUENCY.to_string(), "--all-cpus"]);
    command.arg("--output").arg(&data).arg("--");
    command.arg(&bench.tools.peer).args(["bench-peer", "load", "--connections", crate::bench::CONNECTIONS]);
    command.args(["--target", &format!("127.0.0.1:{}", stage.port), "--warm-up-seconds", "0"]);
    command.args(["--seconds", &seconds.to_string(), "--observe"]).arg(stage.cgroup.path());
    let printed = process::read(&mut bench.cgroup.wrap(&command))?;
    for service in &mut stage.services {
        service.check_alive()?;
    }
    let measured: Measured = serde_json::from_str(&printed).context("the load generator printed no measurement")?;
    let mut command = Command::new("perf");
    command.args(["report", "--quiet", "--stdio", "--fields", "sample,comm,sym", "--input"]).arg(&data);
    let report = process::read(&mut command)?;
    let mut profile = Profile::new();
    for (samples, function) in report.lines().filter_map(parse) {
        *profile.entry(function).or_default() += samples / FREQUENCY * 1e6 / measured.requests as f64;
    }
    ensure!(!profile.is_empty(), "perf took no samples");
    Ok(profile)
}

/// A line's number of samples, and its function; none for other lines, and where a processor had nothing to do.
fn parse(line: &str) -> Option<(f64, String)> {
    let (samples, rest) = line.trim().split_once(char::is_whitespace)?;
    let (command, function) = rest.split_once('[')?;
    let (place, function) = function.split_once("] ")?;
    if command.trim() == IDLE {
        return None;
    }
    let name = plain(function.trim());
    // [k] in the kernel, [.] elsewhere. A program may have functions of the same names.
    Some((samples.parse().ok()?, if place == "k" { name.to_owned() } else { format!("{name}{USER_SPACE}") }))
}

/// Without the hash that is in the name of a BPF program's function.
fn plain(function: &str) -> &str {
    match function.strip_prefix("bpf_prog_").and_then(|rest| rest.split_once('_')) {
        Some((hash, name)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_are_taken_apart() {
        let line = "       123  xtask            [k] bpf_prog_a5de221a387a754d_scan_step";
        assert_eq!(parse(line), Some((123.0, "scan_step".to_owned())));
        assert_eq!(parse("  7  tokio-runtime  [.] insert"), Some((7.0, "insert (user space)".to_owned())));
        assert_eq!(parse("  9  swapper  [k] pv_native_safe_halt"), None);
        assert_eq!(parse("# Samples: 5K of event"), None);
        assert_eq!(parse(""), None);
    }
}
