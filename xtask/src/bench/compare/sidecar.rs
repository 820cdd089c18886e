//! Proxies before a program and before its backend, as sidecars of a service mesh have them. None of them can know which
//! request belongs to which: they are here for what their hops cost.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bench::programs::Tools;

/// A proxy's two ways: from the first port of each to the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    pub(super) inbound: [u16; 2],
    pub(super) outbound: [u16; 2],
}

impl Ways {
    fn all(self) -> [(&'static str, [u16; 2]); 2] {
        [("inbound", self.inbound), ("outbound", self.outbound)]
    }

    /// Writes a proxy's configuration, into a file of its own.
    fn write(self, tools: &Tools<'_>, name: &str, text: &str) -> Result<std::path::PathBuf> {
        let file = tools.scratch.join(&format!("{}-{name}", self.inbound[0]));
        fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        Ok(file)
    }
}

/// HAProxy, with as many threads as there are processors.
pub(super) fn haproxy(tools: &Tools<'_>, ways: Ways) -> Result<Command> {
    let mut text = "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n".to_owned();
    for (name, [from, to]) in ways.all() {
        text.push_str(&format!("listen {name}\n bind 127.0.0.1:{from}\n server to 127.0.0.1:{to}\n"));
    }
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]).arg(ways.write(tools, "haproxy.cfg", &text)?);
    Ok(command)
}

/// Envoy, with as many threads as there are processors, and its router alone.
pub(super) fn envoy(tools: &Tools<'_>, ways: Ways) -> Result<Command> {
    let address =
        |port: u16| json!({ "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } } });
    let typed = |name: &str, kind: &str, mut settings: Value| {
        settings["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.{kind}"));
        json!({ "name": name, "typed_config": settings })
    };
    let router = || typed("envoy.filters.http.router", "http.router.v3.Router", json!({}));
    let listener = |(name, [from, _]): (&str, [u16; 2])| {
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": name } });
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "network.http_connection_manager.v3.HttpConnectionManager",
            json!({
                "stat_prefix": name,
                "route_config": { "virtual_hosts": [{ "name": name, "domains": ["*"], "routes": [route] }] },
                "http_filters": [router()],
            }),
        );
        let mut listener = address(from);
        listener["filter_chains"] = json!([{ "filters": [manager] }]);
        listener
    };
    let cluster = |(name, [_, to]): (&str, [u16; 2])| {
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": address(to) }] }]);
        json!({
            "name": name,
            "type": "STATIC",
            "load_assignment": { "cluster_name": name, "endpoints": endpoints },
        })
    };
    let settings = json!({
        "static_resources": { "listeners": ways.all().map(listener), "clusters": ways.all().map(cluster) },
    });
    let mut command = Command::new(tools.python.join("bin/envoy"));
    command.args(["--disable-hot-restart", "--log-level", "error", "--config-path"]);
    command.arg(ways.write(tools, "envoy.json", &settings.to_string())?);
    Ok(command)
}
