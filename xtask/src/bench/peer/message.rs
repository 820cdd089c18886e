//! As much of HTTP/1.1 as the benchmark's own programs speak to each other.

/// Where the head ends: the length of everything up to and including the blank line.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|four| four == END).map(|at| at + END.len())
}

/// The length of the whole message at the start of `bytes`, once its head is complete.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let head = head_length(bytes)?;
    let body = header(&bytes[..head], "content-length")
        .and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
    Some(head + body.unwrap_or(0))
}

/// The value of a header, its name in any case.
pub(super) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    lines
        .filter(|line| line.len() > name.len() && line[name.len()] == b':')
        .find(|line| line[..name.len()].eq_ignore_ascii_case(name.as_bytes()))
        .map(|line| line[name.len() + 1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-LENGTH:  3\r\n\r\nabc";

    #[test]
    fn a_message_is_its_head_and_its_content_length() {
        assert_eq!(length(RESPONSE), Some(RESPONSE.len()));
        assert_eq!(length(&RESPONSE[..30]), None);
    }

    #[test]
    fn a_head_ends_at_the_first_blank_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\nx\r\n\r\n"), Some(18));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn headers_are_found_by_name() {
        assert_eq!(header(RESPONSE, "server"), Some(&b"x"[..]));
        assert_eq!(header(RESPONSE, "serve"), None);
    }
}
