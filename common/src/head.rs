//! What single lines of an HTTP/1 head mean (RFC 9112 §3 to §7, RFC 9110 §5).

use crate::limits::MAX_PATH;
use crate::names::{NAME_WORDS, Name};
use crate::scan::{Scan, Window};
use crate::verifier::hide;
use crate::words::{equal_mask, first, first_equal, first_marked, keep_first, literal, lower, range_mask};

/// The stream carries requests (else responses). Set once per stream.
pub const IN_REQUEST: u32 = 1;
/// `transfer-encoding` ends with `chunked`.
pub const CHUNKED: u32 = 1 << 1;
/// `transfer-encoding` ends with something else.
pub const OTHER_CODING: u32 = 1 << 2;
/// `content-length` was there; `Scan::body` holds it.
pub const HAS_LENGTH: u32 = 1 << 3;
/// `upgrade` was there.
pub const UPGRADE: u32 = 1 << 4;
/// The last header line was a wanted one; a folded line would continue it.
pub const HEADER_CONTINUES: u32 = 1 << 5;
/// The last header line was one that frames the body.
pub const FRAMING_LINE: u32 = 1 << 6;
/// A piece of a value, or of a line of no interest, ended with a carriage return.
pub const CR_HELD: u32 = 1 << 7;
/// The value under way has a visible character.
pub const HAS_TEXT: u32 = 1 << 8;
/// The head's last line feed has not been seen yet.
pub const LF_PENDING: u32 = 1 << 9;
/// A line ended with a line feed alone.
pub const BARE_LINE_FEED: u32 = 1 << 10;
/// What a header line sets for those that may continue it; the next line clears it.
pub(crate) const OF_LINE: u32 = HEADER_CONTINUES | FRAMING_LINE | CR_HELD;

/// Words of [`Scan::path`].
const PATH_WORDS: usize = MAX_PATH / 8;

/// Longest method that is recognised.
const MAX_METHOD: u32 = 24;

/// The usual method, and the space behind it.
const GET: u32 = literal("GET ") as u32;
/// `HTTP/1.` with the space before it.
const VERSION: u64 = literal(" HTTP/1.");
/// How a status line begins.
const STATUS: u64 = literal("HTTP/1.");

/// Length of the method that begins at `start`, its space not included.
///
/// `None` if no method can begin so; `Some(0)` if `len` bytes are too few to tell.
#[inline(always)]
fn method(window: &Window, start: u32, len: u32) -> Option<u32> {
    // What most requests begin with.
    if len > 3 && window.at(start) as u32 == GET {
        return Some(3);
    }
    for word in 0..MAX_METHOD / 8 {
        let at = word * 8;
        if at >= len {
            return Some(0);
        }
        let bytes = window.at(start.wrapping_add(at));
        let count = first(equal_mask(bytes, b' ')).min(len - at);
        let letters = range_mask(bytes, b'A', b'Z') | equal_mask(bytes, b'-') | equal_mask(bytes, b'_');
        if keep_first(!letters & 0x8080_8080_8080_8080, count) != 0 {
            return None;
        }
        if at + count >= len {
            return Some(0);
        }
        if count < 8 {
            return if at + count == 0 { None } else { Some(at + count) };
        }
    }
    None
}

/// Whether a message of this stream may begin with the `len` bytes at `start`.
#[inline(always)]
pub(crate) fn may_begin(scan: &Scan, window: &Window, start: u32, len: u32) -> bool {
    // Empty lines may come first (RFC 9112 §2.2); their line feed follows.
    if len == 1 && window.byte(start) == b'\r' {
        return true;
    }
    if scan.flags & IN_REQUEST != 0 {
        return match method(window, start, len) {
            None => false,
            Some(0) => true,
            // One space, then the target.
            Some(method) => method + 1 >= len || window.byte(start.wrapping_add(method).wrapping_add(1)) != b' ',
        };
    }
    let count = len.min(7);
    keep_first(window.at(start), count) == keep_first(STATUS, count)
}

/// Notes what the first `len` bytes of a first line say: method and path, or status.
#[inline(always)]
pub(crate) fn begin_first_line(scan: &mut Scan, window: &Window, start: u32, len: u32) {
    if scan.flags & IN_REQUEST == 0 {
        note_status(scan, window, start);
        return;
    }
    let Some(method_len) = method(window, start, MAX_METHOD) else {
        return;
    };
    // The last bytes may be of the version, with its space and a carriage return.
    note_target(scan, window, start, method_len, len.saturating_sub(method_len + 11));
}

