//! Limits that users meet. Each is documented in `docs/DESIGN.md`.

/// Configured header names and prefixes; one bit of a `u64` each.
pub const MAX_NAMES: usize = 64;

/// Longest configured header name, in bytes: with its colon, what a scanner's
/// step looks at.
pub const MAX_NAME_LEN: usize = 63;

/// Longest request or response head that is followed, in bytes.
pub const MAX_HEAD: u32 = 16 * 1024;

/// Most bytes of header lines that one context keeps, line ends included.
///
/// Below the 8192 bytes of `baggage` that W3C Baggage §3.3.2 asks a platform to
/// carry: a longer line is dropped whole and counted. It is 64 bytes less than
/// their memory, because a step writes 64 bytes, whatever it has to write.
pub const MAX_LINES: usize = 4096 - 64;

/// Most header lines that one context keeps.
pub const MAX_LINE_COUNT: usize = 32;

/// Bytes of a request target that flow events keep.
pub const MAX_PATH: usize = 64;
