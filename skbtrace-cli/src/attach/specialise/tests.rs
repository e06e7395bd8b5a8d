//! Programs made up and run, before and after.

use proptest::prelude::*;

use super::*;

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
    let half = |value: u64| {
        u32::try_from(value & 0xffff_ffff)
            .expect("a half")
            .cast_signed()
    };
    [
        instruction(LOAD_IMMEDIATE_64, to, 0, 0, half(value)),
        instruction(0, 0, 0, 0, half(value >> 32)),
    ]
}

const EXIT_CODE: u8 = JMP | EXIT;

/// Runs a program; what is in r0 at the end, and every value that helper 1 was called with.
fn run(program: &[bpf_insn]) -> (u64, Vec<u64>) {
    let mut registers = [0_u64; REGISTERS];
    let mut stack = BTreeMap::new();
    let mut calls = Vec::new();
    let mut returns: Vec<(usize, [u64; 4])> = Vec::new();
    let mut at = 0;
    for _ in 0..10_000 {
        let now = &program[at];
        let state = State {
            registers: registers.map(Some),
            spilled: BTreeMap::new(),
        };
        let to = destination(now);
        at += 1;
        match class(now) {
            LD => {
                let high = u64::from(program[at].imm.cast_unsigned());
                registers[to] = u64::from(now.imm.cast_unsigned()) | high << 32;
                at += 1;
            }
            ALU | ALU64 => registers[to] = compute(now, &state).expect("known"),
            STX => drop(stack.insert((returns.len(), now.off), registers[source(now)])),
            LDX => registers[to] = stack[&(returns.len(), now.off)],
            _ => match operation(now) {
                EXIT => match returns.pop() {
                    None => return (registers[0], calls),
                    Some((back, saved)) => {
                        at = back;
                        registers[6..10].copy_from_slice(&saved);
                    }
                },
                CALL if is_internal_call(now) => {
                    let saved = registers[6..10].try_into().expect("four");
                    returns.push((at, saved));
                    at = target(at - 1, i64::from(now.imm)).expect("in the program");
                }
                CALL => {
                    calls.push(registers[1]);
                    registers[..=5].fill(7);
                }
                _ => {
                    if branch(now, &state) == Branch::Always {
                        at = target(at - 1, i64::from(now.off)).expect("in the program");
                    }
                }
            },
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
    assert_eq!(run(&short), (1, vec![]));
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
    assert_eq!(run(&short).1.len(), 1);
    assert!(short.len() < program.len());
    // What a helper returned is not known.
    assert_eq!(run(&short).0, 7);
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
    assert_eq!(run(&short), (3, vec![]));
    assert!(short.len() <= 6, "{}", short.len());
}

/// An instruction, of which `at` others come before and `left` follow.
fn any_instruction(left: i16) -> impl Strategy<Value = Vec<bpf_insn>> {
    let register = 0..10_u8;
    let alu = proptest::sample::select(vec![0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, MOV]);
    let jump = proptest::sample::select(vec![
        0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
    ]);
    let kind = prop_oneof![Just(ALU), Just(ALU64)];
    let jump_kind = prop_oneof![Just(JMP), Just(JMP32)];
    let operand = prop_oneof![Just(0), Just(REGISTER)];
    let slot = prop_oneof![Just(-8_i16), Just(-16)];
    prop_oneof![
        4 => (kind, alu, operand.clone(), register.clone(), register.clone(), -3..4_i32).prop_map(
            |(kind, op, operand, to, from, imm)| {
                let from = if operand == 0 { 0 } else { from };
                vec![instruction(kind | op | operand, to, from, 0, imm)]
            }
        ),
        3 => (jump_kind, jump, operand, register.clone(), register.clone(), 0..=left.max(0), -3..4_i32)
            .prop_map(|(kind, op, operand, to, from, off, imm)| {
                let from = if operand == 0 { 0 } else { from };
                vec![instruction(kind | op | operand, to, from, off, imm)]
            }),
        1 => Just(vec![instruction(JMP | CALL, 0, 0, 0, 1)]),
        1 => (register.clone(), slot.clone())
            .prop_map(|(from, off)| vec![instruction(STORE_8, 10, from, off, 0)]),
        1 => (register, slot).prop_map(|(to, off)| vec![instruction(LOAD_8, to, 10, off, 0)]),
    ]
}

/// A program that jumps forward only, so that it ends; its stack slots are set first.
fn any_program() -> impl Strategy<Value = Vec<bpf_insn>> {
    const LENGTH: i16 = 24;
    let body: Vec<_> = (0..LENGTH)
        .map(|at| any_instruction(LENGTH - 1 - at))
        .collect();
    (body, any::<u64>()).prop_map(|(body, first)| {
        let mut program = load(1, first).to_vec();
        program.push(instruction(STORE_8, 10, 1, -8, 0));
        program.push(instruction(STORE_8, 10, 2, -16, 0));
        program.extend(body.into_iter().flatten());
        program.push(instruction(EXIT_CODE, 0, 0, 0, 0));
        program
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Constants or not, the answer and the calls stay the same.
    #[test]
    fn a_program_does_what_it_did(program in any_program()) {
        let short = specialised(&program);
        prop_assert!(short.len() <= program.len());
        prop_assert_eq!(run(&short), run(&program));
    }
}
