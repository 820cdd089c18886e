//! What Linux 6.1 wants of the stack of functions that call each other: 512 bytes, where each frame counts as a multiple of
//! 32 (kernel/bpf/verifier.c, `check_max_stack_depth`). Later kernels count more exactly, and let pass what that one refuses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

/// Bytes of an instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
const SIZE: u64 = 8;

/// `MAX_BPF_STACK` (include/linux/filter.h).
const MOST: u32 = 512;

/// What a frame is a multiple of.
const UNIT: u32 = 32;

/// Where a function is: its section's index, and its offset in that.
type Place = (usize, u64);

#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Bytes of its frame.
    frame: u32,
    /// What it calls, or has called for it.
    calls: BTreeSet<Place>,
}

/// The programs of an object that Linux 6.1 refuses, each with the functions that need most stack together.
pub(super) fn refused(object: &[u8]) -> Result<Vec<String>> {
    let functions = functions(object)?;
    let called: BTreeSet<Place> = functions.values().flat_map(|function| function.calls.clone()).collect();
    let programs = functions.keys().filter(|place| !called.contains(place));
    let deepest = programs.map(|place| deepest(&functions, *place, &mut Vec::new()));
    let too_deep = deepest.filter(|(bytes, _)| *bytes > MOST);
    Ok(too_deep.map(|(bytes, path)| format!("{} ({bytes} bytes)", path.join(" > "))).collect())
}

/// The most stack that a function needs with what it calls, and the way there.
fn deepest(functions: &BTreeMap<Place, Function>, place: Place, above: &mut Vec<Place>) -> (u32, Vec<String>) {
    let Some(function) = functions.get(&place).filter(|_| !above.contains(&place)) else { return (0, Vec::new()) };
    above.push(place);
    let called = function.calls.iter().map(|call| deepest(functions, *call, above));
    let (bytes, path) = called.max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
    above.pop();
    let mut all = vec![format!("{} {}", function.name, function.frame)];
    all.extend(path);
    (function.frame.max(1).next_multiple_of(UNIT) + bytes, all)
}

fn functions(object: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let file = object::File::parse(object).context("the eBPF object is no ELF file")?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        let code = section.data_range(symbol.address(), symbol.size())?.context("a function is not in its section")?;
        let mut function = Function { name: short(symbol.name()?), frame: frame(code), calls: BTreeSet::new() };
        let own = symbol.address()..symbol.address() + symbol.size();
        for (offset, relocation) in section.relocations().filter(|(offset, _)| own.contains(offset)) {
            let RelocationTarget::Symbol(target) = relocation.target() else { continue };
            let target = file.symbol_by_index(target)?;
            let Some(object::SectionIndex(section)) = target.section_index() else { continue };
            let instruction = Instruction::at(code, (offset - own.start) / SIZE);
            function.calls.extend(instruction.function(target.address(), target.kind()).map(|at| (section, at)));
        }
        functions.insert((index.0, symbol.address()), function);
    }
    // Other relocations are of data.
    let places: BTreeSet<Place> = functions.keys().copied().collect();
    functions.values_mut().for_each(|function| function.calls.retain(|call| places.contains(call)));
    Ok(functions)
}

/// A function's name without its path.
fn short(name: &str) -> String {
    let ends_at = name.rfind(|letter: char| !letter.is_alphanumeric() && letter != '_').map_or(0, |at| at + 1);
    let plain = name[ends_at..].trim_start_matches("_R");
    // Rust puts a length before each part of a name.
    plain.rsplit(|letter: char| letter.is_ascii_digit()).find(|part| part.len() > 2).unwrap_or(plain).to_owned()
}

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    immediate: i32,
}

/// include/uapi/linux/bpf.h and bpf_common.h
mod code {
    pub(super) const CALL: u8 = 0x85;
    pub(super) const WIDE_LOAD: u8 = 0x18;
    pub(super) const COPY: u8 = 0xbf;
    pub(super) const ADD: u8 = 0x07;
    pub(super) const CLASS_LOAD: u8 = 0x01;
    pub(super) const CLASS_STORE: u8 = 0x02;
    pub(super) const CLASS_STORE_REGISTER: u8 = 0x03;
}

/// The register that holds the frame's end.
const FRAME: u8 = 10;

impl Instruction {
    fn of(bytes: &[u8]) -> Self {
        Self {
            code: bytes[0],
            to: bytes[1] & 0x0f,
            from: bytes[1] >> 4,
            offset: i16::from_le_bytes([bytes[2], bytes[3]]),
            immediate: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    fn at(code: &[u8], index: u64) -> Self {
        let start = (index * SIZE) as usize;
        Self::of(&code[start..start + SIZE as usize])
    }

    /// The offset, in its section, of the function that a relocation to the symbol at `symbol` means; none of data.
    fn function(self, symbol: u64, kind: SymbolKind) -> Option<u64> {
        // A section's symbol is followed by the place in it.
        let within = if kind == SymbolKind::Section { i64::from(self.immediate) } else { 0 };
        match self.code {
            code::CALL if kind == SymbolKind::Section => Some(((within + 1) * SIZE as i64) as u64),
            code::CALL => Some(symbol),
            code::WIDE_LOAD => Some((symbol as i64 + within) as u64),
            _ => None,
        }
    }
}

/// Bytes of the stack that a function uses.
fn frame(code: &[u8]) -> u32 {
    let instructions: Vec<Instruction> = code.chunks_exact(SIZE as usize).map(Instruction::of).collect();
    let mut most = 0;
    for (at, one) in instructions.iter().enumerate() {
        let register = match one.code & 0x07 {
            code::CLASS_LOAD => one.from,
            code::CLASS_STORE | code::CLASS_STORE_REGISTER => one.to,
            _ => u8::MAX,
        };
        if register == FRAME {
            most = most.max(-i32::from(one.offset));
        }
        // An address in the frame: its end, less something.
        if let Some(next) = instructions.get(at + 1)
            && (one.code, one.from) == (code::COPY, FRAME)
            && (next.code, next.to) == (code::ADD, one.to)
        {
            most = most.max(-next.immediate);
        }
    }
    most.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [Place; 3] = [(1, 0), (2, 0), (2, 80)];

    fn calling(name: &str, frame: u32, calls: &[Place]) -> Function {
        Function { name: name.to_owned(), frame, calls: calls.iter().copied().collect() }
    }

    #[test]
    fn frames_are_found_in_stores_loads_and_addresses() {
        // *(u64 *)(r10 - 16) = r1; r2 = r10; r2 += -40; r3 = *(u64 *)(r10 - 24)
        let code = [
            [0x7b, 0x1a, 0xf0, 0xff, 0, 0, 0, 0],
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xd8, 0xff, 0xff, 0xff],
            [0x79, 0xa3, 0xe8, 0xff, 0, 0, 0, 0],
        ];
        assert_eq!(frame(code.as_flattened()), 40);
        assert_eq!(frame(&code[0]), 16);
    }

    #[test]
    fn each_frame_counts_as_a_multiple_of_32() {
        let [first, second, third] = PLACES;
        let functions = BTreeMap::from([
            (first, calling("a", 33, &[second, third])),
            (second, calling("b", 100, &[])),
            (third, calling("c", 0, &[second])),
        ]);
        let (bytes, path) = deepest(&functions, first, &mut Vec::new());
        assert_eq!((bytes, path.join(" > ").as_str()), (64 + 32 + 128, "a 33 > c 0 > b 100"));
    }
}
