//! Cells: columns' text, kept so that it is made once and copied often.
//!
//! **Invariant:** a name from the kernel or from the wire reaches the output through [`escaped`]
//! only, so a cell never holds a blank, never is empty and never controls a terminal.

use super::digits;

/// A column's text with its padding; up to `N` bytes are copied as one block.
#[derive(Clone, Debug)]
pub struct Cell<const N: usize> {
    block: [u8; N],
    len: usize,
    /// The text, when it is longer than the block.
    long: Vec<u8>,
}

impl<const N: usize> Cell<N> {
    /// A cell without text.
    pub const EMPTY: Self = Self {
        block: [b' '; N],
        len: 0,
        long: Vec::new(),
    };

    /// Replaces the text.
    pub fn set(&mut self, text: &[u8]) {
        self.len = text.len();
        self.long.clear();
        match self.block.get_mut(..text.len()) {
            Some(block) => block.copy_from_slice(text),
            None => self.long.extend_from_slice(text),
        }
    }

    /// Appends the text.
    #[inline]
    pub fn push_to(&self, out: &mut Vec<u8>) {
        if self.len <= N {
            digits::push_block(&self.block, self.len, out);
        } else {
            out.extend_from_slice(&self.long);
        }
    }
}

/// A cache of texts: one place a key, found by the key's hash, taken over by the next key there.
#[derive(Debug)]
pub struct Cache<K, const N: usize> {
    places: Box<[(Option<K>, Cell<N>); PLACES]>,
}

/// How many bits number the places: the flows, and the devices, that interleave in a trace are few.
const PLACE_BITS: u32 = 7;
const PLACES: usize = 1 << PLACE_BITS;

impl<K: Copy + Eq, const N: usize> Cache<K, N> {
    pub fn new() -> Self {
        Self {
            places: Box::new([const { (None, Cell::EMPTY) }; PLACES]),
        }
    }

    /// Appends the text of `key`, which `write` writes if it is not known.
    #[inline]
    pub fn push(
        &mut self,
        key: &K,
        hash: u32,
        out: &mut Vec<u8>,
        write: impl FnOnce(&K, &mut Vec<u8>),
    ) {
        // Multiplying spreads every bit upwards (Knuth); the topmost ones choose the place.
        let place = hash.wrapping_mul(0x9e37_79b1) >> (32 - PLACE_BITS);
        let (known, cell) = &mut self.places[place as usize];
        if known.as_ref() == Some(key) {
            return cell.push_to(out);
        }
        let start = out.len();
        write(key, out);
        cell.set(out.get(start..).unwrap_or(&[]));
        *known = Some(*key);
    }
}

/// Appends a name: blanks, control and non-ASCII bytes as `\xNN`, a backslash doubled; `?` when
/// there is none.
pub fn escaped(name: &[u8], out: &mut Vec<u8>) {
    let plain = |&byte: &u8| matches!(byte, b'!'..=b'~') && byte != b'\\';
    if name.is_empty() {
        out.push(b'?');
    } else if name.iter().all(plain) {
        out.extend_from_slice(name);
    } else {
        for &byte in name {
            match byte {
                b'\\' => out.extend_from_slice(br"\\"),
                byte if plain(&byte) => out.push(byte),
                _ => {
                    out.extend_from_slice(br"\x");
                    out.extend_from_slice(&digits::hex2(byte));
                }
            }
        }
    }
}

/// Appends blanks until what begins at `start` is `width` bytes long, and one more: where a cell
/// grew beyond its column, the next is pushed on.
pub fn pad(start: usize, width: usize, out: &mut Vec<u8>) {
    let end = (start + width).max(out.len()) + 1;
    out.resize(end, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless() {
        let mut out = Vec::new();
        escaped(b"a b\\\x1b[31m\xc3\xa4~!\x7f\t", &mut out);
        assert_eq!(out, br"a\x20b\\\x1b[31m\xc3\xa4~!\x7f\x09");
        out.clear();
        escaped(b"", &mut out);
        assert_eq!(out, b"?");
    }

    #[test]
    fn long_and_short_cells() {
        let mut cell = Cell::<4>::EMPTY;
        for text in ["", "abc", "abcd", "abcde", "ab"] {
            let mut out = b"x".to_vec();
            cell.set(text.as_bytes());
            cell.push_to(&mut out);
            assert_eq!(out, format!("x{text}").into_bytes());
        }
    }
}
