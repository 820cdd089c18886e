//! Where spans go.

use axum::http::header::{HeaderName, HeaderValue};
use axum::http::uri::{PathAndQuery, Uri};

/// Where OTLP/HTTP takes spans, if the URL has no path (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

/// Header fields to send along, `NAME=VALUE,…` (OpenTelemetry's environment variables, "OTLP Exporter").
const FIELDS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// A collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(super) Uri);

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no URL such as http://127.0.0.1:4318");
        let mut parts = text.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        if !matches!(parts.scheme.as_ref().map(|scheme| scheme.as_str()), Some("http" | "https")) {
            return Err(wrong());
        }
        if parts.authority.as_ref().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("a URL with a password would be seen by all: set ${FIELDS} instead"));
        }
        if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
            parts.path_and_query = Some(PathAndQuery::from_static(PATH));
        }
        Uri::from_parts(parts).map(Self).map_err(|_| wrong())
    }
}

/// The header fields of the environment, which may be secrets.
///
/// # Errors
/// If they are not understood; what they say is not told.
pub(super) fn fields() -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let Ok(text) = std::env::var(FIELDS) else { return Ok(Vec::new()) };
    parse(&text).ok_or_else(|| anyhow::anyhow!("cannot use ${FIELDS}: write it as NAME=VALUE,NAME=VALUE"))
}

fn parse(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let field = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    pairs.map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_added_where_there_is_none() {
        let url = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.0.to_string());
        assert_eq!(url("http://127.0.0.1:4318"), Ok("http://127.0.0.1:4318/v1/traces".to_owned()));
        assert_eq!(url("https://traces.example/"), Ok("https://traces.example/v1/traces".to_owned()));
        assert_eq!(url("http://a:1/otlp/v1/traces"), Ok("http://a:1/otlp/v1/traces".to_owned()));
        for wrong in ["", "127.0.0.1:4318", "grpc://a:4317", "/v1/traces", "http://", "http://me:secret@a:1"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_understood_or_refused() {
        assert_eq!(parse("api-key=a=b, x-other = c").map(|fields| fields.len()), Some(2));
        assert_eq!(parse("").map(|fields| fields.len()), Some(0));
        assert_eq!(parse("api-key"), None);
        assert_eq!(parse("bad name=1"), None);
    }
}
