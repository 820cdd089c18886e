//! What is attached to Go programs.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::Architecture;

use super::elf::{Executable, Function};
use super::point::Point;

/// A function that makes goroutines; without it nothing is known of them.
const NEWPROC: &str = "runtime.newproc1";
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
    let functions = executable.functions(&[NEWPROC, ROUND_TRIP, WRITE]);
    for (name, function) in &functions {
        let code = executable.code(*function).unwrap_or_default();
        if !begins_as_function(code, architecture) {
            // A probe in the middle of an instruction would break the program.
            return Err(format!("the code of {name} is not where Go's tables say"));
        }
    }
    let newproc = functions.get(NEWPROC).ok_or_else(|| format!("the function {NEWPROC} was not found"))?;
    let mut points = Vec::new();
    // First what forgets: a goroutine's memory may have been another's.
    let returns = |program, function: &Function| {
        let found = returns(executable.code(*function).unwrap_or_default(), *function, architecture)?;
        Ok::<_, String>(found.into_iter().map(move |offset| Point { program, offset }))
    };
    let entry = |program, function: &Function| Point { program, offset: function.offset };
    points.extend(returns("go_newproc1_returns", newproc)?);
    points.push(entry("go_newproc1", newproc));
    if let (Some(round_trip), Some(write)) = (functions.get(ROUND_TRIP), functions.get(WRITE)) {
        points.extend(returns("go_round_trip_returns", round_trip)?);
        points.push(entry("go_write_request", write));
        points.push(entry("go_round_trip", round_trip));
    }
    Ok(points)
}

/// Whether `code` begins with the check of the goroutine's stack that Go puts
/// before functions (`cmd/internal/obj/x86`, `stacksplit`).
fn begins_as_function(code: &[u8], architecture: Architecture) -> bool {
    let beginnings: &[&[u8]] = match architecture {
        // CMP RSP, [R14+16]; LEA R12, [RSP-n] with n of one byte, or of four.
        Architecture::X86_64 => &[&[0x49, 0x3b, 0x66, 0x10], &[0x4c, 0x8d, 0x64, 0x24], &[0x4c, 0x8d, 0xa4, 0x24]],
        // LDR X16, [X28, #16]
        Architecture::Aarch64 => &[&[0x90, 0x0b, 0x40, 0xf9]],
        _ => &[],
    };
    beginnings.iter().any(|beginning| code.starts_with(beginning))
}

/// Where in the file `function` returns. (A probe on the return address would
/// change it, which Go's stacks do not bear: they are moved.)
fn returns(code: &[u8], function: Function, architecture: Architecture) -> Result<Vec<u64>, String> {
    let found: Vec<u64> = match architecture {
        Architecture::X86_64 => Decoder::with_ip(64, code, function.offset, DecoderOptions::NONE)
            .into_iter()
            .filter(|instruction| instruction.flow_control() == FlowControl::Return)
            .map(|instruction| instruction.ip())
            .collect(),
        Architecture::Aarch64 => code
            .chunks_exact(4)
            .zip((function.offset..).step_by(4))
            // RET X30 (Arm ARM, C6.2)
            .filter(|(word, _)| *word == 0xd65f_03c0u32.to_le_bytes())
            .map(|(_, offset)| offset)
            .collect(),
        _ => Vec::new(),
    };
    if found.is_empty() { Err("a function without a return".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_begin_with_a_check_of_the_stack() {
        assert!(begins_as_function(&[0x49, 0x3b, 0x66, 0x10, 0x76], Architecture::X86_64));
        assert!(!begins_as_function(&[0x3b, 0x66, 0x10, 0x76], Architecture::X86_64));
        assert!(begins_as_function(&[0x90, 0x0b, 0x40, 0xf9], Architecture::Aarch64));
        assert!(!begins_as_function(&[], Architecture::X86_64));
    }

    #[test]
    fn returns_are_instructions_and_not_just_bytes() {
        // mov eax, 0xc3c3c3c3; ret; nop; ret
        let code = [0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0x90, 0xc3];
        let function = Function { offset: 0x100, size: code.len() as u64 };
        assert_eq!(returns(&code, function, Architecture::X86_64), Ok(vec![0x105, 0x107]));
        assert!(returns(&[0x90], function, Architecture::X86_64).is_err());
        // nop; ret
        let code = [0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6];
        assert_eq!(returns(&code, function, Architecture::Aarch64), Ok(vec![0x104]));
    }
}
