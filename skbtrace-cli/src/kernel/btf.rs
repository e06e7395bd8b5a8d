//! BTF: the kernel's description of its own types.
//!
//! A reader for the few questions that are asked at a start (where is this member, where does this
//! function take its packet, which functions take one, what are this enum's constants), which a
//! general library answers only after building the whole type graph: hundreds of milliseconds and
//! tens of megabytes for a Debian kernel, against the two passes over the bytes made here. Format:
//! Documentation/bpf/btf.rst.
//!
//! **Invariant:** any bytes give an answer or an error, never a panic; no chain of types is
//! followed without a bound.

mod function;
mod member;

pub use function::{PacketArgument, Taker};
pub use member::Place;

use rustc_hash::FxHashMap;

/// Why bytes are not BTF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Wrong magic number.
    #[error("not BTF: it does not start with the magic number 0xeb9f")]
    Magic,
    /// Of the other byte order.
    #[error("BTF of the other byte order")]
    ByteOrder,
    /// A version that is not known.
    #[error("BTF version {0} is not known")]
    Version(u8),
    /// It ends too early.
    #[error("truncated or damaged BTF: {0} bytes in, more was expected")]
    Truncated(usize),
    /// A kind of type that is not known.
    #[error("type {id}, {at} bytes in, has the unknown kind {kind}")]
    Kind {
        /// Number of the type.
        id: u32,
        /// Where it is described.
        at: usize,
        /// Its kind.
        kind: u32,
    },
}

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

const INT: u32 = 1;
pub(super) const PTR: u32 = 2;
const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
pub(super) const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Longest chain of typedefs and qualifiers that is followed.
const DEPTH: usize = 32;
/// Longest name that is read, bytes: the kernel's own bound (`KSYM_NAME_LEN`, since 5.16; 128
/// before).
const NAME: usize = 512;

/// A BTF section, with the ids of the structures, functions and enums that were asked for.
pub struct Btf<'b> {
    bytes: Vec<u8>,
    /// Where a type's description starts, by its id less `first_id`.
    types: Vec<u32>,
    first_id: u32,
    strings: usize,
    /// Where this section's strings start among the base's and its own.
    first_string: u32,
    structures: FxHashMap<String, u32>,
    functions: FxHashMap<String, u32>,
    enums: FxHashMap<String, u32>,
    /// The wanted names by their string offsets, the base's included: a module refers to its
    /// base's string wherever there is one.
    names: FxHashMap<u32, String>,
    base: Option<&'b Btf<'b>>,
}

struct Type {
    at: usize,
    name: u32,
    kind: u32,
    len: u32,
    flag: bool,
    /// Size or the type referred to.
    value: u32,
}

