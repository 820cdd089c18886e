//! Where in a function a probe is cheap.
//!
//! The kernel emulates a few instructions at which a probe sits; over all others
//! it steps, by a second exception. In virtual machines that one costs tens of
//! microseconds, thirty times as much as all the rest (arch/x86/kernel/uprobes.c:
//! `push_setup_xol_ops` and `branch_setup_xol_ops` say which those are).

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use object::Architecture;

use super::elf::Function;

/// A conditional branch if lower or the same of ARM64 (Arm ARM, C6.2, B.cond): its bits but the distance.
const ARM_BRANCH_LS: u32 = 0x5400_0009;

/// A call of ARM64 (BL).
const ARM_CALL: u32 = 0x9400_0000;

/// Bytes of the longest function that [`tail_call`] looks at: each branch is looked for among all instructions.
const LONGEST_WITH_TAIL: usize = 4 << 10;

/// Bytes of what PUSH puts on the stack.
const WORD: i32 = 8;

pub(super) fn decode(code: &[u8], function: Function) -> Decoder<'_> {
    Decoder::with_ip(64, code, function.offset, DecoderOptions::NONE)
}

fn words(code: &[u8], function: Function) -> impl Iterator<Item = (u32, u64)> {
    let words = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    words.zip((function.offset..).step_by(4))
}

/// The branch to where a Go function's stack is made to grow, right after the
/// check with which it begins (`cmd/internal/obj`, `stacksplit`); `None` if the
/// function does not begin so. There its arguments are where they were.
pub(super) fn stack_check(code: &[u8], function: Function, architecture: Architecture) -> Option<u64> {
    match architecture {
        Architecture::X86_64 => {
            // CMP RSP, [R14+16]; or LEA R12, [RSP-n]; CMP R12, [R14+16]; then JBE.
            let beginnings: [&[u8]; 3] =
                [&[0x49, 0x3b, 0x66, 0x10], &[0x4c, 0x8d, 0x64, 0x24], &[0x4c, 0x8d, 0xa4, 0x24]];
            if !beginnings.iter().any(|beginning| code.starts_with(beginning)) {
                return None;
            }
            let branch = decode(code, function).into_iter().take(3).find(Instruction::is_jcc_short_or_near)?;
            matches!(branch.code(), Code::Jbe_rel8_64 | Code::Jbe_rel32_64).then(|| branch.ip())
        }
        Architecture::Aarch64 => {
            // LDR X16, [X28, #16]; CMP SP, X16 (or what computes the lowest address first); B.LS.
            let mut all = words(code, function).take(5);
            let (first, _) = all.next()?;
            let branch = all.find(|(word, _)| word & 0xff00_001f == ARM_BRANCH_LS)?;
            (first == 0xf940_0b90).then_some(branch.1)
        }
        _ => None,
    }
}

/// The last place where `function` calls `target`.
pub(super) fn last_call(code: &[u8], function: Function, target: Function, architecture: Architecture) -> Option<u64> {
    match architecture {
        Architecture::X86_64 => decode(code, function)
            .into_iter()
            .filter(|found| found.code() == Code::Call_rel32_64 && found.near_branch_target() == target.offset)
            .map(|found| found.ip())
            .last(),
        Architecture::Aarch64 => words(code, function)
            .filter(|(word, at)| {
                // 26 bits with a sign, in words.
                let distance = i64::from(((word << 6) as i32) >> 4);
                word & 0xfc00_0000 == ARM_CALL && at.wrapping_add_signed(distance) == target.offset
            })
            .map(|(_, at)| at)
            .last(),
        _ => None,
    }
}

/// The other function in which the C function `function` always ends, and which
/// returns in its place; `None` if there is none, or it cannot be said for certain.
/// Not known for ARM64.
///
/// A jump out of it leads there only if the stack is as it was in the beginning:
/// the compiler puts what it holds for unlikely elsewhere, too.
pub(super) fn tail_call(code: &[u8], function: Function, architecture: Architecture) -> Option<u64> {
    if architecture != Architecture::X86_64 || code.len() > LONGEST_WITH_TAIL {
        return None;
    }
    let instructions: Vec<Instruction> = decode(code, function).into_iter().collect();
    let mut stacks: Vec<Option<Stack>> = vec![None; instructions.len()];
    let mut found = None;
    // Where to go on, and what the stack is like there.
    let mut paths = vec![(0, Stack::default())];
    while let Some((index, stack)) = paths.pop() {
        let instruction = instructions.get(index)?;
        match stacks[index].replace(stack) {
            Some(known) if known == stack => continue,
            // It depends on the way.
            Some(_) => return None,
            None => {}
        }
        let target = instruction.near_branch_target();
        let within = || instructions.iter().position(|other| other.ip() == target);
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                paths.push((index + 1, stack.after(instruction)?));
            }
            FlowControl::ConditionalBranch => {
                match within() {
                    Some(target) => paths.push((target, stack)),
                    // To what is unlikely, with something on the stack.
                    None if stack.depth != 0 => {}
                    None => return None,
                }
                paths.push((index + 1, stack));
            }
            FlowControl::UnconditionalBranch => match within() {
                Some(target) => paths.push((target, stack)),
                None if stack.depth != 0 => {}
                None if found.is_none_or(|found| found == target) => found = Some(target),
                None => return None,
            },
            // It returns by itself, or nobody knows where it goes.
            _ => return None,
        }
    }
    found
}

