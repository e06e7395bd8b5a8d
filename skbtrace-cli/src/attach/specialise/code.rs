//! A program taken apart into operations, and put together again.

use aya_obj::generated::bpf_insn;

const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
pub const ALU: u8 = 4;
pub const JMP: u8 = 5;
pub const JMP32: u8 = 6;
pub const ALU64: u8 = 7;

pub const LOAD_IMMEDIATE_64: u8 = 0x18;
const MEMORY: u8 = 0x60;
/// The second operand is a register (`BPF_X`).
pub const REGISTER: u8 = 0x08;

pub const JA: u8 = 0x00;
pub const CALL: u8 = 0x80;
pub const EXIT: u8 = 0x90;
pub const ADD: u8 = 0x00;
pub const SUB: u8 = 0x10;
pub const NEG: u8 = 0x80;
pub const MOV: u8 = 0xb0;
const END: u8 = 0xd0;

/// `BPF_PSEUDO_CALL`, of a function in the same program; `BPF_PSEUDO_FUNC`, its address.
pub const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;

pub const REGISTERS: usize = 11;
/// The frame pointer.
pub const FRAME: usize = 10;

/// The second operand of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(usize),
    Immediate(i32),
}

/// What an instruction does. Registers are numbers below [`REGISTERS`], places in the program
/// indices of operations.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A 64-bit number.
    Number { to: usize, value: u64 },
    /// An address of a map, or a number that is not known yet: two instructions, kept as they are.
    Address { to: usize, halves: [bpf_insn; 2] },
    /// Arithmetic on 64 bits, or on 32, which clears the upper ones.
    Alu {
        wide: bool,
        operation: u8,
        to: usize,
        operand: Operand,
    },
    /// Arithmetic that is kept as it is: byte swaps, moves with sign extension.
    Odd { to: usize, instruction: bpf_insn },
    /// A load of `size` bytes.
    Load {
        size: u8,
        to: usize,
        base: usize,
        off: i16,
    },
    /// A store of `size` bytes.
    Store {
        size: u8,
        base: usize,
        off: i16,
        operand: Operand,
    },
    /// On to another place.
    Jump { there: usize },
    /// Maybe.
    Branch {
        wide: bool,
        operation: u8,
        first: usize,
        second: Operand,
        there: usize,
    },
    /// A helper or a kernel function.
    Call { instruction: bpf_insn },
    /// A function of the program.
    CallFunction { there: usize },
    /// The end.
    Exit,
    /// What has been removed.
    Nothing,
}

const fn size_of_access(code: u8) -> u8 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

const fn access_of_size(size: u8) -> u8 {
    match size {
        4 => 0x00,
        2 => 0x08,
        1 => 0x10,
        _ => 0x18,
    }
}

/// Takes a program apart. `unknown` says which 64-bit immediates are placeholders. `None` when
/// there is an instruction that this module does not know.
pub fn read(program: &[bpf_insn], unknown: impl Fn(u64) -> bool) -> Option<Vec<Op>> {
    // Where each instruction went; nowhere for the second half of an immediate.
    let mut places = vec![None; program.len()];
    let mut count = 0;
    let mut at = 0;
    while at < program.len() {
        places[at] = Some(count);
        count += 1;
        at += 1 + usize::from(program[at].code == LOAD_IMMEDIATE_64);
    }
    let there = |at: usize, distance: i64| -> Option<usize> {
        let there = i64::try_from(at).ok()? + 1 + distance;
        *places.get(usize::try_from(there).ok()?)?
    };
    let mut ops = Vec::with_capacity(count);
    for (at, instruction) in program.iter().enumerate() {
        if places[at].is_some() {
            ops.push(read_one(program, at, instruction, &there, &unknown)?);
        }
    }
    Some(ops)
}