/// Notes the method of the request line at `start`, and the target of `target_len` bytes behind it.
#[inline(always)]
fn note_target(scan: &mut Scan, window: &Window, start: u32, method_len: u32, target_len: u32) {
    scan.method = keep_first(window.at(start), method_len.min(8));
    let target = start.wrapping_add(method_len).wrapping_add(1);
    scan.path_len = target_len.min(MAX_PATH as u32);
    for word in 0..PATH_WORDS {
        if word as u32 * 8 >= scan.path_len {
            break;
        }
        scan.path[word] = window.at_after(target, word);
    }
}

/// Checks the complete first line that ends at `end`, and notes what it says.
///
/// In phase `FIRST_REST` its beginning was noted before and `start..end` is
/// its end.
#[inline(always)]
pub(crate) fn first_line(scan: &mut Scan, window: &Window, start: u32, end: u32) -> bool {
    let len = end.wrapping_sub(start);
    if scan.flags & IN_REQUEST == 0 {
        return status_line(scan, window, start, len);
    }
    if len < 9 || window.at(end.wrapping_sub(9)) != VERSION {
        return false;
    }
    if range_mask(u64::from(window.byte(end.wrapping_sub(1))), b'0', b'9') == 0 {
        return false;
    }
    if scan.phase == crate::scan::phase::FIRST_REST {
        return true;
    }
    let Some(method_len) = method(window, start, len) else {
        return false;
    };
    // At least one byte of target between the two spaces.
    let target = window.byte(start.wrapping_add(method_len).wrapping_add(1));
    if method_len == 0 || method_len + 10 >= len || target == b' ' {
        return false;
    }
    note_target(scan, window, start, method_len, len - method_len - 10);
    true
}

#[inline(always)]
fn status_line(scan: &mut Scan, window: &Window, start: u32, len: u32) -> bool {
    // In phase FIRST_REST the status has been noted with the beginning.
    if scan.phase == crate::scan::phase::FIRST_REST {
        return scan.status != 0;
    }
    len >= 12 && note_status(scan, window, start)
}

/// Reads the status of the status line at `start` (RFC 9112 §4).
#[inline(always)]
fn note_status(scan: &mut Scan, window: &Window, start: u32) -> bool {
    if keep_first(window.at(start), 7) != STATUS {
        return false;
    }
    let digits = window.at(start.wrapping_add(8));
    let all = range_mask(digits, b'0', b'9') & 0x8080_8000;
    if digits as u8 != b' ' || all != 0x8080_8000 {
        return false;
    }
    let digit = |index: u32| (digits >> (index * 8)) as u32 & 0xf;
    scan.status = digit(1) * 100 + digit(2) * 10 + digit(3);
    true
}

/// Reads the name of the header line `start..end` into `name`, in lower case.
/// Returns its length; 0 if no colon follows within the longest name.
#[inline(always)]
pub(crate) fn name(window: &Window, start: u32, end: u32, name: &mut Name) -> u32 {
    for word in name.iter_mut() {
        // Hidden, because LLVM makes a call of memset() of plain stores, which
        // is a loop over single bytes.
        *word = u64::from(hide(0));
    }
    for index in hide(0)..NAME_WORDS as u32 {
        let index = index as usize;
        let bytes = window.at_after(start, index);
        let colon = first_equal(bytes, b':');
        if colon == 0 {
            name[index] = lower(bytes);
            continue;
        }
        let count = first_marked(colon);
        name[index] = lower(keep_first(bytes, count));
        let len = index as u32 * 8 + count;
        return if len < end.wrapping_sub(start) { len } else { 0 };
    }
    0
}

/// Whether `name` has visible characters only. (RFC 9110 §5.6.2 allows fewer;
/// what matters here is that no whitespace hides in it.)
#[inline(always)]
pub(crate) fn is_token(name: &Name, len: u32) -> bool {
    for index in hide(0)..NAME_WORDS as u32 {
        let Some(left) = len.checked_sub(index * 8) else { break };
        let within = keep_first(0x8080_8080_8080_8080, left.min(8));
        if !range_mask(name[index as usize], b'!', b'~') & within != 0 {
            return false;
        }
    }
    true
}

