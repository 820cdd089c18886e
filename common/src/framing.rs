//! Where a message ends and the next one begins (RFC 9112 §6).

use crate::head::{CHUNKED, HAS_LENGTH, LF_PENDING, OTHER_CODING, UPGRADE};
use crate::scan::{Scan, lost, phase};
use crate::words::literal;

/// What follows a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: the message is complete.
    Nothing,
    /// A body whose end will be seen.
    Body,
    /// Another head of the same answer: this one was interim (1xx).
    Final,
    /// Nothing that can be followed; `Scan::lost` says why.
    Unknown,
}

/// Decides what follows a request's head, and sets the phase.
#[inline(always)]
pub fn after_request_head(scan: &mut Scan) -> Follows {
    // RFC 9110 §9.3.6 and §7.8: after these, other protocols may follow.
    if scan.flags & UPGRADE != 0 || scan.method == literal("CONNECT") {
        scan.lose(lost::UPGRADED);
        return Follows::Unknown;
    }
    if scan.flags & OTHER_CODING != 0 {
        scan.lose(lost::FRAMING);
        return Follows::Unknown;
    }
    if scan.flags & CHUNKED != 0 {
        return chunks(scan);
    }
    length(scan)
}

/// Decides what follows a response's head, and sets the phase. `to_head` tells
/// whether the request's method was HEAD.
#[inline(always)]
pub fn after_response_head(scan: &mut Scan, to_head: bool) -> Follows {
    if scan.status == 101 {
        scan.lose(lost::UPGRADED);
        return Follows::Unknown;
    }
    if scan.status < 200 {
        // A line feed that is still to come is an empty line before the next head.
        scan.phase = phase::START;
        return Follows::Final;
    }
    if to_head || scan.status == 204 || scan.status == 304 {
        scan.body = 0;
        return length(scan);
    }
    if scan.flags & CHUNKED != 0 {
        return chunks(scan);
    }
    if scan.flags & (OTHER_CODING | HAS_LENGTH) == HAS_LENGTH {
        return length(scan);
    }
    scan.phase = phase::UNTIL_CLOSE;
    Follows::Body
}

#[inline(always)]
fn chunks(scan: &mut Scan) -> Follows {
    scan.phase = phase::CHUNK_SIZE;
    if scan.flags & LF_PENDING != 0 {
        // One byte of "chunk data": the head's last line feed.
        scan.phase = phase::CHUNK_DATA;
        scan.body = 1;
    }
    Follows::Body
}

#[inline(always)]
fn length(scan: &mut Scan) -> Follows {
    if scan.flags & HAS_LENGTH == 0 {
        scan.body = 0;
    }
    if scan.flags & LF_PENDING != 0 {
        scan.body += 1;
    }
    if scan.body == 0 {
        scan.phase = phase::START;
        return Follows::Nothing;
    }
    scan.phase = phase::BODY;
    Follows::Body
}

/// What [`synchronise`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The stream goes on where it stood, or within the same body.
    Known,
    /// The message ended in bytes that passed unseen.
    Ended,
    /// Bytes passed unseen that had to be seen; the stream is lost.
    Lost,
}

/// Brings the stream to the sequence number at which an event begins.
///
/// Bytes of a body may pass unseen (a `sendfile`, a `MSG_TRUNC` read). A partial
/// send makes the application send bytes of a body again; at most `last` bytes
/// of a body of known length were counted in the event before.
#[inline(always)]
pub fn synchronise(scan: &mut Scan, seq: u32, last: u32) -> Position {
    let ahead = seq.wrapping_sub(scan.seq);
    if ahead == 0 || scan.phase == phase::LOST {
        return Position::Known;
    }
    scan.seq = seq;
    let behind = ahead.wrapping_neg();
    match scan.phase {
        phase::UNTIL_CLOSE => Position::Known,
        phase::BODY | phase::CHUNK_DATA if ahead < 1 << 30 && u64::from(ahead) <= scan.body => {
            scan.body -= u64::from(ahead);
            if scan.body > 0 {
                Position::Known
            } else if scan.phase == phase::CHUNK_DATA {
                scan.phase = phase::CHUNK_SIZE;
                Position::Known
            } else {
                Position::Ended
            }
        }
        phase::BODY if behind <= last => {
            scan.body += u64::from(behind);
            Position::Known
        }
        phase::START if behind <= last && scan.carry_len == 0 => {
            scan.phase = phase::BODY;
            scan.body = u64::from(behind);
            Position::Known
        }
        _ => {
            scan.lose(lost::FRAMING);
            Position::Lost
        }
    }
}

#[cfg(test)]
mod tests;
