//! Limits that users meet. Each is documented in `docs/DESIGN.md`.

/// Configured header names and prefixes; one bit of a `u64` each.
pub const MAX_NAMES: usize = 64;

/// Longest configured header name, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// Longest request or response head that is followed, in bytes.
pub const MAX_HEAD: u32 = 16 * 1024;

/// Most bytes of header lines that one context keeps, line ends included.
///
/// Below the 8192 bytes of `baggage` that W3C Baggage §3.3.2 asks a platform to
/// carry: a longer line is dropped whole and counted.
pub const MAX_LINES: usize = 4096;

/// Most header lines that one context keeps.
pub const MAX_LINE_COUNT: usize = 32;

/// Bytes of a request target that flow events keep.
pub const MAX_PATH: usize = 64;
