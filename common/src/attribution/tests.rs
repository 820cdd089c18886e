use super::*;

const NOW: u64 = 1_000_000;
const MAX_AGE: u64 = 1_000;
const ID: u64 = 7;
const PROCESS: Process = Process { newest: ID, open: 1 };

fn own() -> Claim {
    Claim::own(ID, 3, 100)
}

/// Of a program that was started.
fn shared() -> Claim {
    own().passed_on(PROCESS, false).executed(true)
}

/// What `claim` says of its own context, live and new, in a process whose
/// newest request it is.
fn check(claim: &Claim) -> Result<(), Reason> {
    claim.check(ID, state::LIVE, NOW, ID, NOW, MAX_AGE)
}

#[test]
fn who_read_the_request_has_its_context() {
    assert_eq!(check(&own()), Ok(()));
    assert_eq!(own().check(ID, state::LIVE, NOW, ID + 1, NOW, MAX_AGE), Ok(()), "other requests do not matter");
}

#[test]
fn without_a_claim_the_reason_is_kept() {
    for reason in Reason::ALL {
        assert_eq!(check(&Claim::none(*reason)), Err(*reason));
    }
    // A claim that nothing ever filled.
    assert_eq!(check(&Claim::default()), Err(Reason::None));
}

#[test]
fn a_context_is_current_only_while_its_slot_holds_it_unanswered() {
    for claim in [own(), shared()] {
        let states = [
            (ID, state::LIVE, Ok(())),
            (ID, state::ANSWERED, Err(Reason::Answered)),
            (ID, state::FREE, Err(Reason::Answered)),
            (ID, state::AMBIGUOUS, Err(Reason::Ambiguous)),
            // Taken for the next request, or being filled.
            (ID + 1, state::LIVE, Err(Reason::Answered)),
            (0, state::LIVE, Err(Reason::Answered)),
            (ID + 1, state::AMBIGUOUS, Err(Reason::Answered)),
        ];
        for (id, state, expected) in states {
            assert_eq!(claim.check(id, state, NOW, ID, NOW, MAX_AGE), expected, "id {id}, state {state}, {claim:?}");
        }
    }
}

#[test]
fn a_context_expires() {
    for (since, expected) in [(NOW, Ok(())), (NOW - MAX_AGE, Ok(())), (NOW - MAX_AGE - 1, Err(Reason::Expired))] {
        assert_eq!(own().check(ID, state::LIVE, since, ID, NOW, MAX_AGE), expected, "since {since}");
    }
    // Of more than one reason, what happened to the request comes first.
    assert_eq!(own().check(ID, state::ANSWERED, 0, ID, NOW, MAX_AGE), Err(Reason::Answered));
}

#[test]
fn what_is_started_for_the_only_open_request_shares_its_context() {
    let shared = shared();
    assert_eq!((shared.kind, shared.id, shared.slot, shared.tgid, shared.stamp), (kind::SHARED, ID, 3, 100, ID));
    assert_eq!(check(&shared), Ok(()));
}

#[test]
fn what_is_started_while_other_requests_are_open_has_no_context() {
    for open in [0, 2, 3, u64::MAX] {
        for balanced in [false, true] {
            let passed = own().passed_on(Process { newest: ID, open }, balanced);
            assert_eq!(passed, Claim::none(Reason::Ambiguous), "{open} open");
        }
    }
}

#[test]
fn a_shared_context_ends_with_the_process_s_next_request() {
    // A pool's thread, started in one request, works for the next one, too.
    assert_eq!(shared().check(ID, state::LIVE, NOW, ID + 1, NOW, MAX_AGE), Err(Reason::Ambiguous));
}

#[test]
fn a_stamp_is_the_newest_request_even_if_it_is_another_s() {
    // The one open request is not the newest: that one is answered.
    let shared = own().passed_on(Process { newest: ID + 5, open: 1 }, true);
    assert_eq!(shared.check(ID, state::LIVE, NOW, ID + 5, NOW, MAX_AGE), Ok(()));
    assert_eq!(shared.check(ID, state::LIVE, NOW, ID + 6, NOW, MAX_AGE), Err(Reason::Ambiguous));
}

#[test]
fn what_shares_a_context_passes_it_on_with_its_stamp() {
    for balanced in [false, true] {
        let child = shared().passed_on(Process { newest: ID + 1, open: 2 }, balanced).executed(true);
        assert_eq!(child, shared());
        assert_eq!(child.check(ID, state::LIVE, NOW, ID + 1, NOW, MAX_AGE), Err(Reason::Ambiguous));
    }
}

