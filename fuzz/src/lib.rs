//! The agent's parsers, as fuzz targets reach them. The agent is a program, and has nothing that others could use: its
//! files are part of this library, too, beside stand-ins for what they name of the rest.

#![allow(dead_code, unused_imports, reason = "of each file, some is for the agent only")]

#[path = "../../agent/src/config/mod.rs"]
mod config;
#[path = "../../agent/src/failure.rs"]
mod failure;

/// What files name of the agent's `datapath`.
mod datapath {
    pub(crate) mod layout {
        pub(crate) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
    }

    pub(crate) mod uprobe {
        use std::num::NonZeroU32;
        use std::path::Path;

        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Place<'a> {
            pub(crate) path: &'a Path,
            pub(crate) offset: u64,
            pub(crate) cookie: Option<u64>,
            pub(crate) process: Option<NonZeroU32>,
        }
    }
}

mod observe;
mod runtime;

/// Whether `name` can be configured: a header name in lower case (RFC 9110 §5.6.2), or a prefix.
pub fn is_name(name: &str) -> bool {
    let text = name.strip_suffix('*').unwrap_or(name);
    let is_legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_legal)
}

/// A configuration file's text: what is accepted can be used.
pub fn configuration(text: &str) {
    let Ok(config) = config::Config::parse(text) else { return };
    let headers = config::headers::Headers::resolve(&config.headers, &config.presets).expect("checked");
    headers.table().expect("checked");
    for name in headers.of_bits(u64::MAX) {
        assert_eq!(config::presets::forbidden(name), None, "{name} was accepted");
    }
}

/// A line of flow events, from a file or from the control socket: what is read is written and read again as it was.
pub fn record(line: &str) {
    use observe::flow::{Record, harmless};
    assert!(harmless(line).chars().all(|shown| !shown.is_control()));
    let Ok(Record::Flow(event)) = Record::parse(line) else { return };
    let written = event.json(true).expect("plain data");
    assert_eq!(Record::parse(&written).expect("it was written here"), Record::Flow(event.clone()));
    let _ = (event.fields(false, ": "), event.fields(true, ": "));
    let hidden = event.json(false).expect("plain data");
    let Ok(Record::Flow(hidden)) = Record::parse(&hidden) else { panic!("{hidden}") };
    for (name, value) in &event.values {
        let shown = &hidden.values[name];
        assert!(
            shown == value || shown.chars().count() <= value.chars().count().min(4) + 26,
            "{value} is shown as {shown}"
        );
    }
}

/// An executable file or library of a workload.
pub fn symbols(data: &[u8]) {
    runtime::examine(data);
}
