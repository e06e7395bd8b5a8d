//! The flow of values through a program, along all its ways.

use std::collections::BTreeSet;

use super::{
    code::{Op, decide},
    frame::{Frame, helper},
    state::State,
    value::{Value, Words, arithmetic},
};

/// What an operation does to stack memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    /// Words that it may read.
    pub reads: Words,
    /// Words that it writes, if that is all it does.
    pub writes: Option<Words>,
    /// It leaves nothing of them.
    pub whole: bool,
}

/// The flow through a program.
pub struct Flow {
    /// Before each operation that something jumps to or that follows a branch, and at the starts
    /// of functions.
    starts: Vec<Option<Box<State>>>,
    /// The function each operation belongs to, by its first operation.
    functions: Vec<usize>,
    /// Of each function, by its first operation.
    frames: Vec<Frame>,
    /// Operations that may run more than once.
    repeated: Vec<bool>,
}

/// Blocks to go through, those first that no other of them leads to (but in loops), so that what
/// arrives at a block has all arrived before it is gone through.
struct Waiting {
    ranks: Vec<usize>,
    blocks: BTreeSet<(usize, usize)>,
}

impl Waiting {
    fn push(&mut self, at: usize) {
        self.blocks.insert((self.ranks[at], at));
    }

    fn pop(&mut self) -> Option<usize> {
        self.blocks.pop_first().map(|(_, at)| at)
    }
}

impl Flow {
    /// `None` when a way leads out of the program.
    pub fn of(ops: &[Op]) -> Option<Self> {
        let mut flow = Self {
            starts: vec![None; ops.len()],
            functions: vec![0; ops.len()],
            frames: vec![Frame::default(); ops.len()],
            repeated: Vec::new(),
        };
        let leaders = leaders(ops);
        let ranks = ranks(ops)?;
        flow.repeated = repeated(ops, &ranks);
        let mut waiting = Waiting {
            ranks,
            blocks: BTreeSet::new(),
        };
        // Each round starts from what the last found to be exposed; it only becomes more.
        while flow.round(ops, &leaders, &mut waiting)? {
            flow.starts.fill(None);
        }
        Some(flow)
    }

    /// Follows all ways; whether more is exposed than was assumed.
    fn round(&mut self, ops: &[Op], leaders: &[bool], waiting: &mut Waiting) -> Option<bool> {
        let before = self.frames.clone();
        waiting.push(0);
        self.starts[0] = Some(Box::new(State::start(0)));
        self.functions[0] = 0;
        while let Some(start) = waiting.pop() {
            let function = self.functions[start];
            let mut state = self.start(start)?;
            let mut at = start;
            loop {
                let op = ops.get(at)?;
                self.frames[function].expose(op, &state);
                if let Op::CallFunction { there } = *op {
                    let mut inner = State::start(there);
                    for register in 1..=5 {
                        if let number @ Value::Number(_) = state.register(register) {
                            inner.set(register, number);
                        }
                    }
                    self.arrive(there, &inner, there, waiting)?;
                }
                let branch = branch(op, &state);
                self.apply(op, at, function, &mut state);
                match (*op, branch) {
                    (Op::Exit, _) => break,
                    (Op::Jump { there }, _) | (Op::Branch { there, .. }, Some(true)) => {
                        self.arrive(there, &state, function, waiting)?;
                        break;
                    }
                    (Op::Branch { there, .. }, None) => {
                        self.arrive(there, &state, function, waiting)?;
                    }
                    _ => {}
                }
                at += 1;
                if *leaders.get(at)? {
                    self.arrive(at, &state, function, waiting)?;
                    break;
                }
            }
        }
        Some(self.frames != before)
    }

    fn arrive(
        &mut self,
        at: usize,
        state: &State,
        function: usize,
        waiting: &mut Waiting,
    ) -> Option<()> {
        match self.starts.get_mut(at)? {
            Some(known) => {
                let (changed, mixed) = known.meet(state, at);
                self.frames[function].reached |= mixed;
                if changed {
                    waiting.push(at);
                }
            }
            place => {
                *place = Some(Box::new(state.clone()));
                self.functions[at] = function;
                waiting.push(at);
            }
        }
        Some(())
    }

    /// What is known where a block starts; `None` where none ever comes.
    pub fn start(&self, at: usize) -> Option<State> {
        self.starts[at].as_deref().cloned()
    }

    /// The function that a block belongs to.
    pub fn function(&self, at: usize) -> usize {
        self.functions[at]
    }