#[test]
fn what_is_started_is_certain_once_it_runs_a_program() {
    let started = own().passed_on(PROCESS, false);
    assert_eq!(check(&started), Err(Reason::Ambiguous));
    let answered = started.check(ID, state::ANSWERED, NOW, ID, NOW, MAX_AGE);
    assert_eq!(answered, Err(Reason::Ambiguous), "a pool's thread may work for another request by now");
    assert_eq!(check(&started.executed(true)), Ok(()));
    assert_eq!(check(&own().passed_on(PROCESS, true)), Ok(()), "likely is enough");
    // A shell's: it forks before it runs anything.
    let fork = shared().passed_on(PROCESS, false);
    assert_eq!((check(&fork), check(&fork.executed(true))), (Err(Reason::Ambiguous), Ok(())));
    let from_parentheses = fork.of_creator().passed_on(PROCESS, false);
    let found = (check(&from_parentheses), check(&from_parentheses.executed(true)));
    assert_eq!(found, (Err(Reason::Ambiguous), Ok(())));
    assert_eq!(started.of_creator(), started, "no program's");
}

#[test]
fn what_a_pools_thread_starts_is_nobodys() {
    let started = own().passed_on(PROCESS, false);
    assert_eq!(started.executed(false), started, "its process becomes another program's");
    for balanced in [false, true] {
        let program = started.passed_on(PROCESS, balanced).executed(true);
        assert_eq!(program, Claim::none(Reason::Ambiguous));
    }
}

#[test]
fn a_connection_remembers_what_is_likely_where_that_is_enough() {
    assert_eq!(own().remembered(PROCESS, false), Claim::none(Reason::NoContext));
    assert_eq!(own().remembered(PROCESS, true), own().passed_on(PROCESS, true));
    assert_eq!(check(&own().remembered(PROCESS, true)), Ok(()));
    assert!(Claim::none(Reason::NoContext).is_left_to_connection());
    let known = [own(), shared(), own().passed_on(PROCESS, false), Claim::none(Reason::Ambiguous)];
    assert!(known.iter().all(|claim| !claim.is_left_to_connection()));
}

#[test]
fn an_event_loop_has_no_context_and_passes_none_on() {
    for kind in [kind::NONE, kind::OWN, kind::SHARED] {
        let claim = Claim { flags: flag::EVENT_LOOP, kind, ..own() };
        assert!(claim.is_event_loop());
        assert_eq!(check(&claim), Err(Reason::UnsupportedRuntime));
        for balanced in [false, true] {
            let passed = claim.passed_on(PROCESS, balanced);
            assert_eq!(passed, Claim::none(Reason::UnsupportedRuntime));
            assert!(!passed.is_event_loop(), "what it starts may be no event loop");
        }
        assert_eq!(claim.executed(true), Claim::none(Reason::NoContext), "a program need not be one");
    }
}

#[test]
fn nothing_is_passed_on_from_nothing() {
    let none = Claim::none(Reason::Ambiguous);
    assert_eq!(none.passed_on(PROCESS, true), none);
}

#[test]
fn who_reads_a_watched_socket_serves_many() {
    // asyncio, Node.js, nginx, Go, tokio: in epoll, not blocking.
    assert!(reads_for_many(true, true, false) && reads_for_many(true, true, true));
    // A loop over blocking sockets: nobody else could wait in epoll.
    assert!(reads_for_many(true, false, true));
    // Java's HttpServer hands a socket to a worker as blocking before it takes it out of epoll.
    assert!(!reads_for_many(true, false, false));
    // A thread for each connection; non-blocking where it has a timeout.
    assert!(!reads_for_many(false, false, false) && !reads_for_many(false, true, false));
    // gunicorn's sync workers, PHP's built-in server.
    assert!(!reads_for_many(false, false, true) && !reads_for_many(false, true, true));
}

#[test]
fn carriers_of_virtual_threads_go_by_their_name() {
    let comm = |name: &[u8]| {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at + byte])))
    };
    assert!(is_carrier(comm(b"ForkJoinPool-1-")) && is_carrier(comm(b"ForkJoinPool.co")));
    assert!(!is_carrier(comm(b"ForkJoin")) && !is_carrier(comm(b"http-nio-8080-e")) && !is_carrier(comm(b"")));
}
