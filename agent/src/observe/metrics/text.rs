//! The formats in which metrics are given: OpenMetrics 1.0, and Prometheus's older text for whoever does not ask for that.

use std::fmt::Write as _;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// <https://github.com/prometheus/OpenMetrics>, version 1.0.0
    OpenMetrics,
    /// Prometheus's text format, version 0.0.4
    Prometheus,
}

const OPENMETRICS: &str = "application/openmetrics-text";

impl Format {
    /// What somebody wants who sends this `Accept`.
    pub(crate) fn wanted(accept: &str) -> Self {
        let mut ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        if ranges.any(|range| range.eq_ignore_ascii_case(OPENMETRICS)) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its name in `Content-Type`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// `openmetrics` in this format.
    pub(super) fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Prometheus => prometheus(&openmetrics),
        }
    }
}

/// The samples are the same. The older format names families as their samples, knows no type `info`, no unit and no end.
fn prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), rest) => help = rest.unwrap_or_default(),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                // Writing to a String does not fail.
                let _ = write!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1", Format::OpenMetrics),
            ("text/plain;q=0.5, Application/OpenMetrics-Text; version=0.0.1;q=0.75", Format::OpenMetrics),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        let openmetrics = "# HELP a_seconds How long it took\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                           a_seconds_total{b=\"# TYPE x y\"} 0.5\n# HELP c What\n# TYPE c info\nc_info{d=\"e\"} 1\n\
                           # HELP f How many\n# TYPE f gauge\nf 2\n# EOF\n";
        let expected = "# HELP a_seconds_total How long it took\n# TYPE a_seconds_total counter\n\
                        a_seconds_total{b=\"# TYPE x y\"} 0.5\n# HELP c_info What\n# TYPE c_info gauge\nc_info{d=\"e\"} 1\n\
                        # HELP f How many\n# TYPE f gauge\nf 2\n";
        assert_eq!(prometheus(openmetrics), expected);
    }
}
