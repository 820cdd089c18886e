//! Where a Go function keeps an argument while it runs.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register, UsedMemory};
use object::Architecture;

use super::code::decode;
use super::elf::Function;

/// Bytes of an argument.
const WORD: u64 = 8;

/// How far above the stack pointer the Go function `function` has its second
/// argument, from the first few instructions on to its end; `None` if it is not
/// certain that it stays there. Not known for ARM64.
///
/// What is needed after a call goes to the stack, since a call may change all
/// registers. The compiler writes it there once, but may use the place for
/// something else when it is not needed any more (`cmd/compile/internal/ssa/stackalloc.go`).
pub(super) fn second_argument(code: &[u8], function: Function, architecture: Architecture) -> Option<u64> {
    if architecture != Architecture::X86_64 {
        return None;
    }
    let all: Vec<Instruction> = decode(code, function).into_iter().collect();
    let (first, place) = stored(&all)?;
    let mut factory = InstructionInfoFactory::new();
    for (index, instruction) in all.iter().enumerate() {
        let leads = instruction.near_branch_target();
        // Not by a way around it.
        if leads > function.offset && leads <= all[first].ip() {
            return None;
        }
        let used = factory.info(instruction).used_memory();
        if index != first && used.iter().any(|memory| may_change(memory, place)) || takes_address(instruction, place) {
            return None;
        }
        if index > first && !keeps_stack(instruction) {
            return None;
        }
    }
    Some(place)
}

/// The instruction that puts the second argument on the stack, and where to; the
/// stack pointer does not change after that but for calls, and the end.
fn stored(all: &[Instruction]) -> Option<(usize, u64)> {
    let mut factory = InstructionInfoFactory::new();
    for (index, instruction) in all.iter().enumerate() {
        if instruction.code() == Code::Mov_rm64_r64
            && instruction.op1_register() == Register::RBX
            && instruction.memory_base() == Register::RSP
            && instruction.memory_index() == Register::None
        {
            let place = instruction.memory_displacement64();
            // Signal handlers use what is below the stack pointer.
            return (place.cast_signed() > 0).then_some((index, place));
        }
        let used = factory.info(instruction).used_registers();
        let changes = used.iter().any(|used| used.register().full_register() == Register::RBX && writes(used.access()));
        // The branch to where the stack is made to grow, which begins anew.
        let is_check = matches!(instruction.code(), Code::Jbe_rel8_64 | Code::Jbe_rel32_64);
        if changes || !is_check && instruction.flow_control() != FlowControl::Next {
            break;
        }
    }
    None
}

fn writes(access: OpAccess) -> bool {
    !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
}

/// Whether an instruction that uses `memory` may change the word that is `place` bytes above the stack pointer.
fn may_change(memory: &UsedMemory, place: u64) -> bool {
    if !writes(memory.access()) {
        return false;
    }
    match (memory.base(), memory.index()) {
        (Register::RSP, Register::None) => {
            // Below the stack pointer, as calls do, it wraps around.
            let (from, size) = (memory.displacement(), memory.memory_size().size() as u64);
            size == 0 || from < place + WORD && place < from.saturating_add(size)
        }
        (Register::RSP | Register::RBP, _) | (_, Register::RSP | Register::RBP) => true,
        _ => false,
    }
}

/// Whether `instruction` makes a pointer to the word that is `place` bytes above the stack pointer.
fn takes_address(instruction: &Instruction, place: u64) -> bool {
    let from = instruction.memory_displacement64();
    instruction.code() == Code::Lea_r64_m
        && instruction.memory_base() == Register::RSP
        && from >= place
        && from < place + WORD
}

