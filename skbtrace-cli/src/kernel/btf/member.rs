//! Where a member of a structure is, and how large.

use super::{Btf, ENUM, ENUM64, FLOAT, INT, PTR, STRUCT, UNION, word};

/// Most anonymous structs and unions that are entered for one member (`sk_buff` has a dozen).
const BUDGET: usize = 512;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset from the start of the outermost structure, bits.
    pub bit: u32,
    /// Width of a bitfield, bits; 0 when it is none.
    pub bits: u32,
    /// Its type.
    pub type_id: u32,
}

impl Btf<'_> {
    /// Offset of a member, entering anonymous structs and unions; `path` may go through members
    /// that are structures themselves, joined by dots.
    pub fn member(&self, structure: &str, path: &str) -> Option<Place> {
        let mut id = self.structure(structure)?;
        let mut place = Place {
            bit: 0,
            bits: 0,
            type_id: id,
        };
        for name in path.split('.') {
            let mut budget = BUDGET;
            let inner = self.member_of(self.strip(id)?, name, &mut budget)?;
            place = Place {
                bit: place.bit.checked_add(inner.bit)?,
                ..inner
            };
            id = inner.type_id;
        }
        Some(place)
    }

    /// Size of a type, bytes.
    pub fn size(&self, id: u32) -> Option<u32> {
        let id = self.strip(id)?;
        let t = self.get(id)?;
        match t.kind {
            INT | STRUCT | UNION | ENUM | ENUM64 | FLOAT => Some(t.value),
            PTR => Some(8),
            _ => None,
        }
    }

    /// `budget` bounds the structures entered: damaged types may contain each other.
    fn member_of(&self, id: u32, name: &str, budget: &mut usize) -> Option<Place> {
        let t = self.get(id)?;
        *budget = budget.checked_sub(1)?;
        if !matches!(t.kind, STRUCT | UNION) {
            return None;
        }
        let source = self.source(id)?;
        for n in 0..t.len as usize {
            let at = t.at + 12 + n * 12;
            let member_name = word(source, at).ok()?;
            let type_id = word(source, at + 4).ok()?;
            let offset = word(source, at + 8).ok()?;
            let (bit, bits) = if t.flag {
                (offset & 0x00ff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            if member_name != 0 {
                if self.name(member_name) == Some(name.as_bytes()) {
                    return Some(Place { bit, bits, type_id });
                }
            } else if let Some(inner) = self
                .strip(type_id)
                .and_then(|id| self.member_of(id, name, budget))
            {
                return Some(Place {
                    bit: bit.checked_add(inner.bit)?,
                    ..inner
                });
            }
        }
        None
    }
}
