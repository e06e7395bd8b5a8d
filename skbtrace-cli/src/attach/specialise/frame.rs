//! Stack memory of a function as a whole, and who may touch it.
//!
//! It is kept apart from all other memory by following the frame pointer: what is derived from it
//! in a way that is not understood *may* point to it, and so may what is loaded from stack memory
//! where such a pointer may have been put. No other memory holds one: the verifier takes nothing
//! from there for a pointer to the stack.

use super::{
    code::Op,
    state::State,
    value::{FRAME_SIZE, Root, Value, Words, arithmetic},
};

/// What is known of a function's stack memory as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Words that pointers of which no more is known may lead to.
    pub reached: Words,
    /// Words among them that pointers in memory lead to.
    exposed: Words,
    /// Words that such pointers may be in.
    pub pointers: Words,
}

impl Frame {
    /// Words that an access through a pointer may touch.
    pub fn words(&self, base: Value, size: i64) -> Words {
        match base {
            Value::Offset(Root::Frame, offset) => Words::of(offset, size),
            _ if base.may_be_frame() => base.leads_to() | self.reached,
            _ => Words::default(),
        }
    }

    /// Words that a pointer leads to.
    pub fn behind(&self, pointer: Value) -> Words {
        self.words(pointer, FRAME_SIZE)
    }

    /// Words that the arguments of a call lead to.
    pub fn passed(&self, state: &State, arguments: usize) -> Words {
        (1..=arguments).fold(Words::default(), |passed, register| {
            passed | self.behind(state.register(register))
        })
    }

    /// Words that a function of the program may touch: what it is given, and what pointers in that
    /// lead to.
    pub fn in_reach_of_callee(&self, state: &State) -> Words {
        let passed = self.passed(state, 5);
        if passed.meets(self.pointers) {
            passed | self.exposed
        } else {
            passed
        }
    }

    /// Takes account of what an operation does with pointers to the stack. What is put elsewhere
    /// is lost as a pointer: the verifier takes nothing from other memory for one.
    pub fn expose(&mut self, op: &Op, state: &State) {
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
                    self.reached |= behind;
                    self.exposed |= behind;
                    self.pointers |= to;
                }
            }
            // It may put pointers that it was given into memory that it was given, and return them.
            Op::CallFunction { .. } => {
                let passed = self.in_reach_of_callee(state);
                self.reached |= passed;
                self.exposed |= passed;
                self.pointers |= passed;
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
pub const fn helper(number: i32, kind: u8) -> (usize, bool) {
    /// `BPF_PSEUDO_KFUNC_CALL`; those that are called take numbers or the context, and what they
    /// return is not on the stack (`bpf_rdonly_cast`, `bpf_session_is_return`,
    /// `bpf_session_cookie`).
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
        // Address of the function; attach cookie; argument.
        173 | 174 => (1, true),
        183 => (3, false),
        _ => (5, false),
    }
}
