use proptest::prelude::*;

use super::*;
use crate::head::IN_REQUEST;

const POST: u64 = literal("POST");

fn request(flags: u32, method: u64, body: u64) -> Scan {
    Scan { phase: phase::HEADERS, flags: flags | IN_REQUEST, method, body, ..Scan::default() }
}

fn response(flags: u32, status: u32, body: u64) -> Scan {
    Scan { phase: phase::HEADERS, flags, status, body, ..Scan::default() }
}

/// What follows, the phase then, the bytes to come, and why it is lost.
type After = (Follows, u32, u64, u32);

#[test]
fn what_follows_a_request_head() {
    let rows: [(Scan, After); 14] = [
        (request(0, POST, 0), (Follows::Nothing, phase::START, 0, 0)),
        // Left from nothing: without the header, no length counts.
        (request(0, POST, 7), (Follows::Nothing, phase::START, 0, 0)),
        (request(HAS_LENGTH, POST, 0), (Follows::Nothing, phase::START, 0, 0)),
        (request(HAS_LENGTH, POST, 7), (Follows::Body, phase::BODY, 7, 0)),
        (request(CHUNKED, POST, 0), (Follows::Body, phase::CHUNK_SIZE, 0, 0)),
        (request(CHUNKED | HAS_LENGTH, POST, 7), (Follows::Body, phase::CHUNK_SIZE, 7, 0)),
        (request(OTHER_CODING, POST, 0), (Follows::Unknown, phase::LOST, 0, lost::FRAMING)),
        (request(OTHER_CODING | HAS_LENGTH, POST, 7), (Follows::Unknown, phase::LOST, 7, lost::FRAMING)),
        (request(UPGRADE, POST, 0), (Follows::Unknown, phase::LOST, 0, lost::UPGRADED)),
        (request(0, literal("CONNECT"), 0), (Follows::Unknown, phase::LOST, 0, lost::UPGRADED)),
        (request(0, literal("HEAD"), 0), (Follows::Nothing, phase::START, 0, 0)),
        // The line feed of the blank line is to come.
        (request(LF_PENDING, POST, 0), (Follows::Body, phase::BODY, 1, 0)),
        (request(LF_PENDING | HAS_LENGTH, POST, 7), (Follows::Body, phase::BODY, 8, 0)),
        (request(LF_PENDING | CHUNKED, POST, 0), (Follows::Body, phase::CHUNK_DATA, 1, 0)),
    ];
    for (before, after) in rows {
        let mut scan = before;
        let follows = after_request_head(&mut scan);
        assert_eq!((follows, scan.phase, scan.body, scan.lost), after, "{before:?}");
    }
}

#[test]
fn what_follows_a_response_head() {
    let rows: [(Scan, bool, After); 19] = [
        (response(HAS_LENGTH, 200, 7), false, (Follows::Body, phase::BODY, 7, 0)),
        (response(HAS_LENGTH, 200, 0), false, (Follows::Nothing, phase::START, 0, 0)),
        (response(CHUNKED, 200, 0), false, (Follows::Body, phase::CHUNK_SIZE, 0, 0)),
        (response(CHUNKED | HAS_LENGTH, 404, 7), false, (Follows::Body, phase::CHUNK_SIZE, 7, 0)),
        (response(0, 200, 0), false, (Follows::Body, phase::UNTIL_CLOSE, 0, 0)),
        (response(OTHER_CODING, 200, 0), false, (Follows::Body, phase::UNTIL_CLOSE, 0, 0)),
        (response(OTHER_CODING | HAS_LENGTH, 200, 7), false, (Follows::Body, phase::UNTIL_CLOSE, 7, 0)),
        (response(HAS_LENGTH, 200, 7), true, (Follows::Nothing, phase::START, 0, 0)),
        (response(CHUNKED, 200, 0), true, (Follows::Nothing, phase::START, 0, 0)),
        (response(0, 200, 0), true, (Follows::Nothing, phase::START, 0, 0)),
        (response(HAS_LENGTH, 204, 7), false, (Follows::Nothing, phase::START, 0, 0)),
        (response(CHUNKED, 304, 0), false, (Follows::Nothing, phase::START, 0, 0)),
        (response(HAS_LENGTH, 304, 7), true, (Follows::Nothing, phase::START, 0, 0)),
        (response(0, 100, 0), false, (Follows::Final, phase::START, 0, 0)),
        (response(0, 103, 0), true, (Follows::Final, phase::START, 0, 0)),
        // The line feed to come is an empty line before the final response.
        (response(LF_PENDING, 100, 0), false, (Follows::Final, phase::START, 0, 0)),
        (response(0, 101, 0), false, (Follows::Unknown, phase::LOST, 0, lost::UPGRADED)),
        (response(LF_PENDING | HAS_LENGTH, 200, 7), false, (Follows::Body, phase::BODY, 8, 0)),
        (response(LF_PENDING | HAS_LENGTH, 204, 7), false, (Follows::Body, phase::BODY, 1, 0)),
    ];
    for (before, to_head, after) in rows {
        let mut scan = before;
        let follows = after_response_head(&mut scan, to_head);
        assert_eq!((follows, scan.phase, scan.body, scan.lost), after, "{before:?} to HEAD: {to_head}");
    }
}