fn read_one(
    program: &[bpf_insn],
    at: usize,
    instruction: &bpf_insn,
    there: &impl Fn(usize, i64) -> Option<usize>,
    unknown: &impl Fn(u64) -> bool,
) -> Option<Op> {
    let to = usize::from(instruction.dst_reg());
    let from = usize::from(instruction.src_reg());
    if to >= REGISTERS || from >= REGISTERS {
        return None;
    }
    let code = instruction.code;
    let operation = code & 0xf0;
    let operand = if code & REGISTER == 0 {
        Operand::Immediate(instruction.imm)
    } else {
        Operand::Register(from)
    };
    let (size, off) = (size_of_access(code), instruction.off);
    Some(match code & 7 {
        LD => {
            let second = program.get(at + 1).filter(|_| code == LOAD_IMMEDIATE_64)?;
            let value = u64::from(instruction.imm.cast_unsigned())
                | u64::from(second.imm.cast_unsigned()) << 32;
            match instruction.src_reg() {
                PSEUDO_FUNC => return None,
                0 if !unknown(value) => Op::Number { to, value },
                _ => Op::Address {
                    to,
                    halves: [*instruction, *second],
                },
            }
        }
        ALU | ALU64 if operation == END || off != 0 => Op::Odd {
            to,
            instruction: *instruction,
        },
        class @ (ALU | ALU64) => Op::Alu {
            wide: class == ALU64,
            operation,
            to,
            operand,
        },
        LDX if code & 0xe0 == MEMORY => Op::Load {
            size,
            to,
            base: from,
            off,
        },
        class @ (ST | STX) if code & 0xe0 == MEMORY => Op::Store {
            size,
            base: to,
            off,
            operand: if class == ST {
                Operand::Immediate(instruction.imm)
            } else {
                Operand::Register(from)
            },
        },
        JMP | JMP32 if operation == CALL => {
            if instruction.src_reg() == PSEUDO_CALL {
                Op::CallFunction {
                    there: there(at, i64::from(instruction.imm))?,
                }
            } else {
                Op::Call {
                    instruction: *instruction,
                }
            }
        }
        JMP if operation == EXIT => Op::Exit,
        JMP if operation == JA => Op::Jump {
            there: there(at, i64::from(off))?,
        },
        // Jumps that may not be taken (0xe0, since 6.9) and long ones (JMP32 | JA, since 6.5) are
        // not known.
        class @ (JMP | JMP32) if operation <= 0xd0 && operation != JA => Op::Branch {
            wide: class == JMP,
            operation,
            first: to,
            second: operand,
            there: there(at, i64::from(off))?,
        },
        _ => return None,
    })
}

impl Op {
    /// How many instructions it is.
    pub const fn length(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Number { value, .. } if short(*value).is_none() => 2,
            Self::Address { .. } => 2,
            _ => 1,
        }
    }
}

/// A move of an immediate that gives a number: on 64 bits or 32, and the immediate.
pub const fn short(value: u64) -> Option<(u8, i32)> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "compared with the whole below"
    )]
    let low = value as u32;
    if low.cast_signed() as i64 == value.cast_signed() {
        Some((ALU64, low.cast_signed()))
    } else if low as u64 == value {
        Some((ALU, low.cast_signed()))
    } else {
        None
    }
}

fn instruction(code: u8, to: usize, operand: Operand, off: i16) -> bpf_insn {
    let (bit, from, imm) = match operand {
        Operand::Register(from) => (REGISTER, from, 0),
        Operand::Immediate(imm) => (0, 0, imm),
    };
    plain(code | bit, to, from, off, imm)
}

fn plain(code: u8, to: usize, from: usize, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off,
        imm,
    };
    // Below REGISTERS.
    instruction.set_dst_reg(u8::try_from(to).unwrap_or_default());
    instruction.set_src_reg(u8::try_from(from).unwrap_or_default());
    instruction
}

