//! What is attached to Go programs.

use object::Architecture;

use super::code;
use super::elf::{Executable, Function};
use super::point::Point;

/// A function that makes goroutines; without it nothing is known of them.
const NEWPROC: &str = "runtime.newproc1";
/// What that calls last with the new goroutine, before anyone else sees it.
const READY: &str = "runtime.casgstatus";
/// Hands a request to the goroutine that writes it.
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// Writes it, in that goroutine.
const WRITE: &str = "net/http.(*Request).write";

/// What is to be attached to `executable`, in this order; an error if it is a Go
/// program that is not understood, `None` if it is none.
pub(super) fn points(executable: &Executable<'_>, architecture: Architecture) -> Option<Result<Vec<Point>, String>> {
    executable.is_go().then(|| understand(executable, architecture))
}

fn understand(executable: &Executable<'_>, architecture: Architecture) -> Result<Vec<Point>, String> {
    let functions = executable.functions(&[NEWPROC, READY, ROUND_TRIP, WRITE]);
    let find = |name| functions.get(name).copied().ok_or_else(|| format!("the function {name} was not found"));
    let code = |function: Function| executable.code(function).unwrap_or_default();
    let entry = |program, name| {
        let function = find(name)?;
        let offset = code::stack_check(code(function), function, architecture);
        // A probe in the middle of an instruction would break the program.
        let offset = offset.ok_or_else(|| format!("the code of {name} is not where Go's tables say"))?;
        Ok::<_, String>(Point { program, offset })
    };
    let newproc = find(NEWPROC)?;
    let ready = code::last_call(code(newproc), newproc, find(READY)?, architecture);
    let ready = ready.ok_or_else(|| format!("{NEWPROC} does not call {READY}"))?;
    // First what forgets: a goroutine's memory may have been another's.
    let mut points = vec![Point { program: "go_made", offset: ready }, entry("go_newproc1", NEWPROC)?];
    if functions.contains_key(ROUND_TRIP) && functions.contains_key(WRITE) {
        points.extend([entry("go_write_request", WRITE)?, entry("go_round_trip", ROUND_TRIP)?]);
    }
    Ok(points)
}