/// Whether the stack pointer is the same after `instruction`, or the function ends.
fn keeps_stack(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Pop_r64 | Code::Retnq => true,
        _ if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) => true,
        _ => instruction.op0_register() != Register::RSP && instruction.stack_pointer_increment() == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cmp rsp, [r14+16]; jbe (to the end); sub rsp, 0x48
    const BEGIN: [u8; 10] = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x40, 0x48, 0x83, 0xec, 0x48];
    /// mov [rsp+0x38], rbx
    const STORE: [u8; 5] = [0x48, 0x89, 0x5c, 0x24, 0x38];
    /// xor ebx, ebx; call; add rsp, 0x48; ret
    const END: [u8; 12] = [0x31, 0xdb, 0xe8, 0, 1, 0, 0, 0x48, 0x83, 0xc4, 0x48, 0xc3];

    fn kept(code: &[&[u8]]) -> Option<u64> {
        let code = code.concat();
        let function = Function { offset: 0x100, size: code.len() as u64 };
        second_argument(&code, function, Architecture::X86_64)
    }

    #[test]
    fn an_argument_is_found_where_it_was_put() {
        assert_eq!(kept(&[&BEGIN, &STORE, &END]), Some(0x38));
        // mov rbp, rsp is no change of the stack; mov [rsp+0x40], rbp; lea rbp, [rsp+0x40]
        let frame = [0x48, 0x89, 0x6c, 0x24, 0x40, 0x48, 0x8d, 0x6c, 0x24, 0x40];
        assert_eq!(kept(&[&BEGIN, &frame, &STORE, &END]), Some(0x38));
        // mov [rsp+0x50], rax; mov rdx, [rsp+0x38]; movups [rsp+0x28], xmm15; mov [rbx+0x38], rax
        let around = [
            0x48, 0x89, 0x44, 0x24, 0x50, 0x48, 0x8b, 0x54, 0x24, 0x38, 0x44, 0x0f, 0x11, 0x7c, 0x24, 0x28, 0x48, 0x89,
            0x43, 0x38,
        ];
        assert_eq!(kept(&[&BEGIN, &STORE, &around, &END]), Some(0x38));
    }

    #[test]
    fn an_argument_that_is_not_put_away_at_once_is_not() {
        assert_eq!(kept(&[&BEGIN, &END]), None);
        assert_eq!(kept(&[&BEGIN, &[0x31, 0xdb], &STORE, &END]), None, "xor ebx, ebx");
        assert_eq!(kept(&[&BEGIN, &[0x74, 5], &STORE, &END]), None, "je over it");
        assert_eq!(kept(&[&BEGIN, &END, &STORE]), None, "after a call");
        // mov [rsp-8], rbx
        assert_eq!(kept(&[&BEGIN, &[0x48, 0x89, 0x5c, 0x24, 0xf8], &END]), None, "below the stack");
        // jmp to it from below
        assert_eq!(kept(&[&BEGIN, &STORE, &[0xeb, 0xf9], &END]), None);
    }

    #[test]
    fn a_place_that_is_used_again_is_not_trusted() {
        let again: [&[u8]; 6] = [
            &[0x48, 0x89, 0x44, 0x24, 0x38],       // mov [rsp+0x38], rax
            &[0xc6, 0x44, 0x24, 0x3f, 0],          // mov byte [rsp+0x3f], 0
            &[0x44, 0x0f, 0x11, 0x7c, 0x24, 0x30], // movups [rsp+0x30], xmm15
            &[0x48, 0x8d, 0x7c, 0x24, 0x38],       // lea rdi, [rsp+0x38]
            &[0x48, 0x89, 0x04, 0x0c],             // mov [rsp+rcx], rax
            &[0x48, 0x89, 0x45, 0xf8],             // mov [rbp-8], rax
        ];
        for code in again {
            assert_eq!(kept(&[&BEGIN, &STORE, code, &END]), None, "{code:x?}");
        }
        assert_eq!(kept(&[&BEGIN, &STORE, &[0x50], &END]), None, "push rax");
        assert_eq!(kept(&[&BEGIN, &STORE, &[0x48, 0x83, 0xec, 8], &END]), None, "sub rsp, 8");
    }

    #[test]
    fn it_is_not_known_for_others() {
        let code = [&BEGIN[..], &STORE, &END].concat();
        let function = Function { offset: 0x100, size: code.len() as u64 };
        assert_eq!(second_argument(&code, function, Architecture::Aarch64), None);
        for len in 0..code.len() {
            second_argument(&code[..len], function, Architecture::X86_64);
        }
    }
}
