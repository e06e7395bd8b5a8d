//! The same with less: operations replaced by cheaper ones that give the same values.

use super::{
    code::{ADD, FRAME, MOV, Op, Operand, SUB, allows, short},
    flow::{Effect, Flow, branch, leaders},
    state::State,
    value::{Value, arithmetic},
};

/// How far an offset is moved into a load or store; the verifier wants it small.
const FAR: i64 = 4096;

/// Replaces what can be; what each operation does to stack memory. Operations that never run become
/// nothing.
pub fn rewrite(ops: &mut [Op], flow: &Flow) -> Vec<Effect> {
    let mut effects = vec![Effect::default(); ops.len()];
    let leaders = leaders(ops);
    let mut now: Option<(State, usize)> = None;
    for at in 0..ops.len() {
        if leaders[at] {
            now = flow.start(at).map(|state| (state, flow.function(at)));
        }
        let Some((state, function)) = &mut now else {
            ops[at] = Op::Nothing;
            continue;
        };
        if let Some(better) = improved(ops[at], state, ops) {
            ops[at] = better;
        }
        effects[at] = flow.apply(&ops[at], at, *function, state);
        if matches!(ops[at], Op::Jump { .. } | Op::Exit) {
            now = None;
        }
    }
    effects
}

/// What gives the same for less, if there is something.
fn improved(op: Op, state: &State, ops: &[Op]) -> Option<Op> {
    match op {
        Op::Alu {
            wide,
            operation,
            to,
            operand,
        } => {
            let (first, second) = (state.register(to), state.operand(operand));
            if wide && gives_first(operation, operand, first, second) {
                return Some(Op::Nothing);
            }
            let moves_immediate = operation == MOV && matches!(operand, Operand::Immediate(_));
            if !moves_immediate
                && let Value::Number(value) = arithmetic(wide, operation, first, second, 0)
                && short(value).is_some()
            {
                return Some(Op::Number { to, value });
            }
            let simpler = simpler(operand, wide, state, ops)?;
            if let Operand::Immediate(_) = simpler
                && let Value::Number(number) = second
                && !allows(wide, operation, number)
            {
                return None;
            }
            Some(Op::Alu {
                wide,
                operation,
                to,
                operand: simpler,
            })
        }
        Op::Load {
            size,
            to,
            base,
            off,
        } => {
            let address = state.register(base);
            if let Some(offset) = address.in_frame()
                && let Some(value) = state.loaded(offset + i64::from(off), size)
            {
                if let Value::Number(value) = value {
                    return Some(Op::Number { to, value });
                }
                if let Some(from) = holder(value, state, ops) {
                    return Some(Op::Alu {
                        wide: true,
                        operation: MOV,
                        to,
                        operand: Operand::Register(from),
                    });
                }
            }
            let (base, off) = nearer(base, off, state, ops)?;
            Some(Op::Load {
                size,
                to,
                base,
                off,
            })
        }
        Op::Store {
            size,
            base,
            off,
            operand,
        } => {
            let operand_better = simpler(operand, size == 8, state, ops);
            let place = nearer(base, off, state, ops);
            if operand_better.is_none() && place.is_none() {
                return None;
            }
            let (base, off) = place.unwrap_or((base, off));
            Some(Op::Store {
                size,
                base,
                off,
                operand: operand_better.unwrap_or(operand),
            })
        }
        Op::Branch {
            wide,
            operation,
            first,
            second,
            there,
        } => match branch(&op, state) {
            Some(true) => Some(Op::Jump { there }),
            Some(false) => Some(Op::Nothing),
            None => {
                let better = simpler(second, wide, state, ops);
                let first_better = original(first, state, ops);
                if better.is_none() && first_better.is_none() {
                    return None;
                }
                Some(Op::Branch {
                    wide,
                    operation,
                    first: first_better.unwrap_or(first),
                    second: better.unwrap_or(second),
                    there,
                })
            }
        },
        _ => None,
    }
}

/// Whether an operation leaves its register as it is.
fn gives_first(operation: u8, operand: Operand, first: Value, second: Value) -> bool {
    match operation {
        MOV => matches!(operand, Operand::Register(_)) && first == second,
        ADD | SUB => second == Value::Number(0),
        _ => false,
    }
}

/// An immediate in place of a register with a number in it, or the register that a value was made
/// in, in place of one that it was copied to.
fn simpler(operand: Operand, wide: bool, state: &State, ops: &[Op]) -> Option<Operand> {
    let Operand::Register(register) = operand else {
        return None;
    };
    if let Value::Number(number) = state.register(register) {
        #[expect(clippy::cast_possible_truncation, reason = "compared with the whole")]
        let imm = number as i32;
        let fits = !wide || i64::from(imm).cast_unsigned() == number;
        return fits.then_some(Operand::Immediate(imm));
    }
    original(register, state, ops).map(Operand::Register)
}

/// The register that a register's value was made in, if it is another and the value is still there.
fn original(register: usize, state: &State, ops: &[Op]) -> Option<usize> {
    let value = state.register(register);
    let made_in = result_of(&ops[value.maker()?])?;
    (made_in != register && state.register(made_in) == value).then_some(made_in)
}

/// The register that an operation puts its result in.
pub fn result_of(op: &Op) -> Option<usize> {
    match *op {
        Op::Number { to, .. }
        | Op::Address { to, .. }
        | Op::Odd { to, .. }
        | Op::Alu { to, .. }
        | Op::Load { to, .. } => Some(to),
        Op::Call { .. } | Op::CallFunction { .. } => Some(0),
        Op::Store { .. } | Op::Jump { .. } | Op::Branch { .. } | Op::Exit | Op::Nothing => None,
    }
}

/// A register with a value: the one it was made in, if possible.
fn holder(value: Value, state: &State, ops: &[Op]) -> Option<usize> {
    let made_in = value.maker().and_then(|maker| result_of(&ops[maker]));
    let mut holders = state
        .registers()
        .filter(|(_, held)| *held == value)
        .map(|(register, _)| register);
    let first = holders.next()?;
    made_in
        .filter(|made_in| *made_in == first || holders.any(|holder| holder == *made_in))
        .or(Some(first))
}

/// A base register nearer to the root of an address, with the offset from there.
fn nearer(base: usize, off: i16, state: &State, ops: &[Op]) -> Option<(usize, i16)> {
    let Value::Offset(root, distance) = state.register(base) else {
        return None;
    };
    let made_in = Value::Offset(root, 0)
        .maker()
        .and_then(|maker| result_of(&ops[maker]));
    let moved = |from: i64| {
        let off = i64::from(off) + distance - from;
        (off.abs() < FAR).then(|| i16::try_from(off).ok()).flatten()
    };
    // Near first; then the register it was made in, which lives longest; then as it is.
    let rank = |register: usize, from: i64| {
        let is_copy = Some(register) != made_in && register != FRAME;
        (from.abs(), is_copy, register != base)
    };
    let (nearest, register, off) = state
        .registers()
        .filter_map(|(register, value)| match value {
            Value::Offset(held, from) if held == root => {
                Some((rank(register, from), register, moved(from)?))
            }
            _ => None,
        })
        .min()?;
    (nearest < rank(base, distance)).then_some((register, off))
}
