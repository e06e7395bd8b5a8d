//! Programs made up and run, before and after.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    code::{
        ADD, ALU, ALU64, CALL, EXIT, JA, JMP, JMP32, LOAD_IMMEDIATE_64, MOV, Op, Operand,
        PSEUDO_CALL, REGISTER, REGISTERS, SUB, compute, decide, halves,
    },
    *,
};

const LOAD_8: u8 = 0x79;
const STORE_8: u8 = 0x7b;

fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    }
}

/// Loads a 64-bit immediate.
fn load(to: u8, value: u64) -> [bpf_insn; 2] {
    let [low, high] = halves(value);
    [
        instruction(LOAD_IMMEDIATE_64, to, 0, 0, low),
        instruction(0, 0, 0, 0, high),
    ]
}

const EXIT_CODE: u8 = JMP | EXIT;

/// What a program did.
#[derive(Debug, PartialEq)]
struct Ran {
    /// What is in r0 at the end.
    result: u64,
    /// Every value that helper 1 was called with, and the eight bytes that r2 led to, if it led to
    /// the stack.
    calls: Vec<(u64, Option<u64>)>,
    /// Operations it took, jumps apart: where ways meet, one of them has to jump.
    steps: usize,
}

/// Where a machine's stack ends, far from every number that programs are made of.
const STACK: u64 = 0x7000_0000_0000;

/// A value, and whether it is a pointer to the stack. As the verifier has it, a pointer remains
/// one only when something is added to it, or when it is put on the stack as a whole.
type Tagged = (u64, bool);

/// Memory of the stack, byte by byte, and where pointers are in it.
#[derive(Default)]
struct Memory {
    bytes: BTreeMap<u64, u8>,
    pointers: BTreeSet<u64>,
}

impl Memory {
    fn store(&mut self, (address, is_stack): Tagged, size: u8, (value, is_pointer): Tagged) {
        if !is_stack {
            return;
        }
        for (byte, at) in value.to_le_bytes().into_iter().zip(0..size) {
            self.bytes.insert(address.wrapping_add(at.into()), byte);
        }
        self.pointers
            .retain(|at| at.abs_diff(address) >= 8 || *at >= address + u64::from(size));
        if is_pointer && size == 8 {
            self.pointers.insert(address);
        }
    }

    fn load(&self, (address, is_stack): Tagged, size: u8) -> Tagged {
        let mut bytes = [0; 8];
        for (byte, at) in bytes.iter_mut().zip(0..size) {
            let address = address.wrapping_add(at.into());
            let elsewhere = address.to_le_bytes()[0] ^ 0xcc;
            let known = self.bytes.get(&address).filter(|_| is_stack);
            *byte = known.copied().unwrap_or(elsewhere);
        }
        let is_pointer = is_stack && size == 8 && self.pointers.contains(&address);
        (u64::from_le_bytes(bytes), is_pointer)
    }
}