/// Names of the headers that say how a message is framed or what follows it.
pub(crate) const FRAMING_NAMES: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"upgrade"];

/// The places of two of them; the third is that of `upgrade`.
const LENGTH: u32 = 0;
const CODING: u32 = 1;

const CONTENT_LENGTH: [u64; 2] = [literal("content-"), literal("length")];
const TRANSFER_ENCODING: [u64; 3] = [literal("transfer"), literal("-encodin"), literal("g")];

/// Whether the line at `start` may say how a response is framed. Says so too
/// often rather than too seldom.
#[inline(always)]
pub(crate) fn may_frame(window: &Window, start: u32) -> bool {
    let lower = 0x2020_2020_2020_2020;
    let (first, second) = (window.at(start) | lower, window.at(start.wrapping_add(8)) | lower);
    first == CONTENT_LENGTH[0] && second & 0xffff_ffff_ffff == CONTENT_LENGTH[1]
        || first == TRANSFER_ENCODING[0] && second == TRANSFER_ENCODING[1]
}

/// Notes the framing header with the value `start..end`; `name` is its place in
/// [`FRAMING_NAMES`]. Returns false if the value does not make sense.
#[inline(always)]
pub(crate) fn framing(scan: &mut Scan, window: &Window, name: u32, start: u32, end: u32) -> bool {
    match name {
        LENGTH => {
            let Some(length) = decimal(window, start, end) else {
                return false;
            };
            // RFC 9112 §6.3: differing values make the framing invalid.
            let agrees = scan.flags & HAS_LENGTH == 0 || scan.body == length;
            scan.flags |= HAS_LENGTH;
            scan.body = length;
            agrees
        }
        CODING => {
            let chunked = ends_with_chunked(window, start, end);
            scan.flags = scan.flags & !(CHUNKED | OTHER_CODING) | if chunked { CHUNKED } else { OTHER_CODING };
            true
        }
        _ => {
            scan.flags |= UPGRADE;
            true
        }
    }
}

/// The decimal number that is the value `start..end`, without whitespace around it.
#[inline(always)]
fn decimal(window: &Window, start: u32, end: u32) -> Option<u64> {
    let mut value = 0u64;
    // 0: before the digits, 1: within, 2: after.
    let mut part = 0;
    for offset in 0..40u32 {
        let at = start.wrapping_add(offset);
        if at >= end {
            return if part == 0 { None } else { Some(value) };
        }
        match window.byte(at) {
            digit @ b'0'..=b'9' if part < 2 && value < 1 << 56 => {
                value = value * 10 + u64::from(digit - b'0');
                part = 1;
            }
            b' ' | b'\t' => {
                if part == 1 {
                    part = 2;
                }
            }
            _ => return None,
        }
    }
    None
}

/// Whether the last transfer coding of the value `start..end` is `chunked`.
#[inline(always)]
fn ends_with_chunked(window: &Window, start: u32, end: u32) -> bool {
    let mut end = end;
    for _ in 0..8 {
        if end > start && matches!(window.byte(end.wrapping_sub(1)), b' ' | b'\t') {
            end = end.wrapping_sub(1);
        }
    }
    if end.wrapping_sub(start) < 7 || end < start {
        return false;
    }
    let last = lower(keep_first(window.at(end.wrapping_sub(7)), 7));
    let before = window.byte(end.wrapping_sub(8));
    last == literal("chunked") && (end.wrapping_sub(start) == 7 || matches!(before, b' ' | b'\t' | b','))
}

/// The size in the chunk-size line `start..end` (RFC 9112 §7.1).
#[inline(always)]
pub(crate) fn chunk_size(window: &Window, start: u32, end: u32) -> Option<u64> {
    let mut value = 0u64;
    let mut any = false;
    for offset in 0..16u32 {
        let at = start.wrapping_add(offset);
        if at >= end {
            return if any { Some(value) } else { None };
        }
        let digit = match window.byte(at) {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'a'..=b'f' => letter - b'a' + 10,
            letter @ b'A'..=b'F' => letter - b'A' + 10,
            // An extension, or whitespace before one.
            b';' | b' ' | b'\t' if any => return Some(value),
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
        any = true;
    }
    None
}

#[cfg(test)]
mod tests;