fn at(phase: u32, seq: u32, body: u64) -> Scan {
    Scan { phase, seq, body, ..Scan::default() }
}

#[test]
fn bytes_that_pass_unseen_are_counted_where_only_counting_is_needed() {
    let rows = [
        // Phase, body, bytes unseen; then what is found, phase and body.
        (phase::START, 0, 0, Position::Known, phase::START, 0),
        (phase::HEADERS, 0, 0, Position::Known, phase::HEADERS, 0),
        (phase::BODY, 10, 4, Position::Known, phase::BODY, 6),
        (phase::BODY, 10, 10, Position::Ended, phase::BODY, 0),
        (phase::BODY, 10, 11, Position::Lost, phase::LOST, 10),
        (phase::BODY, 1 << 40, (1 << 30) - 1, Position::Known, phase::BODY, (1 << 40) - (1 << 30) + 1),
        // So far ahead may as well be behind.
        (phase::BODY, 1 << 40, 1 << 30, Position::Lost, phase::LOST, 1 << 40),
        (phase::CHUNK_DATA, 10, 9, Position::Known, phase::CHUNK_DATA, 1),
        (phase::CHUNK_DATA, 10, 10, Position::Known, phase::CHUNK_SIZE, 0),
        (phase::CHUNK_DATA, 10, 11, Position::Lost, phase::LOST, 10),
        (phase::UNTIL_CLOSE, 0, 1 << 31, Position::Known, phase::UNTIL_CLOSE, 0),
        (phase::START, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::FIRST_REST, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::HEADERS, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::VALUE, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::SKIP, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::CHUNK_SIZE, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::TRAILER, 0, 1, Position::Lost, phase::LOST, 0),
        (phase::TRAILER_SKIP, 0, 1, Position::Lost, phase::LOST, 0),
    ];
    for (phase, body, unseen, position, phase_after, body_after) in rows {
        let mut scan = at(phase, 100, body);
        assert_eq!(synchronise(&mut scan, 100 + unseen, 0), position, "{unseen} in phase {phase}");
        assert_eq!((scan.phase, scan.body), (phase_after, body_after), "{unseen} in phase {phase}");
    }
}

#[test]
fn a_lost_stream_stays_as_it_is() {
    let mut scan = at(phase::LOST, 100, 0);
    scan.lost = lost::UPGRADED;
    assert_eq!(synchronise(&mut scan, 200, 0), Position::Known);
    assert_eq!((scan.seq, scan.lost), (100, lost::UPGRADED));
}

#[test]
fn an_unfinished_first_line_is_not_sent_again() {
    let mut scan = at(phase::START, 100, 0);
    scan.carry_len = 3;
    assert_eq!(synchronise(&mut scan, 97, 10), Position::Lost);
}

proptest! {
    #[test]
    fn wrapping_of_sequence_numbers_changes_nothing(
        phase in 0u32..=12, body in prop_oneof![0u64..100, any::<u64>().prop_map(|body| body >> 4)], carry in 0u32..2,
        seq in any::<u32>(), by in prop_oneof![0u32..100, any::<u32>(), (0u32..100).prop_map(u32::wrapping_neg)],
        last in prop_oneof![0u32..100, any::<u32>()],
    ) {
        let run = |first: u32| {
            let mut scan = Scan { carry_len: carry, ..at(phase, first, body) };
            let position = synchronise(&mut scan, first.wrapping_add(by), last);
            (position, scan.phase, scan.body, scan.lost, scan.seq.wrapping_sub(first))
        };
        prop_assert_eq!(run(seq), run(1 << 31));
    }

    #[test]
    fn what_is_sent_again_counts_once(body in 0u64..5000, sent in 1u32..5000, again in 0u32..5000, seq in any::<u32>()) {
        // A write of `sent` bytes of a body of which the kernel took `sent - again`.
        let (body, again) = (body + u64::from(sent), again % (sent + 1));
        let mut scan = at(phase::BODY, seq.wrapping_add(sent), body - u64::from(sent));
        if scan.body == 0 {
            scan.begin_message();
        }
        let position = synchronise(&mut scan, seq.wrapping_add(sent - again), sent);
        prop_assert_eq!(position, Position::Known);
        let to_come = body - u64::from(sent) + u64::from(again);
        prop_assert_eq!((scan.phase, scan.body), (if to_come == 0 { phase::START } else { phase::BODY }, to_come));
    }

    #[test]
    fn more_than_the_last_write_is_never_sent_again(last in 0u32..5000, more in 1u32..5000, seq in any::<u32>()) {
        for phase in [phase::BODY, phase::START] {
            let mut scan = at(phase, seq, 0);
            prop_assert_eq!(synchronise(&mut scan, seq.wrapping_sub(last + more), last), Position::Lost);
        }
    }
}
