//! The page's files, which are part of the program.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use baton_common::flow::Reason;
use serde_json::{Map, json};

use crate::observe::remedy;

/// Paths, types and contents.
const FILES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("assets/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/page.js", SCRIPT, include_str!("assets/page.js")),
    ("/map.js", SCRIPT, include_str!("assets/map.js")),
    ("/layout.js", SCRIPT, include_str!("assets/layout.js")),
    ("/lines.js", SCRIPT, include_str!("assets/lines.js")),
    ("/list.js", SCRIPT, include_str!("assets/list.js")),
    ("/losses.js", SCRIPT, include_str!("assets/losses.js")),
    ("/dom.js", SCRIPT, include_str!("assets/dom.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A route for each file, and for what reasons mean.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let files = FILES.iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(move || async move { typed(kind, *content) }))
    });
    files.route("/reasons.json", get(async || typed("application/json", reasons())))
}

fn typed(kind: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], content)
}

/// What each reason means, and what to do about it, by its name.
fn reasons() -> String {
    let explained = Reason::ALL.iter().filter_map(|reason| {
        let explained = remedy::of(reason.name())?;
        Some((reason.name().to_owned(), json!({"why": explained.why, "remedy": explained.remedy})))
    });
    serde_json::Value::Object(explained.collect::<Map<_, _>>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (path, _, content) in FILES {
            // The name of SVG elements is no address.
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("http:") && !content.contains("https:"), "{path}");
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "onclick="]
            {
                assert!(!content.contains(forbidden), "{path}: {forbidden}");
            }
        }
        assert!(reasons().contains("\"egress-denied\":{\"remedy\":"));
    }
}
