//! What is computed for nobody.

use super::{
    code::{MOV, Op, Operand},
    flow::Effect,
    rewrite::result_of,
};

/// Registers and words of the stack whose values are still wanted, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    registers: u16,
    words: u64,
}

/// Removes operations whose results nobody wants.
pub fn remove_unwanted(ops: &mut [Op], effects: &[Effect]) {
    let mut before = vec![Wanted::default(); ops.len() + 1];
    loop {
        let mut changed = false;
        for at in (0..ops.len()).rev() {
            let after = after(ops, at, &before);
            let here = wanted(&ops[at], &effects[at], after);
            changed |= before[at] != here;
            before[at] = here;
        }
        if !changed {
            break;
        }
    }
    for at in 0..ops.len() {
        if is_unwanted(&ops[at], &effects[at], after(ops, at, &before)) {
            ops[at] = Op::Nothing;
        }
    }
}

fn after(ops: &[Op], at: usize, before: &[Wanted]) -> Wanted {
    let both = |a: Wanted, b: Wanted| Wanted {
        registers: a.registers | b.registers,
        words: a.words | b.words,
    };
    match ops[at] {
        Op::Jump { there } => before[there],
        Op::Branch { there, .. } => both(before[there], before[at + 1]),
        Op::Exit => Wanted::default(),
        _ => before[at + 1],
    }
}

const fn bit(register: usize) -> u16 {
    1 << register
}

fn is_unwanted(op: &Op, effect: &Effect, after: Wanted) -> bool {
    match op {
        Op::Number { .. }
        | Op::Address { .. }
        | Op::Odd { .. }
        | Op::Alu { .. }
        | Op::Load { .. } => result_of(op).is_some_and(|to| after.registers & bit(to) == 0),
        Op::Store { .. } => effect
            .writes
            .is_some_and(|words| words.0 & after.words == 0),
        _ => false,
    }
}

fn wanted(op: &Op, effect: &Effect, after: Wanted) -> Wanted {
    if is_unwanted(op, effect, after) {
        return after;
    }
    let of = |operand: Operand| match operand {
        Operand::Register(register) => bit(register),
        Operand::Immediate(_) => 0,
    };
    let registers = after.registers;
    let registers = match *op {
        Op::Number { to, .. } | Op::Address { to, .. } => registers & !bit(to),
        Op::Odd { to, instruction } => {
            registers | bit(to) | bit(usize::from(instruction.src_reg()))
        }
        Op::Alu {
            operation: MOV,
            to,
            operand,
            ..
        } => registers & !bit(to) | of(operand),
        Op::Alu { to, operand, .. } => registers | bit(to) | of(operand),
        Op::Load { to, base, .. } => registers & !bit(to) | bit(base),
        Op::Store { base, operand, .. } => registers | bit(base) | of(operand),
        Op::Branch { first, second, .. } => registers | bit(first) | of(second),
        // Five registers may be arguments.
        Op::Call { .. } | Op::CallFunction { .. } => registers & !0x3f | 0x3e,
        Op::Exit => bit(0),
        Op::Jump { .. } | Op::Nothing => registers,
    };
    let mut words = after.words;
    if let Some(written) = effect.writes
        && effect.whole
    {
        words &= !written.0;
    }
    Wanted {
        registers,
        words: words | effect.reads.0,
    }
}
