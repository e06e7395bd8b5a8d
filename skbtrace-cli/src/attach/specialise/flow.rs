//! What is known of registers and stack memory at each place of a program.
//!
//! A value is a number, or a distance from a root: the frame pointer, the result of an operation,
//! or whatever arrives in a register where ways meet. Equal values are equal when the program
//! runs; nothing follows from unequal ones.
//!
//! Stack memory is kept apart from all other memory by following the frame pointer: what is
//! derived from it in a way that is not understood *may* point to it, and so may what is loaded
//! from stack memory where such a pointer may have been put. No other memory holds one: the
//! verifier takes nothing from there for a pointer to the stack.

use super::code::{ADD, FRAME, MOV, Op, Operand, REGISTERS, SUB, compute, decide};

/// Eight-byte words of a frame.
const WORDS: usize = 64;
const FRAME_SIZE: i64 = 512;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Frame,
    Made {
        /// The operation.
        at: u32,
        /// What of it: its result, or a register or a word of the stack as it arrives there.
        what: u8,
        /// It may be a pointer into the frame.
        may_be_frame: bool,
    },
}

/// The result of an operation; below are registers and words.
const RESULT: u8 = u8::MAX;
/// What was a result of the operation before it ran again.
const STALE: u8 = 128;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Offset(Root, i64),
}

impl Value {
    const fn result(at: usize, may_be_frame: bool) -> Self {
        Self::made(at, RESULT, may_be_frame)
    }

    #[expect(clippy::cast_possible_truncation, reason = "programs are shorter")]
    const fn made(at: usize, what: u8, may_be_frame: bool) -> Self {
        let at = at as u32;
        let root = Root::Made {
            at,
            what,
            may_be_frame,
        };
        Self::Offset(root, 0)
    }

    /// Whether it may be a pointer into the frame.
    pub const fn may_be_frame(self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Offset(Root::Frame, _) => true,
            Self::Offset(Root::Made { may_be_frame, .. }, _) => may_be_frame,
        }
    }

    /// The offset from the frame pointer, if it is one.
    pub const fn in_frame(self) -> Option<i64> {
        match self {
            Self::Offset(Root::Frame, offset) => Some(offset),
            _ => None,
        }
    }

    /// Words that it is known to lead to, as a pointer into the frame; what is only the union of
    /// others leads to no more than they do, unless it has been moved down.
    fn leads_to(self) -> Words {
        match self {
            Self::Offset(Root::Frame, offset) => Words::of(offset, FRAME_SIZE),
            Self::Offset(_, offset) if self.may_be_frame() && offset < 0 => Words::ALL,
            _ => Words::default(),
        }
    }

    /// The operation whose result it is.
    pub const fn maker(self) -> Option<usize> {
        match self {
            Self::Offset(
                Root::Made {
                    at, what: RESULT, ..
                },
                0,
            ) => Some(at as usize),
            _ => None,
        }
    }

    fn plus(self, number: u64) -> Self {
        match self {
            Self::Number(value) => Self::Number(value.wrapping_add(number)),
            Self::Offset(root, offset) => {
                Self::Offset(root, offset.wrapping_add(number.cast_signed()))
            }
        }
    }
}

/// A set of words of the stack, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words(pub u64);

impl Words {
    const ALL: Self = Self(u64::MAX);

    /// The words that bytes at an offset from the frame pointer lie in.
    pub fn of(offset: i64, size: i64) -> Self {
        let first = (offset + FRAME_SIZE).clamp(0, FRAME_SIZE);
        let end = offset
            .saturating_add(size)
            .saturating_add(FRAME_SIZE)
            .clamp(first, FRAME_SIZE);
        let mut words = 0;
        for word in first / 8..(end + 7) / 8 {
            words |= 1 << word;
        }
        Self(words)
    }

