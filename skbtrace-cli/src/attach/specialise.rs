//! Specialising: a program without the code that this run, or this function, does not need.
//!
//! One image serves every filter, every way to attach and every kernel, so most of it is dead once
//! the constants are in place. The verifier would find that out too, but it copies, checks and
//! patches the whole image first, once for each hook; on a kernel side with a hundred hooks that
//! is most of the start. Here it takes one pass of constant propagation, one of liveness, and a
//! compaction.
//!
//! **Invariant:** the result does what the program does. What is not understood is kept; a program
//! with an instruction of an unknown kind is returned as it is.

use std::collections::BTreeMap;

use aya_obj::generated::bpf_insn;

const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

const LOAD_IMMEDIATE_64: u8 = 0x18;
/// Eight bytes from or to memory (`BPF_MEM | BPF_DW`).
const LOAD_8: u8 = 0x79;
const STORE_8: u8 = 0x7b;
const STORE_IMMEDIATE_8: u8 = 0x7a;

const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const MOV: u8 = 0xb0;
/// The second operand is a register (`BPF_X`).
const REGISTER: u8 = 0x08;
/// `BPF_PSEUDO_CALL`, of a function in the same program; `BPF_PSEUDO_FUNC`, its address.
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;

const REGISTERS: usize = 11;
const FRAME: usize = 10;

/// Removes what can never run and what computes for nobody. `unknown` says which 64-bit immediates
/// are placeholders, about which nothing may be assumed.
pub fn specialise(program: &[bpf_insn], unknown: impl Fn(u64) -> bool) -> Vec<bpf_insn> {
    let Some(flow) = Flow::of(program, &unknown) else {
        return program.to_vec();
    };
    flow.compact()
}

/// What is known when an instruction is about to run.
#[derive(Clone, PartialEq, Eq)]
struct State {
    registers: [Option<u64>; REGISTERS],
    /// Constants that were spilled, by offset from the frame pointer.
    spilled: BTreeMap<i16, u64>,
}

impl State {
    const fn nothing() -> Self {
        Self {
            registers: [None; REGISTERS],
            spilled: BTreeMap::new(),
        }
    }

    /// Keeps what both know; whether that is less than it was.
    fn meet(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            if *mine != theirs {
                *mine = None;
            }
        }
        self.spilled
            .retain(|slot, value| other.spilled.get(slot) == Some(value));
        *self != before
    }
}

/// A program with what constant propagation found out.
struct Flow<'a> {
    program: &'a [bpf_insn],
    /// Before each instruction; `None` where none ever comes.
    states: Vec<Option<State>>,
    /// The lowest offset from the frame pointer whose address is taken: below it, stack memory is
    /// changed by direct stores only.
    taken: i16,
}

/// Where a conditional jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    Always,
    Never,
    Either,
}

fn class(instruction: &bpf_insn) -> u8 {
    instruction.code & 7
}

fn operation(instruction: &bpf_insn) -> u8 {
    instruction.code & 0xf0
}

fn is_jump(instruction: &bpf_insn) -> bool {
    matches!(class(instruction), JMP | JMP32) && !matches!(operation(instruction), CALL | EXIT)
}

fn is_internal_call(instruction: &bpf_insn) -> bool {
    instruction.code == JMP | CALL && instruction.src_reg() == PSEUDO_CALL
}

fn target(at: usize, distance: i64) -> Option<usize> {
    usize::try_from(i64::try_from(at).ok()? + 1 + distance).ok()
}

fn destination(instruction: &bpf_insn) -> usize {
    usize::from(instruction.dst_reg())
}

fn source(instruction: &bpf_insn) -> usize {
    usize::from(instruction.src_reg())
}

fn sign_extended(imm: i32) -> u64 {
    i64::from(imm).cast_unsigned()
}