fn run(program: &[bpf_insn]) -> Ran {
    let ops = code::read(program, |_| false).expect("known instructions");
    let mut registers = [(0_u64, false); REGISTERS];
    registers[10] = (STACK, true);
    let mut memory = Memory::default();
    let mut calls = Vec::new();
    let mut returns: Vec<(usize, [Tagged; 5])> = Vec::new();
    let mut at = 0;
    let mut steps = 0;
    for _ in 0..10_000 {
        let value = |operand: Operand| match operand {
            Operand::Register(register) => registers[register],
            Operand::Immediate(imm) => (i64::from(imm).cast_unsigned(), false),
        };
        let place = |base: usize, off: i16| {
            let (address, is_stack) = registers[base];
            let address = address.wrapping_add(i64::from(off).cast_unsigned());
            (address, is_stack)
        };
        let op = ops[at];
        at += 1;
        steps += usize::from(!matches!(op, Op::Jump { .. }));
        match op {
            Op::Number { to, value } => registers[to] = (value, false),
            Op::Alu {
                wide,
                operation,
                to,
                operand,
            } => {
                let ((first, was), (second, is)) = (registers[to], value(operand));
                let result = compute(wide, operation, first, second).expect("known");
                let is_pointer = match operation {
                    MOV => wide && is,
                    ADD | SUB => wide && was != is,
                    _ => false,
                };
                registers[to] = (result, is_pointer);
            }
            Op::Load {
                size,
                to,
                base,
                off,
            } => registers[to] = memory.load(place(base, off), size),
            Op::Store {
                size,
                base,
                off,
                operand,
            } => memory.store(place(base, off), size, value(operand)),
            Op::Jump { there } => at = there,
            Op::Branch {
                wide,
                operation,
                first,
                second,
                there,
            } => {
                let (first, second) = (registers[first].0, value(second).0);
                if decide(wide, operation, first, second).expect("known") {
                    at = there;
                }
            }
            Op::Call { .. } => {
                let behind = registers[2];
                calls.push((registers[1].0, behind.1.then(|| memory.load(behind, 8).0)));
                registers[..=5].fill((7, false));
            }
            Op::CallFunction { there } => {
                returns.push((at, registers[6..].try_into().expect("five")));
                registers[10].0 -= 512;
                at = there;
            }
            Op::Exit => match returns.pop() {
                None => {
                    return Ran {
                        result: registers[0].0,
                        calls,
                        steps,
                    };
                }
                Some((back, saved)) => {
                    at = back;
                    registers[6..].copy_from_slice(&saved);
                }
            },
            Op::Address { .. } | Op::Odd { .. } | Op::Nothing => panic!("not made up here"),
        }
    }
    panic!("it does not end");
}

fn specialised(program: &[bpf_insn]) -> Vec<bpf_insn> {
    specialise(program, |number| number == 99)
}

#[test]
fn a_decided_branch_goes_with_what_it_decided() {
    let mut program = load(1, 4).to_vec();
    program.extend([
        instruction(ALU64 | 0x50, 1, 0, 0, 4), // r1 &= 4
        instruction(JMP | 0x10, 1, 0, 2, 0),   // if r1 == 0 goto else
        instruction(ALU64 | MOV, 0, 0, 0, 1),  // r0 = 1
        instruction(EXIT_CODE, 0, 0, 0, 0),
        instruction(ALU64 | MOV, 0, 0, 0, 2), // else: r0 = 2
        instruction(EXIT_CODE, 0, 0, 0, 0),
    ]);
    let short = specialised(&program);
    assert_eq!(short.len(), 2, "only the answer is left");
    assert_eq!(run(&short).result, 1);
}

#[test]
fn nothing_is_assumed_of_a_placeholder() {
    let mut program = load(1, 99).to_vec();
    program.extend([
        instruction(ALU64 | MOV, 0, 0, 0, 1),
        instruction(JMP | 0x10, 1, 0, 1, 0),
        instruction(ALU64 | MOV, 0, 0, 0, 2),
        instruction(EXIT_CODE, 0, 0, 0, 0),
    ]);
    assert_eq!(specialised(&program).len(), program.len());
}

#[test]
fn a_spilled_constant_is_remembered_until_it_is_overwritten() {
    let spill = |from| instruction(STORE_8, 10, from, -8, 0);
    let reload = |to| instruction(LOAD_8, to, 10, -8, 0);
    let mut program = load(6, 5).to_vec();
    program.extend([
        spill(6),
        instruction(JMP | CALL, 0, 0, 0, 1),
        reload(1),
        instruction(JMP | 0x10, 1, 0, 1, 5), // if r1 == 5
        instruction(JMP | CALL, 0, 0, 0, 1), // never
        spill(0),
        reload(0),
        instruction(EXIT_CODE, 0, 0, 0, 0),
    ]);
    let short = specialised(&program);
    assert_eq!(run(&short).calls.len(), 1);
    assert!(short.len() < program.len());
    // What a helper returned is not known.
    assert_eq!(run(&short).result, 7);
}

#[test]
fn a_function_is_called_where_it_moved_to() {
    let mut program = load(1, 3).to_vec();
    program.extend([
        instruction(JMP | 0x50, 1, 0, 1, 3), // if r1 != 3
        instruction(JMP | JA, 0, 0, 1, 0),
        instruction(JMP | CALL, 0, 0, 0, 1),           // never
        instruction(JMP | CALL, 0, PSEUDO_CALL, 0, 1), // f(3)
        instruction(EXIT_CODE, 0, 0, 0, 0),
        instruction(ALU64 | MOV | REGISTER, 0, 1, 0, 0), // f: r0 = r1
        instruction(EXIT_CODE, 0, 0, 0, 0),
    ]);
    let short = specialised(&program);
    assert_eq!(run(&short).result, 3);
    assert!(short.len() <= 6, "{}", short.len());
}