    /// Runs an operation, and says what it does to stack memory.
    pub fn apply(&self, op: &Op, at: usize, function: usize, state: &mut State) -> Effect {
        let frame = self.frames[function];
        let mut effect = Effect::default();
        let result = match *op {
            Op::Number { to, value } => Some((to, Value::Number(value))),
            Op::Address { to, .. } => Some((to, Value::result(at, false))),
            Op::Odd { to, .. } => Some((to, Value::result(at, state.register(to).may_be_frame()))),
            Op::Alu {
                wide,
                operation,
                to,
                operand,
            } => {
                let (first, second) = (state.register(to), state.operand(operand));
                Some((to, arithmetic(wide, operation, first, second, at)))
            }
            Op::Load {
                size,
                to,
                base,
                off,
            } => {
                let base = state.register(base).plus(i64::from(off).cast_unsigned());
                effect.reads = frame.words(base, i64::from(size));
                let value = base
                    .in_frame()
                    .and_then(|offset| state.loaded(offset, size));
                let may_be_frame = size == 8 && effect.reads.meets(frame.pointers);
                Some((to, value.unwrap_or(Value::result(at, may_be_frame))))
            }
            Op::Store {
                size,
                base,
                off,
                operand,
            } => {
                let value = state.operand(operand);
                let base = state.register(base).plus(i64::from(off).cast_unsigned());
                match base.in_frame() {
                    Some(offset) => {
                        state.store(offset, size, value);
                        effect.writes = Some(Words::of(offset, i64::from(size)));
                        effect.whole = size == 8 && offset % 8 == 0;
                    }
                    None => state.forget(frame.words(base, i64::from(size))),
                }
                None
            }
            Op::Call { instruction } => {
                let (arguments, only_reads) = helper(instruction.imm, instruction.src_reg());
                effect.reads = frame.passed(state, arguments);
                if !only_reads {
                    state.forget(effect.reads);
                }
                Some((0, Value::result(at, false)))
            }
            Op::CallFunction { .. } => {
                effect.reads = frame.in_reach_of_callee(state);
                state.forget(effect.reads);
                Some((0, Value::result(at, effect.reads != Words::default())))
            }
            Op::Jump { .. } | Op::Branch { .. } | Op::Exit | Op::Nothing => None,
        };
        if let Some((to, value)) = result {
            let is_new = value == Value::result(at, false) || value == Value::result(at, true);
            if is_new && self.repeated[at] {
                state.outdate(at);
            }
            state.set(to, value);
        }
        if matches!(op, Op::Call { .. } | Op::CallFunction { .. }) {
            for register in 1..=5 {
                // What is left there cannot be used.
                state.set(usize::from(register), Value::made(at, register, false));
            }
        }
        effect
    }
}

/// A number for each operation, lower than the numbers of those it leads to (but in loops). `None`
/// when a way leads out of the program.
fn ranks(ops: &[Op]) -> Option<Vec<usize>> {
    let mut ranks = vec![usize::MAX; ops.len()];
    let mut seen = vec![false; ops.len()];
    let mut next = ops.len();
    let mut open = vec![(0, 0)];
    while let Some((at, step)) = open.last_mut() {
        seen[*at] = true;
        if let Some(there) = leads_to(ops, *at).nth(*step) {
            *step += 1;
            if !*seen.get(there)? {
                open.push((there, 0));
            }
        } else {
            next -= 1;
            ranks[*at] = next;
            open.pop();
        }
    }
    Some(ranks)
}

/// Which operations may run more than once, and some more: on a way back to a lower number all
/// numbers between are passed or jumped over.
fn repeated(ops: &[Op], ranks: &[usize]) -> Vec<bool> {
    // By number: how many ways back begin to pass over it less how many cease to.
    let mut steps = vec![0_isize; ops.len() + 1];
    for (at, rank) in ranks
        .iter()
        .enumerate()
        .filter(|(_, rank)| **rank < ops.len())
    {
        for there in leads_to(ops, at).filter(|there| ranks[*there] <= *rank) {
            steps[ranks[there]] += 1;
            steps[rank + 1] -= 1;
        }
    }
    let over: Vec<isize> = steps
        .iter()
        .scan(0, |over, step| {
            *over += step;
            Some(*over)
        })
        .collect();
    ranks
        .iter()
        .map(|rank| over.get(*rank).is_some_and(|over| *over > 0))
        .collect()
}

/// Where an operation leads to.
fn leads_to(ops: &[Op], at: usize) -> impl Iterator<Item = usize> {
    let (there, next) = match ops[at] {
        Op::Jump { there } => (Some(there), None),
        Op::Branch { there, .. } | Op::CallFunction { there } => (Some(there), Some(at + 1)),
        Op::Exit => (None, None),
        _ => (None, Some(at + 1)),
    };
    there.into_iter().chain(next)
}

/// Operations at which a block starts.
pub fn leaders(ops: &[Op]) -> Vec<bool> {
    let mut leaders = vec![false; ops.len() + 1];
    leaders[0] = true;
    for (at, op) in ops.iter().enumerate() {
        match *op {
            Op::Jump { there } | Op::Branch { there, .. } => {
                leaders[there] = true;
                leaders[at + 1] = true;
            }
            Op::CallFunction { there } => leaders[there] = true,
            Op::Exit => leaders[at + 1] = true,
            _ => {}
        }
    }
    leaders
}

/// Where a branch goes, if that is known.
pub fn branch(op: &Op, state: &State) -> Option<bool> {
    let Op::Branch {
        wide,
        operation,
        first,
        second,
        ..
    } = *op
    else {
        return None;
    };
    match (state.register(first), state.operand(second)) {
        (Value::Number(first), Value::Number(second)) => decide(wide, operation, first, second),
        _ => None,
    }
}
