//! What is attached to Go programs.

use object::Architecture;

use super::elf::{Executable, Function};
use super::point::Point;
use super::{code, kept};

/// A function that makes goroutines; without it nothing is known of them.
const NEWPROC: &str = "runtime.newproc1";
/// What that calls last with the new goroutine, before anyone else sees it.
const READY: &str = "runtime.casgstatus";
/// Hands a request to the goroutine that writes for a connection.
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// What that goroutine runs.
const WRITE_LOOP: &str = "net/http.(*persistConn).writeLoop";
/// What it calls to write.
const FLUSH: &str = "net/http.persistConnWriter.Write";
/// Calls roundTrip() on a connection that others may be using; since Go 1.26.
const CLIENT_CONN: &str = "net/http.http1ClientConn.RoundTrip";

/// What Go programs need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Go {
    /// What is to be attached, in this order.
    pub(super) points: Vec<Point>,
    /// And after that, where connections may be older.
    pub(super) flush: Vec<Point>,
}

/// What is to be attached to `executable`; an error if it is a Go program that is not
/// understood, `None` if it is none.
pub(super) fn examine(executable: &Executable<'_>, architecture: Architecture) -> Option<Result<Go, String>> {
    executable.is_go().then(|| understand(executable, architecture))
}

fn understand(executable: &Executable<'_>, architecture: Architecture) -> Result<Go, String> {
    let functions = executable.functions(&[NEWPROC, READY, ROUND_TRIP, WRITE_LOOP, FLUSH, CLIENT_CONN]);
    let find = |name| functions.get(name).copied().ok_or_else(|| format!("the function {name} was not found"));
    let code = |function: Function| executable.code(function).unwrap_or_default();
    let entry = |program, name| {
        let function = find(name)?;
        let offset = code::stack_check(code(function), function, architecture);
        // A probe in the middle of an instruction would break the program.
        let offset = offset.ok_or_else(|| format!("the code of {name} is not where Go's tables say"))?;
        Ok::<_, String>(Point::new(program, offset))
    };
    let newproc = find(NEWPROC)?;
    let ready = code::last_call(code(newproc), newproc, find(READY)?, architecture);
    let ready = ready.ok_or_else(|| format!("{NEWPROC} does not call {READY}"))?;
    let creator = kept::second_argument(code(newproc), newproc, architecture);
    // First what forgets: a goroutine's memory may have been another's.
    let mut points = vec![Point { cookie: creator, ..Point::new("go_made", ready) }];
    // Found in any case: so it is seen that the code is Go's.
    let newproc = entry("go_newproc1", NEWPROC)?;
    if creator.is_none() {
        points.push(newproc);
    }
    let mut flush = Vec::new();
    if [ROUND_TRIP, WRITE_LOOP, FLUSH].iter().any(|name| functions.contains_key(name)) {
        if functions.contains_key(CLIENT_CONN) {
            points.push(entry("go_shares", CLIENT_CONN)?);
        }
        points.extend([entry("go_writes", WRITE_LOOP)?, entry("go_round_trip", ROUND_TRIP)?]);
        flush.push(entry("go_writes", FLUSH)?);
    }
    Ok(Go { points, flush })
}