/// What a function has on the stack.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Stack {
    /// Bytes since its beginning.
    depth: i32,
    /// The depth to which RBP points, if that is known.
    frame: Option<i32>,
}

impl Stack {
    /// What it is like after `instruction`; `None` if that cannot be said.
    fn after(self, instruction: &Instruction) -> Option<Self> {
        let changes = instruction.op0_register() == Register::RSP;
        let change = match instruction.code() {
            // What is called takes its return address away again.
            Code::Call_rel32_64 | Code::Call_rm64 => 0,
            Code::Leaveq => self.depth - (self.frame? - WORD),
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if changes => -(instruction.immediate(1) as i32),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if changes => instruction.immediate(1) as i32,
            _ if changes && instruction.stack_pointer_increment() == 0 => return None,
            _ => instruction.stack_pointer_increment(),
        };
        let sets_frame = instruction.op0_register() == Register::RBP && instruction.op1_register() == Register::RSP;
        let frame = if sets_frame { Some(self.depth) } else { self.frame };
        Some(Self { depth: self.depth - change, frame })
    }
}

/// The first instruction of the C function `function` that the kernel emulates,
/// where neither its first argument nor the stack pointer has changed yet; its
/// beginning if there is none.
pub(super) fn entry(code: &[u8], function: Function, architecture: Architecture) -> u64 {
    if architecture != Architecture::X86_64 {
        return function.offset;
    }
    let mut factory = InstructionInfoFactory::new();
    for instruction in &mut decode(code, function) {
        if is_emulated(&instruction) {
            return instruction.ip();
        }
        let writes = |register: Register| {
            let full = register.full_register();
            full == Register::RDI || full == Register::RSP
        };
        let changes = |access: OpAccess| {
            !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
        };
        let used = factory.info(&instruction).used_registers();
        if instruction.flow_control() != FlowControl::Next
            || used.iter().any(|used| writes(used.register()) && changes(used.access()))
        {
            break;
        }
    }
    function.offset
}