/// The register that counts a loop's rounds.
const ROUND: u8 = 9;

/// Instructions, behind which there are `left` others at least.
fn any_instruction(left: i16) -> impl Strategy<Value = Vec<bpf_insn>> {
    let register = 0..ROUND;
    let alu = proptest::sample::select(vec![0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, MOV]);
    let jump = proptest::sample::select(vec![
        0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
    ]);
    let kind = prop_oneof![Just(ALU), Just(ALU64)];
    let jump_kind = prop_oneof![Just(JMP), Just(JMP32)];
    let operand = prop_oneof![Just(0), Just(REGISTER)];
    let size = proptest::sample::select(vec![0x00_u8, 0x08, 0x10, 0x18]);
    let base = prop_oneof![2 => Just(10), 1 => register.clone()];
    let slot = -24..=-8_i16;
    prop_oneof![
        4 => (kind, alu, operand.clone(), register.clone(), register.clone(), -3..4_i32).prop_map(
            |(kind, op, operand, to, from, imm)| {
                let from = if operand == 0 { 0 } else { from };
                vec![instruction(kind | op | operand, to, from, 0, imm)]
            }
        ),
        1 => (register.clone(), register.clone())
            .prop_map(|(to, from)| vec![instruction(ALU64 | MOV | REGISTER, to, from, 0, 0)]),
        3 => (jump_kind, jump, operand, register.clone(), register.clone(), 0..=left.max(0), -3..4_i32)
            .prop_map(|(kind, op, operand, to, from, off, imm)| {
                let from = if operand == 0 { 0 } else { from };
                vec![instruction(kind | op | operand, to, from, off, imm)]
            }),
        1 => Just(vec![instruction(JMP | CALL, 0, 0, 0, 1)]),
        // A pointer to the stack.
        1 => (register.clone(), -24..=-8_i32).prop_map(|(to, off)| vec![
            instruction(ALU64 | MOV | REGISTER, to, 10, 0, 0),
            instruction(ALU64, to, 0, 0, off),
        ]),
        2 => (size.clone(), base.clone(), register.clone(), slot.clone())
            .prop_map(|(size, base, from, off)| vec![instruction(0x63 | size, base, from, off, 0)]),
        2 => (size, base, register, slot)
            .prop_map(|(size, base, to, off)| vec![instruction(0x61 | size, to, base, off, 0)]),
    ]
}

/// A loop of a few rounds that jumps forward only within; its stack memory is set first.
fn any_program() -> impl Strategy<Value = Vec<bpf_insn>> {
    const LENGTH: i16 = 24;
    let body: Vec<_> = (0..LENGTH)
        .map(|at| any_instruction(LENGTH - 1 - at))
        .collect();
    (body, any::<u64>(), 1..4_i32).prop_map(|(body, first, rounds)| {
        let mut program = load(1, first).to_vec();
        for slot in [-8, -16, -24, -32] {
            program.push(instruction(STORE_8, 10, 1, slot, 0));
        }
        program.push(instruction(ALU64 | MOV, ROUND, 0, 0, rounds));
        let body: Vec<bpf_insn> = body.into_iter().flatten().collect();
        let back = -i16::try_from(body.len() + 2).expect("a short body");
        program.extend(body);
        program.push(instruction(ALU64, ROUND, 0, 0, -1));
        program.push(instruction(JMP | 0x50, ROUND, 0, back, 0));
        program.push(instruction(EXIT_CODE, 0, 0, 0, 0));
        program
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The answer and the calls stay the same, and it computes no more.
    #[test]
    fn a_program_does_what_it_did(program in any_program()) {
        let (before, after) = (run(&program), run(&specialised(&program)));
        prop_assert_eq!(after.result, before.result);
        prop_assert_eq!(after.calls, before.calls);
        prop_assert!(after.steps <= before.steps);
    }
}
