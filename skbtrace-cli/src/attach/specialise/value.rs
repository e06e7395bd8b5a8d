//! Values: numbers, and distances from a root.
//!
//! A root is the frame pointer, the result of an operation, or whatever arrives in a register where
//! ways meet. Equal values are equal when the program runs; nothing follows from unequal ones.

use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

use super::code::{ADD, MOV, SUB, compute};

/// Eight-byte words of a frame.
pub const WORDS: usize = 64;
pub const FRAME_SIZE: i64 = 512;

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

/// The result of an operation; below are registers, and from [`FIRST_WORD`] on words.
pub const RESULT: u8 = u8::MAX;
/// The first word of the stack.
pub const FIRST_WORD: u8 = 16;
/// What was a result of the operation before it ran again.
pub const STALE: u8 = 128;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Offset(Root, i64),
}

impl Value {
    pub const fn result(at: usize, may_be_frame: bool) -> Self {
        Self::made(at, RESULT, may_be_frame)
    }

    #[expect(clippy::cast_possible_truncation, reason = "programs are shorter")]
    pub const fn made(at: usize, what: u8, may_be_frame: bool) -> Self {
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
    pub fn leads_to(self) -> Words {
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

    pub fn plus(self, number: u64) -> Self {
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
    pub const ALL: Self = Self(u64::MAX);

    /// The words that bytes at an offset from the frame pointer lie in.
    pub fn of(offset: i64, size: i64) -> Self {
        let first = (offset + FRAME_SIZE).clamp(0, FRAME_SIZE);
        let end = offset
            .saturating_add(size)
            .saturating_add(FRAME_SIZE)
            .clamp(first, FRAME_SIZE);
        // Of 65 bits, so that all words are below the last.
        let below = |word: i64| (1_u128 << word) - 1;
        #[expect(clippy::cast_possible_truncation, reason = "of at most 64 words")]
        Self((below((end + 7) / 8) & !below(first / 8)) as u64)
    }

    /// The numbers of its words.
    pub fn each(mut self) -> impl Iterator<Item = u8> {
        std::iter::from_fn(move || {
            let first = self.0.trailing_zeros();
            self.0 &= self.0.checked_sub(1)?;
            u8::try_from(first).ok()
        })
    }

    pub const fn has(self, word: usize) -> bool {
        self.0 >> word & 1 == 1
    }

    pub const fn insert(&mut self, word: usize) {
        self.0 |= 1 << word;
    }

    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Words {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Words {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl BitAnd for Words {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Words {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
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
