//! The values of one option: a short list that says quickly what is not in it.

/// How many values a repeated filter option may have.
pub const MAX_VALUES: usize = 16;

/// A list of at most [`MAX_VALUES`] alternatives; an empty one accepts everything.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct List<T> {
    /// How many of `values` count.
    pub len: u32,
    /// Bits of a key that count for every value; see [`List::seal`].
    pub mask: u32,
    /// Which [`slot`]s hold a value.
    pub slots: u64,
    /// The alternatives.
    pub values: [T; MAX_VALUES],
}

impl<T: Copy> List<T> {
    /// A list without values, its unused places filled with `zero`.
    #[must_use]
    pub const fn empty(zero: T) -> Self {
        Self {
            len: 0,
            mask: 0,
            slots: u64::MAX,
            values: [zero; MAX_VALUES],
        }
    }

    /// Appends a value; `false` when the list is full.
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        let Some(place) = self.values.get_mut(self.len as usize) else {
            return false;
        };
        *place = value;
        self.len += 1;
        true
    }

    /// Whether there are no values.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values that count.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..self.len as usize).unwrap_or(&self.values)
    }
}

/// One of 64 slots for a key: values are compared only when there is one in the key's slot, so
/// that a packet that is rejected costs the same for one value as for sixteen.
#[must_use]
#[inline(always)]
pub const fn slot(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1) >> 26
}

/// A value's key, and which bits of it count; of a packet, the same bits are looked at.
pub trait Key {
    /// Both.
    fn key(&self) -> (u32, u32);
}

impl Key for u16 {
    fn key(&self) -> (u32, u32) {
        (u32::from(*self), u32::MAX)
    }
}

impl Key for u32 {
    fn key(&self) -> (u32, u32) {
        (*self, Self::MAX)
    }
}

impl<T: Copy + Key> List<T> {
    /// Notes which slots hold a value. Until then all of them might.
    pub fn seal(&mut self) {
        let keys = || self.as_slice().iter().map(Key::key);
        let mask = keys().fold(u32::MAX, |all, (_, mask)| all & mask);
        let slots = keys().fold(0, |slots, (key, _)| slots | 1 << slot(key & mask));
        (self.mask, self.slots) = (mask, slots);
    }

    /// Whether a value of this key may be in the list.
    #[must_use]
    pub fn may_hold(&self, key: u32) -> bool {
        self.slots >> slot(key & self.mask) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Net4;

    #[test]
    fn a_value_is_never_missed_by_its_slot() {
        let net = |addr: u32, bits: u32| Net4 {
            addr: addr.to_be(),
            mask: (u32::MAX << (32 - bits)).to_be(),
        };
        let mut list = List::empty(net(0, 32));
        for (addr, bits) in [(0x0a00_0001, 32), (0x0a60_0000, 16), (0xac12_0000, 20)] {
            assert!(list.push(net(addr, bits)));
        }
        assert!(list.may_hold(7), "before it is sealed, anything may be");
        list.seal();
        for inside in [0x0a00_0001_u32, 0x0a60_ffff, 0x0a60_0000, 0xac12_0fff] {
            assert!(list.may_hold(inside.to_be()), "{inside:x}");
        }
        let outside = (0..64).filter(|n| list.may_hold((0xc0a8_0000_u32 + (n << 16)).to_be()));
        assert!(outside.count() < 16, "most others are told apart");
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut ports = List::empty(0_u16);
        for port in 0..16 {
            assert!(ports.push(port));
        }
        assert!(!ports.push(16));
        assert_eq!(ports.as_slice().len(), MAX_VALUES);
    }
}