/// Those that all kernels emulate: PUSH of a register, calls, and near branches.
fn is_emulated(instruction: &Instruction) -> bool {
    instruction.code() == Code::Push_r64
        || instruction.code() == Code::Call_rel32_64
        || instruction.is_jcc_short_or_near()
        || instruction.is_jmp_short_or_near()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(code: &[u8]) -> Function {
        Function { offset: 0x100, size: code.len() as u64 }
    }

    fn entry_of(code: &[u8]) -> u64 {
        entry(code, function(code), Architecture::X86_64)
    }

    #[test]
    fn c_functions_are_probed_where_it_is_cheap() {
        assert_eq!(entry_of(&[0x55, 0xc3]), 0x100, "push rbp; ret");
        assert_eq!(entry_of(&[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x54]), 0x104, "endbr64; push r12");
        // cmp byte [rip+1], 0; mov r10d, ecx; je +2
        let code = [0x80, 0x3d, 1, 0, 0, 0, 0, 0x41, 0x89, 0xca, 0x74, 2];
        assert_eq!(entry_of(&code), 0x10a);
    }

    #[test]
    fn where_it_would_be_too_late_they_are_probed_at_their_beginning() {
        assert_eq!(entry_of(&[0x48, 0x89, 0xf7, 0x55]), 0x100, "mov rdi, rsi: the argument is gone");
        assert_eq!(entry_of(&[0x48, 0x83, 0xec, 8, 0x55]), 0x100, "sub rsp, 8: the return address is elsewhere");
        assert_eq!(entry_of(&[0xc3, 0x55]), 0x100, "ret: the next function");
    }

    #[test]
    fn go_functions_are_probed_at_the_branch_after_the_stack_check() {
        let at = |code: &[u8], architecture| stack_check(code, function(code), architecture);
        // cmp rsp, [r14+16]; jbe; sub rsp, 0x48
        let short = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x48, 0x83, 0xec, 0x48];
        assert_eq!(at(&short, Architecture::X86_64), Some(0x104));
        // lea r12, [rsp-0x230]; cmp r12, [r14+16]; jbe
        let long = [0x4c, 0x8d, 0xa4, 0x24, 0xd0, 0xfd, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0];
        assert_eq!(at(&long, Architecture::X86_64), Some(0x10c));
        assert_eq!(at(&short[1..], Architecture::X86_64), None, "not where the function begins");
        // ldr x16, [x28, #16]; cmp sp, x16; b.ls
        let arm = [0xf940_0b90u32, 0xeb30_63ff, 0x5400_0109].map(u32::to_le_bytes).concat();
        assert_eq!(at(&arm, Architecture::Aarch64), Some(0x108));
        assert_eq!(at(&arm[4..], Architecture::Aarch64), None);
    }

    #[test]
    fn a_function_that_ends_with_another_is_seen_through() {
        let at = |code: &[u8], architecture| tail_call(code, function(code), architecture);
        // test rax, rax; je 0x10a; jmp 0x200; push rbp; mov rbp, rsp; sub rsp, 16; je 0x500; leave; jmp 0x200
        let code = [
            0x48, 0x85, 0xc0, 0x74, 5, 0xe9, 0xf6, 0, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x0f, 0x84,
            0xe8, 3, 0, 0, 0xc9, 0xe9, 0xe2, 0, 0, 0,
        ];
        assert_eq!(at(&code, Architecture::X86_64), Some(0x200));
        // sub rsp, 8; call 0x200; add rsp, 8; jmp 0x300
        let code = [0x48, 0x83, 0xec, 8, 0xe8, 0xf7, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xe9, 0xee, 1, 0, 0];
        assert_eq!(at(&code, Architecture::X86_64), Some(0x300));
        // add rsp, -128; sub rsp, -128; jmp 0x200
        let code = [0x48, 0x83, 0xc4, 0x80, 0x48, 0x83, 0xec, 0x80, 0xe9, 0xf3, 0, 0, 0];
        assert_eq!(at(&code, Architecture::X86_64), Some(0x200));
        assert_eq!(at(&code, Architecture::Aarch64), None);
    }

    #[test]
    fn a_function_that_may_end_otherwise_is_not() {
        let at = |code: &[u8]| tail_call(code, function(code), Architecture::X86_64);
        // push rbx; jmp 0x200: the rest of the same function
        assert_eq!(at(&[0x53, 0xe9, 0xfa, 0, 0, 0]), None);
        // jmp to its own beginning
        assert_eq!(at(&[0xeb, 0xfe, 0xc3]), None);
        // je 0x107; jmp 0x200; jmp 0x300: which one?
        assert_eq!(at(&[0x74, 5, 0xe9, 0xf9, 0, 0, 0, 0xe9, 0xf4, 1, 0, 0]), None);
        // je 0x107; jmp 0x200; ret
        assert_eq!(at(&[0x74, 5, 0xe9, 0xf9, 0, 0, 0, 0xc3]), None);
        // je 0x400; jmp 0x200
        assert_eq!(at(&[0x0f, 0x84, 0xfa, 2, 0, 0, 0xe9, 0xf5, 0, 0, 0]), None);
        // je 0x103; push rax; jmp 0x200: it depends on the way how much is on the stack.
        assert_eq!(at(&[0x74, 1, 0x50, 0xe9, 0xf8, 0, 0, 0]), None);
        // and rsp, -16; jmp 0x200
        assert_eq!(at(&[0x48, 0x83, 0xe4, 0xf0, 0xe9, 0xf7, 0, 0, 0]), None);
    }

    #[test]
    fn the_last_call_of_a_function_is_found() {
        let target = Function { offset: 0x100, size: 1 };
        // call -5 (itself, at 0x200); nop; call 0x100; ret
        let code = [0xe8, 0xfb, 0xff, 0xff, 0xff, 0x90, 0xe8, 0xf5, 0xfe, 0xff, 0xff, 0xc3];
        let function = Function { offset: 0x200, size: code.len() as u64 };
        assert_eq!(last_call(&code, function, target, Architecture::X86_64), Some(0x206));
        // nop; bl -0x104
        let code = [0xd503_201fu32, 0x97ff_ffbf].map(u32::to_le_bytes).concat();
        assert_eq!(last_call(&code, function, target, Architecture::Aarch64), Some(0x204));
        assert_eq!(last_call(&code[..4], function, target, Architecture::Aarch64), None);
    }
}