impl<'b> Btf<'b> {
    /// Reads a section and remembers where the wanted structures, functions and enums are. A module's
    /// section continues its base's ids and strings.
    pub fn parse(
        bytes: Vec<u8>,
        base: Option<&'b Btf<'b>>,
        wanted: &[&str],
    ) -> Result<Self, BtfError> {
        let magic = u16::from_le_bytes([byte(&bytes, 0)?, byte(&bytes, 1)?]);
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::ByteOrder);
        }
        if magic != MAGIC {
            return Err(BtfError::Magic);
        }
        let version = byte(&bytes, 2)?;
        if version != 1 {
            return Err(BtfError::Version(version));
        }
        let header = word(&bytes, 4)? as usize;
        let types = header.saturating_add(word(&bytes, 8)? as usize);
        let types_end = types.saturating_add(word(&bytes, 12)? as usize);
        let strings = header.saturating_add(word(&bytes, 16)? as usize);
        let strings_end = strings.saturating_add(word(&bytes, 20)? as usize);
        if header < HEADER || types_end > bytes.len() || strings_end > bytes.len() {
            return Err(BtfError::Truncated(bytes.len()));
        }
        let mut btf = Self {
            types: Vec::new(),
            first_id: base.map_or(1, Btf::end_id),
            strings,
            first_string: base.map_or(0, Btf::end_string),
            structures: FxHashMap::default(),
            functions: FxHashMap::default(),
            enums: FxHashMap::default(),
            names: base.map_or_else(FxHashMap::default, |base| base.names.clone()),
            base,
            bytes,
        };
        btf.bytes.truncate(types_end.max(strings_end));
        btf.find_names(strings, strings_end, wanted);
        btf.index(types, types_end)?;
        Ok(btf)
    }

    /// Whether a structure that was asked for is described.
    pub fn describes_structure(&self, name: &str) -> bool {
        self.structure(name).is_some()
    }

    /// Id of a function that was asked for.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions
            .get(name)
            .copied()
            .or_else(|| self.base?.function(name))
    }

    /// Id of a function that was asked for and that this very section describes.
    pub fn own_function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    /// Id of a structure that was asked for.
    pub fn structure_id(&self, name: &str) -> Option<u32> {
        self.structure(name)
    }

    /// Constants of an enum that was asked for, with their values; none when it is not described.
    pub fn constants(&self, enumeration: &str) -> impl Iterator<Item = (&[u8], i64)> {
        let found = self.enumeration(enumeration).and_then(|id| {
            let t = self.get(id)?;
            Some((self.source(id)?, t))
        });
        found.into_iter().flat_map(move |(source, t)| {
            let size = if t.kind == ENUM64 { 12 } else { 8 };
            (0..t.len as usize).map_while(move |n| {
                let at = t.at + 12 + n * size;
                let low = word(source, at + 4).ok()?;
                let value = match (t.kind, t.flag) {
                    (ENUM64, _) => {
                        let high = word(source, at + 8).ok()?;
                        (u64::from(high) << 32 | u64::from(low)).cast_signed()
                    }
                    // The flag says that the enum has negative constants; older compilers' BTF
                    // never sets it.
                    (_, true) => i64::from(low.cast_signed()),
                    (_, false) => i64::from(low),
                };
                Some((self.name(word(source, at).ok()?)?, value))
            })
        })
    }

    fn enumeration(&self, name: &str) -> Option<u32> {
        self.enums
            .get(name)
            .copied()
            .or_else(|| self.base?.enumeration(name))
    }

    fn structure(&self, name: &str) -> Option<u32> {
        self.structures
            .get(name)
            .copied()
            .or_else(|| self.base?.structure(name))
    }

    fn end_id(&self) -> u32 {
        self.first_id + u32::try_from(self.types.len()).unwrap_or(0)
    }

    fn end_string(&self) -> u32 {
        self.first_string + word(&self.bytes, 20).unwrap_or(0)
    }

    /// String offsets of the wanted names: every name stands once among the strings.
    fn find_names(&mut self, from: usize, to: usize, wanted: &[&str]) {
        let wanted: FxHashMap<&[u8], &str> =
            wanted.iter().map(|name| (name.as_bytes(), *name)).collect();
        // Most names are not wanted, and of these few begin as one that is and are as long. Here are
        // the lengths, as bits, by first bytes.
        let mut lengths = [0_u64; 256];
        let shape = |name: &[u8]| Some((usize::from(*name.first()?), 1 << name.len().min(63)));
        for (first, length) in wanted.keys().filter_map(|name| shape(name)) {
            lengths[first] |= length;
        }
        let mut at = from;
        let section = self.bytes.get(from..to).unwrap_or_default();
        for name in section.split(|&b| b == 0) {
            if shape(name).is_some_and(|(first, length)| lengths[first] & length != 0)
                && let Some(name) = wanted.get(name)
                && let Ok(offset) = u32::try_from(at - from)
            {
                let offset = self.first_string.wrapping_add(offset);
                self.names.insert(offset, (*name).to_owned());
            }
            at += name.len() + 1;
        }
    }

    fn index(&mut self, from: usize, to: usize) -> Result<(), BtfError> {
        let mut at = from;
        self.types.reserve((to - from) / 24);
        while at < to {
            let id = self.end_id();
            let name = word(&self.bytes, at)?;
            let info = word(&self.bytes, at + 4)?;
            let kind = info >> 24 & 0x1f;
            let len = (info & 0xffff) as usize;
            let extra = match kind {
                PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
                INT | VAR | DECL_TAG => 4,
                ARRAY => 12,
                STRUCT | UNION | DATASEC | ENUM64 => len * 12,
                ENUM | FUNC_PROTO => len * 8,
                kind => return Err(BtfError::Kind { id, at, kind }),
            };
            let found = match kind {
                STRUCT => Some(&mut self.structures),
                FUNC => Some(&mut self.functions),
                // One without constants is only announced.
                ENUM | ENUM64 if len > 0 => Some(&mut self.enums),
                _ => None,
            };
            if name != 0
                && let Some(found) = found
                && let Some(name) = self.names.get(&name)
            {
                // The first of several is the one that matters: they describe the same thing.
                found.entry(name.clone()).or_insert(id);
            }
            let place = u32::try_from(at).map_err(|_| BtfError::Truncated(at))?;
            self.types.push(place);
            at += 12 + extra;
        }
        if at == to {
            Ok(())
        } else {
            Err(BtfError::Truncated(to))
        }
    }

    /// The section that describes a type.
    fn source(&self, id: u32) -> Option<&[u8]> {
        if id < self.first_id {
            return self.base?.source(id);
        }
        Some(&self.bytes)
    }

    fn get(&self, id: u32) -> Option<Type> {
        if id < self.first_id {
            return self.base?.get(id);
        }
        let at = *self.types.get((id - self.first_id) as usize)? as usize;
        let info = word(&self.bytes, at + 4).ok()?;
        Some(Type {
            at,
            name: word(&self.bytes, at).ok()?,
            kind: info >> 24 & 0x1f,
            len: info & 0xffff,
            flag: info >> 31 != 0,
            value: word(&self.bytes, at + 8).ok()?,
        })
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        if offset < self.first_string {
            return self.base?.name(offset);
        }
        let from = self.strings + (offset - self.first_string) as usize;
        let rest = self.bytes.get(from..)?;
        let rest = rest.get(..NAME).unwrap_or(rest);
        rest.split(|&b| b == 0).next()
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            let t = self.get(id)?;
            match t.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = t.value,
                _ => return Some(id),
            }
        }
        None
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, BtfError> {
    bytes.get(at).copied().ok_or(BtfError::Truncated(at))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let four = at
        .checked_add(4)
        .and_then(|end| bytes.get(at..end))
        .and_then(|four| <[u8; 4]>::try_from(four).ok())
        .ok_or(BtfError::Truncated(at))?;
    Ok(u32::from_le_bytes(four))
}

mod hook_functions;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