/// Puts a program together. `None` when a jump is too long.
pub fn write(ops: &[Op]) -> Option<Vec<bpf_insn>> {
    let mut places = Vec::with_capacity(ops.len());
    let mut count = 0;
    for op in ops {
        places.push(count);
        count += op.length();
    }
    let distance = |at: usize, there: usize| -> Option<i64> {
        let (from, to) = (places[at], *places.get(there)?);
        Some(i64::try_from(to).ok()? - i64::try_from(from).ok()? - 1)
    };
    let jump = |at: usize, there: usize| i16::try_from(distance(at, there)?).ok();
    let mut program = Vec::with_capacity(count);
    for (at, op) in ops.iter().enumerate() {
        let last = match *op {
            Op::Nothing => continue,
            Op::Number { to, value } => match short(value) {
                Some((class, imm)) => instruction(class | MOV, to, Operand::Immediate(imm), 0),
                None => {
                    let [low, high] = halves(value);
                    program.push(plain(LOAD_IMMEDIATE_64, to, 0, 0, low));
                    plain(0, 0, 0, 0, high)
                }
            },
            Op::Address { halves, .. } => {
                program.push(halves[0]);
                halves[1]
            }
            Op::Alu {
                wide,
                operation,
                to,
                operand,
            } => {
                let class = if wide { ALU64 } else { ALU };
                instruction(class | operation, to, operand, 0)
            }
            Op::Odd { instruction, .. } | Op::Call { instruction } => instruction,
            Op::Load {
                size,
                to,
                base,
                off,
            } => plain(LDX | MEMORY | access_of_size(size), to, base, off, 0),
            Op::Store {
                size,
                base,
                off,
                operand,
            } => {
                let code = MEMORY | access_of_size(size);
                match operand {
                    Operand::Register(from) => plain(STX | code, base, from, off, 0),
                    Operand::Immediate(imm) => plain(ST | code, base, 0, off, imm),
                }
            }
            Op::Jump { there } => plain(JMP | JA, 0, 0, jump(at, there)?, 0),
            Op::Branch {
                wide,
                operation,
                first,
                second,
                there,
            } => {
                let class = if wide { JMP } else { JMP32 };
                instruction(class | operation, first, second, jump(at, there)?)
            }
            Op::CallFunction { there } => {
                let distance = i32::try_from(distance(at, there)?).ok()?;
                plain(JMP | CALL, 0, usize::from(PSEUDO_CALL), 0, distance)
            }
            Op::Exit => plain(JMP | EXIT, 0, 0, 0, 0),
        };
        program.push(last);
    }
    Some(program)
}

/// The two immediates of a 64-bit number.
pub fn halves(value: u64) -> [i32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    [value as u32, (value >> 32) as u32].map(u32::cast_signed)
}

/// The value an arithmetic operation gives for known operands; `None` for one that is not known.
pub fn compute(wide: bool, operation: u8, first: u64, second: u64) -> Option<u64> {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (first, second) = (cut(first), cut(second));
    let bits = if wide { 63 } else { 31 };
    #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
    let shift = (second & bits) as u32;
    Some(cut(match operation {
        ADD => first.wrapping_add(second),
        SUB => first.wrapping_sub(second),
        0x20 => first.wrapping_mul(second),
        0x40 => first | second,
        0x50 => first & second,
        0x60 => first << shift,
        0x70 => first >> shift,
        NEG => first.wrapping_neg(),
        0xa0 => first ^ second,
        MOV => second,
        _ => return None,
    }))
}

/// Whether the verifier takes a number as the second operand: it refuses shifts by more bits than
/// there are and divisions by zero, where a register may hold such a number.
pub const fn allows(wide: bool, operation: u8, number: u64) -> bool {
    match operation {
        0x60 | 0x70 | 0xc0 => number < if wide { 64 } else { 32 },
        0x30 | 0x90 => number != 0,
        _ => true,
    }
}

/// Whether a branch with known operands is taken; `None` for one that is not known.
pub fn decide(wide: bool, operation: u8, first: u64, second: u64) -> Option<bool> {
    let (a, b, signed_a, signed_b) = if wide {
        (first, second, first.cast_signed(), second.cast_signed())
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half is compared"
        )]
        let (a, b) = (first as u32, second as u32);
        let signed = |half: u32| i64::from(half.cast_signed());
        (u64::from(a), u64::from(b), signed(a), signed(b))
    };
    Some(match operation {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => signed_a > signed_b,
        0x70 => signed_a >= signed_b,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => signed_a < signed_b,
        0xd0 => signed_a <= signed_b,
        _ => return None,
    })
}
