//! `baton watch`: the running daemon's flow events.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::cli::Watch;
use crate::failure::Failure;

/// Shows flow events until the daemon ends or nobody reads them.
pub(crate) fn run(watch: &Watch) -> anyhow::Result<()> {
    let stream =
        UnixStream::connect(&watch.socket).map_err(|error| Failure::NoDaemon { path: watch.socket.clone(), error })?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let shown = if watch.json { line } else { describe(&line) };
        if !super::print(&shown) {
            return Ok(());
        }
    }
    super::say("the daemon ended");
    Ok(())
}

/// A flow event in one line for people.
fn describe(line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    if text("kind") == "missed" {
        return format!("… {} events missed: they came faster than they were read", event["count"]);
    }
    if text("kind") == "notice" {
        let time = text("time").get(11..23).unwrap_or_default().to_owned();
        return format!("{time}  {} {}: {}", text("object"), text("workload"), text("message"));
    }
    let names: Vec<&str> = event["headers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let inbound = text("kind") == "inbound";
    let what = match (text("verdict").as_str(), text("reason")) {
        ("", reason) if reason.is_empty() => String::new(),
        ("", reason) => format!("({reason})"),
        ("lost", reason) => format!("lost: {reason}"),
        (verdict, _) => verdict.to_owned(),
    };
    let fields = [
        text("time").get(11..23).unwrap_or_default().to_owned(),
        if inbound { "in ".to_owned() } else { "out".to_owned() },
        text("workload"),
        format!("{}[{}]", text("comm"), event["tid"]),
        format!("{} {}", text("method"), text("path")),
        format!("{} {}", if inbound { "from" } else { "to" }, text("peer")),
        what,
        names.join(","),
        event["context"].as_str().map(|id| format!("#{}", id.trim_start_matches('0'))).unwrap_or_default(),
    ];
    fields.into_iter().filter(|field| !field.trim().is_empty()).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_one_line() {
        let line = r#"{"time":"2026-01-02T03:04:05.678901Z","kind":"outbound","workload":"shop","comm":"python3","tid":7,
            "method":"GET","path":"/a","peer":"127.0.0.1:80","headers":[],"verdict":"lost","reason":"ambiguous","context":"00ab"}"#;
        assert_eq!(
            describe(line),
            "03:04:05.678  out  shop  python3[7]  GET /a  to 127.0.0.1:80  lost: ambiguous  #ab"
        );
    }
}
