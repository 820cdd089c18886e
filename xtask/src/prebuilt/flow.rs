//! What Linux 6.1 wants of a program's control flow, and later kernels do not: the end of a loop must jump to its beginning.
//!
//! There `check_cfg` (kernel/bpf/verifier.c) takes an instruction that is followed by one which is still being visited for
//! an endless loop, unless it is a jump ("back-edge from insn 5502 to 5503"). How LLVM lays out a loop depends on little
//! things, so each object is looked at, not only tried on the kernel that happens to be here.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// Bytes of an instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
const SIZE: u64 = 8;

/// How far an instruction's visit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    None,
    Begun,
    Ended,
}

/// The functions of an object whose loops Linux 6.1 refuses.
pub(super) fn refused(object: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(object).context("the eBPF object is no ELF file")?;
    let mut refused = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(section) = symbol.section_index() else { continue };
        let code = file.section_by_index(section)?.data_range(symbol.address(), symbol.size())?;
        let code = code.context("a function is not in its section")?;
        let instructions: Vec<Instruction> = code.chunks_exact(SIZE as usize).map(Instruction::of).collect();
        if falls_into_a_loop(&instructions) {
            refused.push(symbol.name().unwrap_or("?").to_owned());
        }
    }
    Ok(refused)
}

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    offset: i16,
    immediate: i32,
}

/// Where an instruction leads.
#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    /// Whether it may lead back.
    is_jump: bool,
}

impl Instruction {
    fn of(bytes: &[u8]) -> Self {
        Self {
            code: bytes[0],
            offset: i16::from_le_bytes([bytes[2], bytes[3]]),
            immediate: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    /// Where it leads from `at`: at most two places.
    fn edges(self, at: usize) -> Vec<Edge> {
        // include/uapi/linux/bpf.h and bpf_common.h
        const WIDE_LOAD: u8 = 0x18;
        const CLASS_JUMP: u8 = 0x05;
        const CLASS_JUMP32: u8 = 0x06;
        const ALWAYS: u8 = 0x00;
        const CALL: u8 = 0x80;
        const EXIT: u8 = 0x90;
        let falls = |length: usize, is_jump| Edge { to: at + length, is_jump };
        let jumps = |distance: i64| Edge { to: (at as i64 + 1 + distance) as usize, is_jump: true };
        if self.code == WIDE_LOAD {
            return vec![falls(2, false)];
        }
        let (class, operation) = (self.code & 0x07, self.code & 0xf0);
        match (class, operation) {
            (CLASS_JUMP, EXIT) => Vec::new(),
            (CLASS_JUMP, CALL) => vec![falls(1, false)],
            (CLASS_JUMP, ALWAYS) => vec![jumps(self.offset.into())],
            (CLASS_JUMP32, ALWAYS) => vec![jumps(self.immediate.into())],
            (CLASS_JUMP | CLASS_JUMP32, _) => vec![falls(1, true), jumps(self.offset.into())],
            _ => vec![falls(1, false)],
        }
    }
}

/// As the kernel walks: deep first, and first to the next instruction.
fn falls_into_a_loop(instructions: &[Instruction]) -> bool {
    let mut visits = vec![Visit::None; instructions.len()];
    let mut stack = vec![(0, 0)];
    while let Some((at, taken)) = stack.pop() {
        let Some(instruction) = instructions.get(at) else { continue };
        visits[at] = Visit::Begun;
        let edges = instruction.edges(at);
        let Some(edge) = edges.get(taken) else {
            visits[at] = Visit::Ended;
            continue;
        };
        stack.push((at, taken + 1));
        match visits.get(edge.to) {
            Some(Visit::None) => stack.push((edge.to, 0)),
            Some(Visit::Begun) if !edge.is_jump => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: u8 = 0x07;
    const ALWAYS: u8 = 0x05;
    const IF: u8 = 0x15;
    const EXIT: u8 = 0x95;

    fn program(instructions: &[(u8, i16)]) -> Vec<Instruction> {
        instructions.iter().map(|(code, offset)| Instruction { code: *code, offset: *offset, immediate: 0 }).collect()
    }

    #[test]
    fn a_loop_may_jump_to_its_beginning() {
        // 1: the beginning; 3: back to it.
        assert!(!falls_into_a_loop(&program(&[(ADD, 0), (ADD, 0), (IF, 1), (ALWAYS, -3), (EXIT, 0)])));
        // A condition that leads on to what follows is a jump, too.
        assert!(!falls_into_a_loop(&program(&[(ALWAYS, 1), (IF, 2), (ADD, 0), (IF, -3), (EXIT, 0)])));
    }

    #[test]
    fn the_end_of_a_loop_that_falls_into_its_beginning_is_refused() {
        // 0 jumps to 2, the beginning; 3 jumps back to 1, which is the end and falls into 2.
        assert!(falls_into_a_loop(&program(&[(ALWAYS, 1), (ADD, 0), (ADD, 0), (IF, -3), (EXIT, 0)])));
    }
}