    const fn has(self, word: usize) -> bool {
        self.0 >> word & 1 == 1
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What is known at a place.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    registers: [Value; REGISTERS],
    /// What was stored last at the start of a word, and how many bytes of it.
    words: [Option<(Value, u8)>; WORDS],
}

impl State {
    /// At the start of a function: its arguments point to no memory of its own frame.
    fn start(at: usize) -> Self {
        let mut registers = [Value::Number(0); REGISTERS];
        for (what, register) in (0..).zip(&mut registers) {
            *register = Value::made(at, what, false);
        }
        registers[FRAME] = Value::Offset(Root::Frame, 0);
        Self {
            registers,
            words: [None; WORDS],
        }
    }

    pub const fn register(&self, register: usize) -> Value {
        self.registers[register]
    }

    pub fn operand(&self, operand: Operand) -> Value {
        match operand {
            Operand::Register(register) => self.registers[register],
            Operand::Immediate(imm) => Value::Number(i64::from(imm).cast_unsigned()),
        }
    }

    /// Registers with their values.
    pub fn registers(&self) -> impl Iterator<Item = (usize, Value)> {
        self.registers.iter().copied().enumerate()
    }

    /// What a load from the stack gives, if it is known.
    pub fn loaded(&self, offset: i64, size: u8) -> Option<Value> {
        let place = offset + FRAME_SIZE;
        if place % 8 != 0 {
            return None;
        }
        let (value, stored) = (*self.words.get(usize::try_from(place / 8).ok()?)?)?;
        match value {
            Value::Number(number) if size <= stored => Some(Value::Number(cut(number, size))),
            Value::Offset(..) if size == 8 && stored == 8 => Some(value),
            _ => None,
        }
    }

    fn store(&mut self, offset: i64, size: u8, value: Value) {
        self.forget(Words::of(offset, i64::from(size)));
        let place = offset + FRAME_SIZE;
        if place % 8 == 0
            && let Ok(place) = usize::try_from(place / 8)
            && let Some(word) = self.words.get_mut(place)
        {
            *word = Some((value, size));
        }
    }

    fn forget(&mut self, words: Words) {
        for (number, word) in self.words.iter_mut().enumerate() {
            if words.has(number) {
                *word = None;
            }
        }
    }

    /// An operation runs again: what was its result is no longer what it will give.
    fn outdate(&mut self, at: usize) {
        let places = self.registers.iter_mut().zip(0..);
        let words = self.words.iter_mut().flatten().map(|(value, _)| value);
        for (value, what) in places.chain(words.zip(16..)) {
            if let Value::Offset(
                Root::Made {
                    at: maker,
                    what: RESULT,
                    may_be_frame,
                },
                _,
            ) = *value
                && maker as usize == at
            {
                *value = Value::made(at, STALE | what, may_be_frame);
            }
        }
    }

    /// Keeps what both know, for a place where ways meet. Whether that is less than it was, and
    /// what pointers lead to of which only one knew.
    fn meet(&mut self, other: &Self, at: usize) -> (bool, Words) {
        let mut changed = false;
        let mut mixed = Words::default();
        let mut join = |mine: &mut Value, theirs: Value, what: u8| {
            if *mine == theirs {
                return;
            }
            for value in [*mine, theirs] {
                mixed = mixed.and(value.leads_to());
            }
            let may_be_frame = mine.may_be_frame() || theirs.may_be_frame();
            let joined = Value::made(at, what, may_be_frame);
            changed |= *mine != joined;
            *mine = joined;
        };
        for (what, (mine, theirs)) in (0..).zip(self.registers.iter_mut().zip(other.registers)) {
            join(mine, theirs, what);
        }
        let mut lost = false;
        for (what, (mine, theirs)) in (16..).zip(self.words.iter_mut().zip(other.words)) {
            match (mine.as_mut(), theirs) {
                (Some((value, size)), Some((theirs, their_size))) if *size == their_size => {
                    if *size == 8 {
                        join(value, theirs, what);
                    } else if *value != theirs {
                        *mine = None;
                        lost = true;
                    }
                }
                (Some(_), _) => {
                    *mine = None;
                    lost = true;
                }
                (None, _) => {}
            }
        }
        (changed || lost, mixed)
    }
}

fn cut(number: u64, size: u8) -> u64 {
    match size {
        8 => number,
        size => number & ((1 << (u32::from(size) * 8)) - 1),
    }
}

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
    starts: Vec<Option<State>>,
    /// The function each operation belongs to, by its first operation.
    functions: Vec<usize>,
    /// Of each function, by its first operation.
    frames: Vec<Frame>,
}