impl<'a> Flow<'a> {
    fn of(program: &'a [bpf_insn], unknown: &impl Fn(u64) -> bool) -> Option<Self> {
        let mut flow = Self {
            program,
            states: vec![None; program.len()],
            taken: lowest_taken(program),
        };
        if program.iter().any(is_beyond) {
            return None;
        }
        let mut waiting = vec![(0, State::nothing())];
        while let Some((at, state)) = waiting.pop() {
            let state = match flow.states.get_mut(at)? {
                Some(known) => {
                    if !known.meet(&state) {
                        continue;
                    }
                    known.clone()
                }
                place => place.insert(state).clone(),
            };
            flow.run(at, state, unknown, &mut waiting)?;
        }
        Some(flow)
    }

    /// Runs one instruction; what follows it is put into `next`. `None` when it leads out of the
    /// program.
    fn run(
        &self,
        at: usize,
        mut state: State,
        unknown: &impl Fn(u64) -> bool,
        next: &mut Vec<(usize, State)>,
    ) -> Option<()> {
        let instruction = &self.program[at];
        let to = destination(instruction);
        match class(instruction) {
            LD if instruction.code == LOAD_IMMEDIATE_64 => {
                let second = self.program.get(at + 1)?;
                let number = u64::from(instruction.imm.cast_unsigned())
                    | u64::from(second.imm.cast_unsigned()) << 32;
                let is_number = instruction.src_reg() == 0 && !unknown(number);
                state.registers[to] = is_number.then_some(number);
                next.push((at + 2, state));
                return Some(());
            }
            ALU | ALU64 => state.registers[to] = compute(instruction, &state),
            LDX => {
                let slot = (instruction.code == LOAD_8 && source(instruction) == FRAME)
                    .then(|| state.spilled.get(&instruction.off).copied());
                state.registers[to] = slot.flatten();
            }
            ST | STX => self.store(instruction, &mut state),
            _ => {}
        }
        if matches!(class(instruction), JMP | JMP32) {
            match operation(instruction) {
                EXIT => return Some(()),
                CALL => {
                    if is_internal_call(instruction) {
                        let mut inner = State::nothing();
                        inner.registers[1..=5].copy_from_slice(&state.registers[1..=5]);
                        next.push((target(at, i64::from(instruction.imm))?, inner));
                    }
                    state.registers[..=5].fill(None);
                }
                _ => {
                    let there = target(at, i64::from(instruction.off))?;
                    match branch(instruction, &state) {
                        Branch::Always => next.push((there, state)),
                        Branch::Never => next.push((at + 1, state)),
                        Branch::Either => {
                            next.push((there, state.clone()));
                            next.push((at + 1, state));
                        }
                    }
                    return Some(());
                }
            }
        }
        next.push((at + 1, state));
        Some(())
    }

    fn store(&self, instruction: &bpf_insn, state: &mut State) {
        if destination(instruction) != FRAME {
            // Through a pointer: reaches no stack memory whose address is not taken.
            if instruction.code & 0xe0 == 0xc0 {
                // An atomic operation may give back what was there.
                state.registers[0] = None;
                state.registers[source(instruction)] = None;
            }
            return;
        }
        // Slots that overlap it are no longer what they were.
        let at = instruction.off;
        state
            .spilled
            .retain(|slot, _| i32::from(*slot).abs_diff(i32::from(at)) >= 8);
        let value = match instruction.code {
            STORE_8 => state.registers[source(instruction)],
            STORE_IMMEDIATE_8 => Some(sign_extended(instruction.imm)),
            _ => None,
        };
        if let Some(value) = value
            && at.saturating_add(8) <= self.taken
        {
            state.spilled.insert(at, value);
        }
    }

    fn branch_at(&self, at: usize) -> Branch {
        self.states[at]
            .as_ref()
            .map_or(Branch::Either, |state| branch(&self.program[at], state))
    }

    /// The instructions that follow one.
    fn next(&self, at: usize) -> [Option<usize>; 2] {
        let instruction = &self.program[at];
        if instruction.code == LOAD_IMMEDIATE_64 {
            return [Some(at + 2), None];
        }
        if is_jump(instruction) {
            let there = target(at, i64::from(instruction.off));
            return match self.branch_at(at) {
                Branch::Always => [there, None],
                Branch::Never => [Some(at + 1), None],
                Branch::Either => [Some(at + 1), there],
            };
        }
        if instruction.code == JMP | EXIT {
            return [None, None];
        }
        [Some(at + 1), None]
    }

