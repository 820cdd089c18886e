//! CGI variables (RFC 3875 §4.1): how FastCGI servers hand an HTTP request's
//! head to an application. `HTTP_X_REQUEST_ID` is the header `x-request-id`.

use crate::head::is_token;
use crate::limits::{MAX_LINES, MAX_NAME_LEN, MAX_NAMES};
use crate::names::{NAME_WORDS, Name, Names, fold};
use crate::scan::{self, Lines, Scan, Turn, Window};
use crate::verifier::hide;
use crate::words::{keep_first, literal, lower};

/// What the names of variables begin with that are header fields (RFC 3875 §4.1.18).
const HTTP: u64 = literal("HTTP_");
const HTTP_LEN: u32 = 5;

/// The longest name of a variable that is of interest.
pub const MAX_VARIABLE: u32 = HTTP_LEN + MAX_NAME_LEN as u32;

/// Words that a variable's name takes.
pub const VARIABLE_WORDS: usize = (MAX_VARIABLE as usize).div_ceil(8);

/// Where in the window a value begins; before that is room for the variable's name.
pub const VALUE_AT: u32 = 128;

/// Longest value that can be part of a line.
pub const MAX_VALUE: u32 = MAX_LINES as u32;

/// What a variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// A configured header: its index, and the length of its name.
    Header {
        /// The configured name's index.
        index: u32,
        /// The length of the header's name.
        len: u32,
    },
    /// The request's method.
    Method,
    /// The request's target.
    Target,
    /// `FCGI_ROLE`, which PHP puts before those that come from the web server.
    Role,
    /// Anything else.
    Other,
}

impl Variable {
    /// As a number that is never zero for what is of interest.
    #[inline(always)]
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::Method => 1,
            Self::Target => 2,
            Self::Role => 3,
            Self::Header { index, len } => 4 | index << 8 | len << 16,
        }
    }

    /// What [`Self::to_raw`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        match raw & 7 {
            1 => Self::Method,
            2 => Self::Target,
            3 => Self::Role,
            4 => Self::Header { index: raw >> 8 & 0xff, len: raw >> 16 },
            _ => Self::Other,
        }
    }
}

/// What the variable is whose name is the window's first `len` bytes. Of a
/// header, `name` becomes the name as it is to be sent: a name as it is
/// configured, and behind a prefix what the variable has, with hyphens.
///
/// `folded` is the table of [`Names::folded`] of `names`.
#[inline(always)]
#[must_use]
pub fn variable(window: &Window, len: u32, name: &mut Name, names: &Names, folded: &Names) -> Variable {
    if len > MAX_VARIABLE {
        return Variable::Other;
    }
    let first = keep_first(window.at(0), len.min(8));
    let second = keep_first(window.at(8), len.saturating_sub(8).min(8));
    if first == literal("REQUEST_") && len == 14 && second == literal("METHOD") {
        return Variable::Method;
    }
    if first == literal("REQUEST_") && len == 11 && second == literal("URI") {
        return Variable::Target;
    }
    if first == literal("FCGI_ROL") && len == 9 && second == literal("E") {
        return Variable::Role;
    }
    if keep_first(first, HTTP_LEN) != HTTP || len == HTTP_LEN {
        return Variable::Other;
    }
    let len = len.wrapping_sub(HTTP_LEN);
    for word in hide(0)..NAME_WORDS as u32 {
        let count = len.saturating_sub(word * 8).min(8);
        let bytes = keep_first(window.at_after(HTTP_LEN, word as usize), count);
        name[word as usize] = fold(lower(bytes));
    }
    let Some(index) = folded.find(name, len) else { return Variable::Other };
    if !is_token(name, len) {
        return Variable::Other;
    }
    let entry = &names.entries[hide(index) as usize & (MAX_NAMES - 1)];
    for word in hide(0)..NAME_WORDS as u32 {
        let word = word as usize;
        name[word] = entry.words[word] | name[word] & !entry.mask[word];
    }
    Variable::Header { index, len }
}

/// Begins the line of the header `index`, named `name` (of `len` bytes), with
/// the `value_len` bytes that are in the window from [`VALUE_AT`] on.
/// [`scan::copy_line`] copies it.
#[inline(always)]
pub fn begin_line(
    scan: &mut Scan,
    turn: &mut Turn,
    window: &mut Window,
    lines: &mut Lines,
    (index, name, len): (u32, &mut Name, u32),
    value_len: u32,
) {
    // The space between colon and value.
    window.as_words_mut()[VALUE_AT as usize / 8 - 1] = literal("        ");
    scan::begin_line(scan, turn, lines, (index, name, len), (VALUE_AT - 1, VALUE_AT.wrapping_add(value_len)));
}

#[cfg(test)]
mod tests;