/// What is known of a function's stack memory as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    /// Words that pointers of which no more is known may lead to.
    reached: Words,
    /// Words among them that pointers in memory lead to.
    exposed: Words,
    /// Words that such pointers may be in.
    pointers: Words,
}

impl Flow {
    /// `None` when a way leads out of the program.
    pub fn of(ops: &[Op]) -> Option<Self> {
        let mut flow = Self {
            starts: vec![None; ops.len()],
            functions: vec![0; ops.len()],
            frames: vec![Frame::default(); ops.len()],
        };
        let leaders = leaders(ops);
        // Each round starts from what the last found to be exposed; it only becomes more.
        while flow.round(ops, &leaders)? {
            flow.starts.fill(None);
        }
        Some(flow)
    }

    /// Follows all ways; whether more is exposed than was assumed.
    fn round(&mut self, ops: &[Op], leaders: &[bool]) -> Option<bool> {
        let before = self.frames.clone();
        let mut waiting = vec![0];
        self.starts[0] = Some(State::start(0));
        self.functions[0] = 0;
        while let Some(start) = waiting.pop() {
            let function = self.functions[start];
            let mut state = self.starts[start].clone()?;
            let mut at = start;
            loop {
                let op = ops.get(at)?;
                self.frames[function].expose(op, &state);
                if let Op::CallFunction { there } = *op {
                    let mut inner = State::start(there);
                    for register in 1..=5 {
                        if let Value::Number(_) = state.registers[register] {
                            inner.registers[register] = state.registers[register];
                        }
                    }
                    self.arrive(there, &inner, there, &mut waiting)?;
                }
                let branch = branch(op, &state);
                self.apply(op, at, function, &mut state);
                match (*op, branch) {
                    (Op::Exit, _) => break,
                    (Op::Jump { there }, _) | (Op::Branch { there, .. }, Some(true)) => {
                        self.arrive(there, &state, function, &mut waiting)?;
                        break;
                    }
                    (Op::Branch { there, .. }, None) => {
                        self.arrive(there, &state, function, &mut waiting)?;
                    }
                    _ => {}
                }
                at += 1;
                if *leaders.get(at)? {
                    self.arrive(at, &state, function, &mut waiting)?;
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
        waiting: &mut Vec<usize>,
    ) -> Option<()> {
        match self.starts.get_mut(at)? {
            Some(known) => {
                let (changed, mixed) = known.meet(state, at);
                let reached = &mut self.frames[function].reached;
                *reached = reached.and(mixed);
                if changed {
                    waiting.push(at);
                }
            }
            place => {
                *place = Some(state.clone());
                self.functions[at] = function;
                waiting.push(at);
            }
        }
        Some(())
    }

    /// What is known where a block starts; `None` where none ever comes.
    pub fn start(&self, at: usize) -> Option<State> {
        self.starts[at].clone()
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
            if value == Value::result(at, false) || value == Value::result(at, true) {
                state.outdate(at);
            }
            state.registers[to] = value;
        }
        if matches!(op, Op::Call { .. } | Op::CallFunction { .. }) {
            for register in 1..=5 {
                // What is left there cannot be used.
                state.registers[usize::from(register)] = Value::made(at, register, false);
            }
        }
        effect
    }
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

/// The value that an operation gives.
pub fn arithmetic(wide: bool, operation: u8, first: Value, second: Value, at: usize) -> Value {
    // The verifier lets a pointer remain one only when it is added to.
    let may_be_frame =
        wide && matches!(operation, ADD | SUB) && (first.may_be_frame() || second.may_be_frame());
    let unknown = Value::result(at, may_be_frame);
    match (operation, first, second) {
        (MOV, _, second) if wide => second,
        (MOV, _, Value::Number(second)) => {
            compute(wide, MOV, 0, second).map_or(unknown, Value::Number)
        }
        (_, Value::Number(first), Value::Number(second)) => {
            compute(wide, operation, first, second).map_or(unknown, Value::Number)
        }
        (ADD, first, Value::Number(second)) if wide => first.plus(second),
        (ADD, Value::Number(first), second) if wide => second.plus(first),
        (SUB, first, Value::Number(second)) if wide => first.plus(second.wrapping_neg()),
        _ => unknown,
    }
}

impl Frame {
    /// Words that an access through a pointer may touch.
    fn words(&self, base: Value, size: i64) -> Words {
        match base {
            Value::Offset(Root::Frame, offset) => Words::of(offset, size),
            _ if base.may_be_frame() => base.leads_to().and(self.reached),
            _ => Words::default(),
        }
    }

    /// Words that a pointer leads to.
    fn behind(&self, pointer: Value) -> Words {
        self.words(pointer, FRAME_SIZE)
    }

    /// Words that the arguments of a call lead to.
    fn passed(&self, state: &State, arguments: usize) -> Words {
        (1..=arguments).fold(Words::default(), |passed, register| {
            passed.and(self.behind(state.register(register)))
        })
    }

    /// Words that a function of the program may touch: what it is given, and what pointers in that
    /// lead to.
    fn in_reach_of_callee(&self, state: &State) -> Words {
        let passed = self.passed(state, 5);
        if passed.meets(self.pointers) {
            passed.and(self.exposed)
        } else {
            passed
        }
    }

    /// Takes account of what an operation does with pointers to the stack. What is put elsewhere
    /// is lost as a pointer: the verifier takes nothing from other memory for one.
    fn expose(&mut self, op: &Op, state: &State) {
        match *op {
            Op::Store {
                size: 8,
                base,
                off,
                operand,
            } => {
                let base = state.register(base).plus(i64::from(off).cast_unsigned());
                let to = self.words(base, 8);
                let behind = self.behind(state.operand(operand));
                if to != Words::default() && behind != Words::default() {
                    self.reached = self.reached.and(behind);
                    self.exposed = self.exposed.and(behind);
                    self.pointers = self.pointers.and(to);
                }
            }
            // It may put pointers that it was given into memory that it was given, and return them.
            Op::CallFunction { .. } => {
                let passed = self.in_reach_of_callee(state);
                self.reached = self.reached.and(passed);
                self.exposed = self.exposed.and(passed);
                self.pointers = self.pointers.and(passed);
            }
            Op::Alu {
                wide,
                operation,
                to,
                operand,
            } => {
                let (first, second) = (state.register(to), state.operand(operand));
                let result = arithmetic(wide, operation, first, second, 0);
                if result.maker().is_some() && result.may_be_frame() {
                    self.reached = Words::ALL;
                }
            }
            _ => {}
        }
    }
}

/// How many arguments a helper or kernel function takes, at most, and whether it only reads what
/// they point to (include/uapi/linux/bpf.h).
const fn helper(number: i32, kind: u8) -> (usize, bool) {
    /// `BPF_PSEUDO_KFUNC_CALL`; the one that is called is `bpf_rdonly_cast`.
    const KERNEL_FUNCTION: u8 = 2;
    if kind == KERNEL_FUNCTION {
        return (2, true);
    }
    match number {
        // Map: look up, delete.
        1 | 3 => (2, true),
        // Map: update.
        2 => (4, true),
        // Time, CPU, process, time since boot.
        5 | 8 | 14 | 125 => (0, true),
        // Perf event output.
        25 => (5, true),
        // Kernel memory: read, read a string.
        113 | 115 => (3, false),
        // Ring buffer: reserve, submit.
        131 => (3, true),
        132 => (2, true),
        // Attach cookie; argument.
        174 => (1, true),
        183 => (3, false),
        _ => (5, false),
    }
}
