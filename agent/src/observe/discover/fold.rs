//! Requests that differ in what they are about, and not in what they do, count as one.

/// Most segments of a path that are told apart.
const SEGMENTS: usize = 3;

/// Segments that are longer than this are taken for values.
const LONGEST: usize = 24;

/// `path` with `*` for what looks like a value, and `…` for what is deep below.
pub(super) fn fold(path: &str) -> String {
    let mut segments = path.trim_start_matches('/').split('/');
    let first: Vec<&str> =
        segments.by_ref().take(SEGMENTS).map(|text| if is_value(text) { "*" } else { text }).collect();
    let rest = if segments.next().is_some() { "/…" } else { "" };
    format!("/{}{rest}", first.join("/"))
}

/// Whether a segment names one of many things: it has a digit, and is no version.
fn is_value(segment: &str) -> bool {
    let is_version = segment.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    segment.len() > LONGEST || segment.bytes().any(|byte| byte.is_ascii_digit()) && !is_version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_folded() {
        for (path, folded) in [
            ("/", "/"),
            ("", "/"),
            ("/stock", "/stock"),
            ("/stock/7", "/stock/*"),
            ("/api/v1/users", "/api/v1/users"),
            ("/api/v1/users/123/orders", "/api/v1/users/…"),
            ("/users/8f14e45f-ceea-467f/cart", "/users/*/cart"),
            ("/files/averyveryverylongnamewithoutdigits", "/files/*"),
            ("*", "/*"),
        ] {
            assert_eq!(fold(path), folded, "{path}");
        }
    }
}
