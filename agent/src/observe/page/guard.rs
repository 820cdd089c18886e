//! Who may ask for the page, and what browsers may do with it.
//!
//! Nobody is asked for a password: whoever reaches the address may read. A page of somebody else, in the browser of one
//! who does, may not: its requests name another host (DNS rebinding) or say that they come from another site.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::listen::Local;

/// What every response says. Nothing but the page's own files is loaded, nothing is sent anywhere, and no other page
/// shows it in a frame.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The names that the page is known by.
#[derive(Debug)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// `names`, besides localhost and addresses.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| plain(name)).collect())
    }

    /// Whether a request for `authority` that arrived at the address `local` is meant for this page.
    fn has(&self, authority: &str, local: Option<IpAddr>) -> bool {
        let Ok(parsed) = authority.parse::<Authority>() else { return false };
        if authority.contains('@') {
            return false;
        }
        let host = plain(parsed.host());
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        match address.map(|address| address.to_canonical()) {
            Some(address) => address.is_loopback() || local.map(|local| local.to_canonical()) == Some(address),
            None => host == "localhost" || self.0.contains(&host),
        }
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A name that browsers may use, as it is given on the command line.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let is_name = text.parse::<Authority>().is_ok_and(|parsed| parsed.host() == text);
    if is_name { Ok(plain(text)) } else { Err("write a name without a port: baton.example.org".to_owned()) }
}

/// Lets requests through that may be answered, and adds to all responses what every one says.
pub(super) async fn check(
    State(hosts): State<Arc<Hosts>>,
    ConnectInfo(Local(local)): ConnectInfo<Local>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&hosts, local, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(hosts: &Hosts, local: Option<IpAddr>, request: &Request) -> Option<(StatusCode, &'static str)> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (host, second) = (named.next().and_then(|host| host.to_str().ok()), named.next());
    // A request for a proxy names the host twice.
    let authorities = [host, request.uri().authority().map(Authority::as_str)];
    if host.is_none()
        || second.is_some()
        || !authorities.into_iter().flatten().all(|authority| hosts.has(authority, local))
    {
        return Some((
            StatusCode::MISDIRECTED_REQUEST,
            "baton does not know this name of the page. Ask for localhost, or start the daemon with --listen-host NAME.\n",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "The page can be read, and nothing else.\n"));
    }
    // Links from other sites may lead to the page itself.
    (request.uri().path() != "/" && is_of_another_site(request.headers()))
        .then_some((StatusCode::FORBIDDEN, "This is not for pages of other sites.\n"))
}

/// Whether a page of another site asks, as browsers say it (Fetch Metadata).
fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_page_are_known() {
        let hosts = Hosts::new(&["Baton.example.org".to_owned()]);
        let has = |authority| hosts.has(authority, Some([192, 0, 2, 1].into()));
        for known in [
            "localhost",
            "localhost:9641",
            "LOCALHOST.:8080",
            "127.0.0.1:9641",
            "127.8.9.1",
            "[::1]:9641",
            "[::ffff:127.0.0.1]",
            "192.0.2.1:80",
            "[::ffff:192.0.2.1]:80",
            "baton.example.org:9641",
            "BATON.example.ORG.",
        ] {
            assert!(has(known), "{known}");
        }
        for unknown in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "192.0.2.2",
            "10.0.0.1:9641",
            "[::2]",
            "x.baton.example.org",
            "evil@localhost",
            "localhost@evil",
            "localhost evil",
        ] {
            assert!(!has(unknown), "{unknown}");
        }
    }

    fn ask(change: impl FnOnce(&mut Request)) -> Option<u16> {
        let mut request = Request::builder().uri("/events").header("host", "localhost").body(Default::default());
        let request = request.as_mut().expect("a request");
        change(request);
        refusal(&Hosts::new(&[]), None, request).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn requests_are_judged() {
        assert_eq!(ask(|_| {}), None);
        assert_eq!(ask(|request| *request.method_mut() = Method::HEAD), None);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(ask(|request| *request.method_mut() = method), Some(405));
        }
        assert_eq!(ask(|request| drop(request.headers_mut().remove("host"))), Some(421));
        let evil = HeaderValue::from_static("evil");
        assert_eq!(ask(|request| assert!(request.headers_mut().append("host", evil))), Some(421));
        assert_eq!(ask(|request| *request.uri_mut() = "http://evil/events".parse().expect("a URI")), Some(421));
    }

    #[test]
    fn other_sites_may_link_to_it_and_no_more() {
        let from = |site: &'static str, path: &str| {
            ask(|request| {
                request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static(site));
                *request.uri_mut() = path.parse().expect("a URI");
            })
        };
        for site in ["same-origin", "none"] {
            assert_eq!((from(site, "/"), from(site, "/events")), (None, None));
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!((from(site, "/"), from(site, "/events")), (None, Some(403)));
        }
    }

    #[test]
    fn hosts_are_named_without_ports() {
        assert_eq!(host("Baton.example.org"), Ok("baton.example.org".to_owned()));
        for text in ["", "a:80", "http://a", "a/b", "a b", "a@b"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
