//! What is known of registers and stack memory at one place of a program.

use super::{
    code::{FRAME, Operand, REGISTERS},
    value::{FIRST_WORD, FRAME_SIZE, RESULT, Root, STALE, Value, WORDS, Words},
};

/// What is known at a place.
#[derive(Clone)]
pub struct State {
    registers: [Value; REGISTERS],
    /// Words of the stack of which something is known.
    known: Words,
    /// What was stored last at the start of such a word, and how many bytes of it.
    words: [(Value, u8); WORDS],
}

impl State {
    /// At the start of a function: its arguments point to no memory of its own frame.
    pub fn start(at: usize) -> Self {
        let mut registers = [Value::Number(0); REGISTERS];
        for (what, register) in (0..).zip(&mut registers) {
            *register = Value::made(at, what, false);
        }
        registers[FRAME] = Value::Offset(Root::Frame, 0);
        Self {
            registers,
            known: Words::default(),
            words: [(Value::Number(0), 0); WORDS],
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

    /// Gives a register a value.
    pub const fn set(&mut self, register: usize, value: Value) {
        self.registers[register] = value;
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
        let word = usize::try_from(place / 8).ok()?;
        if word >= WORDS || !self.known.has(word) {
            return None;
        }
        let (value, stored) = self.words[word];
        match value {
            Value::Number(number) if size <= stored => Some(Value::Number(cut(number, size))),
            Value::Offset(..) if size == 8 && stored == 8 => Some(value),
            _ => None,
        }
    }

    pub fn store(&mut self, offset: i64, size: u8, value: Value) {
        self.forget(Words::of(offset, i64::from(size)));
        let place = offset + FRAME_SIZE;
        if place % 8 == 0
            && let Ok(word) = usize::try_from(place / 8)
            && word < WORDS
        {
            self.known.insert(word);
            self.words[word] = (value, size);
        }
    }

    pub fn forget(&mut self, words: Words) {
        self.known = self.known - words;
    }

    /// An operation runs again: what was its result is no longer what it will give.
    pub fn outdate(&mut self, at: usize) {
        let outdate = |value: &mut Value, what: u8| {
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
        };
        for (value, what) in self.registers.iter_mut().zip(0..) {
            outdate(value, what);
        }
        for word in self.known.each() {
            outdate(&mut self.words[usize::from(word)].0, FIRST_WORD + word);
        }
    }

    /// Keeps what both know, for a place where ways meet. Whether that is less than it was, and
    /// what pointers lead to of which only one knew.
    pub fn meet(&mut self, other: &Self, at: usize) -> (bool, Words) {
        let mut changed = false;
        let mut mixed = Words::default();
        let mut join = |mine: &mut Value, theirs: Value, what: u8| {
            if *mine == theirs {
                return;
            }
            for value in [*mine, theirs] {
                mixed |= value.leads_to();
            }
            let may_be_frame = mine.may_be_frame() || theirs.may_be_frame();
            let joined = Value::made(at, what, may_be_frame);
            changed |= *mine != joined;
            *mine = joined;
        };
        for (what, (mine, theirs)) in (0..).zip(self.registers.iter_mut().zip(other.registers)) {
            join(mine, theirs, what);
        }
        let mut lost = self.known - other.known;
        for word in (self.known & other.known).each() {
            let place = usize::from(word);
            let (mine, theirs) = (&mut self.words[place], other.words[place]);
            if mine.1 == 8 && theirs.1 == 8 {
                join(&mut mine.0, theirs.0, FIRST_WORD + word);
            } else if *mine != theirs {
                lost.insert(place);
            }
        }
        self.known = self.known - lost;
        (changed || lost != Words::default(), mixed)
    }
}

fn cut(number: u64, size: u8) -> u64 {
    match size {
        8 => number,
        size => number & ((1 << (u32::from(size) * 8)) - 1),
    }
}
