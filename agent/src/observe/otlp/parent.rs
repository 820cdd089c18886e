//! `traceparent` (W3C Trace Context, §3.2).

/// The trace that a request belongs to, and the span that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
}

impl Parent {
    /// What `value` names; `None` if it is not understood, or says that nobody records this trace.
    pub(super) fn sampled(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let (trace, span) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let flags: [u8; 1] = hex(parts.next()?)?;
        // Later versions may have more (§3.2.4), and 255 is none.
        let is_known = version != [255] && (version != [0] || parts.next().is_none());
        let is_sampled = flags[0] & 1 != 0;
        (is_known && is_sampled && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span })
    }
}

/// `N` bytes in lower-case hexadecimal.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampled_trace_is_understood() {
        let parent =
            Parent::sampled("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("W3C's own example");
        assert_eq!(
            (parent.trace[0], parent.trace[15], parent.span),
            (0x4b, 0x36, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7])
        );
        assert!(Parent::sampled("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-later").is_some());
    }

    #[test]
    fn all_else_is_left_alone() {
        for value in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Parent::sampled(value), None, "{value}");
        }
    }
}