    /// Which registers are still wanted after each instruction, as bits: wanted by what has an
    /// effect, or by what computes for that.
    fn wanted(&self) -> Vec<u16> {
        let mut before = vec![0_u16; self.program.len() + 1];
        let mut after = vec![0_u16; self.program.len()];
        loop {
            let mut changed = false;
            for at in (0..self.program.len()).rev() {
                if self.states[at].is_none() {
                    continue;
                }
                let wanted = self
                    .next(at)
                    .into_iter()
                    .flatten()
                    .filter_map(|next| before.get(next))
                    .fold(0, |wanted, next| wanted | next);
                after[at] = wanted;
                let here = self.wanted_before(at, wanted);
                changed |= before[at] != here;
                before[at] = here;
            }
            if !changed {
                return after;
            }
        }
    }

    fn wanted_before(&self, at: usize, after: u16) -> u16 {
        let instruction = &self.program[at];
        let bit = |register: usize| 1_u16 << register;
        let (to, from) = (bit(destination(instruction)), bit(source(instruction)));
        let second = if instruction.code & REGISTER == 0 {
            0
        } else {
            from
        };
        match class(instruction) {
            _ if computes_only(instruction) && after & to == 0 => after,
            LD => after & !to,
            ALU | ALU64 if operation(instruction) == MOV => after & !to | second,
            ALU | ALU64 => after | to | second,
            LDX => after & !to | from,
            ST => after | to,
            STX => after | to | from,
            _ => match operation(instruction) {
                EXIT => bit(0),
                CALL => after & !0x3f | 0x3e,
                JA => after,
                _ if self.branch_at(at) == Branch::Either => after | to | second,
                _ => after,
            },
        }
    }

    fn compact(&self) -> Vec<bpf_insn> {
        let wanted = self.wanted();
        let length = self.program.len();
        let mut kept: Vec<bool> = (0..length)
            .map(|at| {
                let instruction = &self.program[at];
                self.states[at].is_some()
                    && !(computes_only(instruction)
                        && wanted[at] & 1 << destination(instruction) == 0)
                    && !(is_jump(instruction) && self.branch_at(at) == Branch::Never)
            })
            .collect();
        // A jump over nothing. From the end, so that what lies between has been decided.
        for at in (0..length).rev() {
            let instruction = &self.program[at];
            if kept[at]
                && is_jump(instruction)
                && self.branch_at(at) == Branch::Always
                && let Some(there) = target(at, i64::from(instruction.off))
                && there > at
                && !kept[at + 1..there].contains(&true)
            {
                kept[at] = false;
            }
        }
        // The second half of a 64-bit immediate goes with the first.
        for at in 0..length {
            if kept[at] && self.program[at].code == LOAD_IMMEDIATE_64 {
                kept[at + 1] = true;
            }
        }
        let mut place = Vec::with_capacity(length + 1);
        let mut count = 0_i64;
        for kept in &kept {
            place.push(count);
            count += i64::from(*kept);
        }
        place.push(count);

        let mut result = Vec::new();
        for at in 0..length {
            if !kept[at] {
                continue;
            }
            let mut instruction = self.program[at];
            let moved = |distance: i64| {
                let there = target(at, distance).and_then(|there| place.get(there));
                there.map_or(0, |there| there - place[at] - 1)
            };
            if is_internal_call(&instruction) {
                let distance = moved(i64::from(instruction.imm));
                instruction.imm = i32::try_from(distance).unwrap_or_default();
            } else if is_jump(&instruction) && self.states[at].is_some() {
                if self.branch_at(at) == Branch::Always {
                    instruction.code = JMP | JA;
                    instruction.set_dst_reg(0);
                    instruction.set_src_reg(0);
                    instruction.imm = 0;
                }
                let distance = moved(i64::from(instruction.off));
                instruction.off = i16::try_from(distance).unwrap_or_default();
            }
            result.push(instruction);
        }
        result
    }
}

