//! The beginning of a response.

/// Bytes that [`of`] looks at.
pub const LEN: usize = 16;

/// The status of the response that begins with these bytes (RFC 9112 §4); `None` if they are no HTTP/1 status line.
#[inline(always)]
#[must_use]
pub const fn of(bytes: &[u8; LEN]) -> Option<u16> {
    let is_http1 = bytes[0] == b'H'
        && bytes[1] == b'T'
        && bytes[2] == b'T'
        && bytes[3] == b'P'
        && bytes[4] == b'/'
        && bytes[5] == b'1'
        && bytes[6] == b'.'
        && bytes[7].is_ascii_digit()
        && bytes[8] == b' ';
    let (hundreds, tens, ones) = (bytes[9], bytes[10], bytes[11]);
    if !is_http1 || !hundreds.is_ascii_digit() || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    Some((hundreds - b'0') as u16 * 100 + (tens - b'0') as u16 * 10 + (ones - b'0') as u16)
}

/// Whether another response to the same request follows (RFC 9110 §15.2). After 101 comes another protocol.
#[inline(always)]
#[must_use]
pub const fn is_interim(status: u16) -> bool {
    status < 200 && status != 101
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(line: &str) -> Option<u16> {
        let mut bytes = [0; LEN];
        let len = line.len().min(LEN);
        bytes[..len].copy_from_slice(&line.as_bytes()[..len]);
        of(&bytes)
    }

    #[test]
    fn status_lines_are_recognised() {
        assert_eq!(status("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status("HTTP/1.0 404\r\n"), Some(404));
        for other in ["", "HTTP/2 200", "HTTP/1.1 2x0", "HTTP/1.1  200", "+OK", "http/1.1 200"] {
            assert_eq!(status(other), None, "{other}");
        }
    }

    #[test]
    fn interim_responses_are_told_apart() {
        assert_eq!([100, 101, 103, 200].map(is_interim), [true, false, true, false]);
    }
}
