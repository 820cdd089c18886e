//! Header presets and groups. Names are in lower case; a `*` ends a prefix.

/// Headers that go together or not at all.
pub(crate) const GROUPS: [&[&str]; 3] = [TRACE_CONTEXT, B3, DATADOG];

const TRACE_CONTEXT: &[&str] = &["traceparent", "tracestate"];
const B3: &[&str] = &["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
const DATADOG: &[&str] =
    &["x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-origin", "x-datadog-tags"];

/// All presets, by name.
pub(crate) const PRESETS: [(&str, &[&str]); 18] = [
    ("telepresence", &["x-telepresence-id", "x-telepresence-intercept-id", "x-telepresence-caller-intercept-id"]),
    (
        "signadot",
        &[
            "baggage",
            "tracestate",
            "ot-baggage-sd-routing-key",
            "ot-baggage-sd-sandbox",
            "uberctx-sd-routing-key",
            "uberctx-sd-sandbox",
            "sd-workspace",
            "sd-request-id",
        ],
    ),
    ("okteto", &["baggage"]),
    ("mirrord", &["baggage"]),
    ("bridge", &["kubernetes-route-as", "azds-route-as"]),
    ("w3c", &["traceparent", "tracestate", "baggage"]),
    ("b3", B3),
    ("datadog", DATADOG),
    ("aws", &["x-amzn-trace-id"]),
    ("gcp", &["x-cloud-trace-context", "grpc-trace-bin"]),
    ("jaeger", &["uber-trace-id", "uberctx-*"]),
    ("ot", &["x-ot-span-context", "ot-tracer-*", "ot-baggage-*"]),
    ("sentry", &["sentry-trace", "baggage"]),
    ("elastic", &["elastic-apm-traceparent"]),
    ("newrelic", &["newrelic"]),
    ("skywalking", &["sw8", "sw8-x", "sw8-correlation"]),
    (
        "correlation",
        &[
            "x-request-id",
            "x-correlation-id",
            "x-tenant-id",
            "x-user-id",
            "x-session-id",
            "x-origin-service",
            "x-request-timestamp",
        ],
    ),
    ("default", DEFAULT),
];

/// What is carried where nothing is configured.
pub(crate) const DEFAULT: &[&str] = &[
    "x-telepresence-id",
    "x-telepresence-intercept-id",
    "x-telepresence-caller-intercept-id",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
    "x-correlation-id",
];

/// Names that are never carried: they frame a message, belong to one
/// connection (RFC 9110 §7.6.1), or hold credentials.
const FORBIDDEN: [&str; 15] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "cookie",
    "cookie2",
    "set-cookie",
    "authorization",
    "authentication-info",
    "www-authenticate",
    "http2-settings",
];

/// Beginnings of names that are never carried.
const FORBIDDEN_PREFIXES: [&str; 2] = ["content-", "proxy-"];

/// Why `name` (in lower case, perhaps with a final `*`) may not be carried.
pub(crate) fn forbidden(name: &str) -> Option<String> {
    let (text, is_prefix) = name.strip_suffix('*').map_or((name, false), |text| (text, true));
    let covers = |other: &str| if is_prefix { other.starts_with(text) } else { other == text };
    if let Some(found) = FORBIDDEN.iter().find(|other| covers(other)) {
        return Some(format!(
            "it would carry `{found}`, which frames messages, belongs to one connection or holds credentials"
        ));
    }
    FORBIDDEN_PREFIXES
        .iter()
        .find(|prefix| text.starts_with(**prefix) || is_prefix && prefix.starts_with(text))
        .map(|prefix| format!("names that begin with `{prefix}` are never carried"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_preset_is_forbidden() {
        for name in PRESETS.iter().flat_map(|(_, names)| *names) {
            assert_eq!(forbidden(name), None, "{name}");
        }
    }

    #[test]
    fn credentials_and_framing_are_forbidden() {
        for name in
            ["host", "content-length", "content-*", "c*", "cookie", "proxy-authorization", "auth*", "transfer-encoding"]
        {
            assert!(forbidden(name).is_some(), "{name}");
        }
    }
}