/// What this module does not know: then nothing is changed.
fn is_beyond(instruction: &bpf_insn) -> bool {
    let is_function = instruction.code == LOAD_IMMEDIATE_64 && instruction.src_reg() == PSEUDO_FUNC;
    // Long jumps (JMP32 | JA, since 6.5), and jumps that may not be taken (0xe0, since 6.9).
    let is_jump = matches!(class(instruction), JMP | JMP32)
        && (operation(instruction) > 0xd0 || instruction.code == JMP32 | JA);
    let is_out_of_range = destination(instruction) >= REGISTERS || source(instruction) >= REGISTERS;
    is_function || is_jump || is_out_of_range
}

/// The lowest offset from the frame pointer whose address is computed.
fn lowest_taken(program: &[bpf_insn]) -> i16 {
    let mut lowest = 0;
    for (at, instruction) in program.iter().enumerate() {
        let copies_frame = class(instruction) == ALU64
            && operation(instruction) == MOV
            && instruction.code & REGISTER != 0
            && source(instruction) == FRAME;
        if !copies_frame {
            // Stored or passed on as it is, it may be used for anything.
            let escapes = class(instruction) == STX && source(instruction) == FRAME;
            if escapes {
                return i16::MIN;
            }
            continue;
        }
        let offset = program
            .get(at + 1)
            .filter(|next| next.code == ALU64 && destination(next) == destination(instruction));
        match offset.and_then(|add| i16::try_from(add.imm).ok()) {
            Some(offset) => lowest = lowest.min(offset),
            None => return i16::MIN,
        }
    }
    lowest
}

/// Whether an instruction does nothing but give its destination a value.
fn computes_only(instruction: &bpf_insn) -> bool {
    match class(instruction) {
        LD => instruction.code == LOAD_IMMEDIATE_64,
        ALU | ALU64 => true,
        LDX => source(instruction) == FRAME,
        _ => false,
    }
}

/// The value an arithmetic instruction gives, if its operands are known.
fn compute(instruction: &bpf_insn, state: &State) -> Option<u64> {
    let second = if instruction.code & REGISTER == 0 {
        Some(sign_extended(instruction.imm))
    } else {
        state.registers[source(instruction)]
    };
    let wide = class(instruction) == ALU64;
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let bits = if wide { 63 } else { 31 };
    // Moves with sign extension (since 6.6) use the offset.
    if instruction.off != 0 {
        return None;
    }
    if operation(instruction) == MOV {
        return second.map(cut);
    }
    let first = cut(state.registers[destination(instruction)]?);
    if operation(instruction) == 0x80 {
        return Some(cut(first.wrapping_neg()));
    }
    let second = cut(second?);
    #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
    let shift = (second & bits) as u32;
    Some(cut(match operation(instruction) {
        0x00 => first.wrapping_add(second),
        0x10 => first.wrapping_sub(second),
        0x20 => first.wrapping_mul(second),
        0x40 => first | second,
        0x50 => first & second,
        0x60 => first << shift,
        0x70 => first >> shift,
        0xa0 => first ^ second,
        _ => return None,
    }))
}

/// Where a jump goes, as far as its operands are known.
fn branch(instruction: &bpf_insn, state: &State) -> Branch {
    if operation(instruction) == JA {
        return Branch::Always;
    }
    let second = if instruction.code & REGISTER == 0 {
        Some(sign_extended(instruction.imm))
    } else {
        state.registers[source(instruction)]
    };
    let (Some(first), Some(second)) = (state.registers[destination(instruction)], second) else {
        return Branch::Either;
    };
    let (a, b, signed_a, signed_b) = if class(instruction) == JMP32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half is compared"
        )]
        let (a, b) = (first as u32, second as u32);
        (
            u64::from(a),
            u64::from(b),
            i64::from(a.cast_signed()),
            i64::from(b.cast_signed()),
        )
    } else {
        (first, second, first.cast_signed(), second.cast_signed())
    };
    let taken = match operation(instruction) {
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
        _ => return Branch::Either,
    };
    if taken { Branch::Always } else { Branch::Never }
}

#[cfg(test)]
mod tests;
