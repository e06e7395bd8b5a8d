//! Numbers in the kernel side's instructions that stand for a field of the configuration.

use super::Config;
use crate::Plain as _;

/// A number that stands in the kernel side's instructions for a field of [`Config`], until user
/// space puts the field's value there: an instruction of its own costs nothing to read and lets
/// the verifier know the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant(u64);

impl Constant {
    const FIELD: u64 = 0x5eed_c0f1 << 32;
    const DIFFERENCE: u64 = 0x5eed_c0f2 << 32;
    const KIND: u64 = 0xffff_ffff << 32;

    /// The field of `size` bytes at `offset` of [`Config`].
    #[must_use]
    pub const fn field(offset: usize, size: usize) -> u64 {
        assert!(
            offset < 1 << 16 && size <= 8,
            "a small field near the start"
        );
        Self::FIELD | (size as u64) << 16 | offset as u64
    }

    /// The difference of two fields of [`Layout`], at these offsets of [`Config`].
    #[must_use]
    pub const fn difference(minuend: usize, subtrahend: usize) -> u64 {
        assert!(minuend < 1 << 16 && subtrahend < 1 << 16, "near the start");
        Self::DIFFERENCE | (subtrahend as u64) << 16 | minuend as u64
    }

    /// The constant that a number in an instruction is, if it is one.
    #[must_use]
    pub const fn recognise(number: u64) -> Option<Self> {
        match number & Self::KIND {
            Self::FIELD | Self::DIFFERENCE => Some(Self(number)),
            _ => None,
        }
    }

    /// Its value in a configuration.
    #[must_use]
    pub fn value(self, config: &Config) -> u64 {
        let bytes = config.as_bytes();
        let number = |at: u64, size: u64| {
            let (at, size) = ((at & 0xffff) as usize, size as usize);
            let field = bytes.get(at..at + size).unwrap_or_default();
            field
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        if self.0 & Self::KIND == Self::FIELD {
            number(self.0, self.0 >> 16 & 0xffff)
        } else {
            number(self.0, 2).wrapping_sub(number(self.0 >> 16, 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stands_for_a_field() {
        let mut config = Config::new();
        config.cast_type = 0x1234_5678;
        config.layout.skb_head = 200;
        config.layout.skb_window = 180;
        let value = |number| Constant::recognise(number).map(|c| c.value(&config));
        let at = core::mem::offset_of!(Config, cast_type);
        assert_eq!(value(Constant::field(at, 4)), Some(0x1234_5678));
        let head = core::mem::offset_of!(Config, layout.skb_head);
        let window = core::mem::offset_of!(Config, layout.skb_window);
        assert_eq!(value(Constant::difference(head, window)), Some(20));
        assert_eq!(value(Constant::field(head, 2)), Some(200));
        assert_eq!(value(0x5eed_5eed_5eed_5eed), None);
        assert_eq!(value(7), None);
    }
}
