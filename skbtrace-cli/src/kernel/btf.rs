//! BTF: the kernel's description of its own types.
//!
//! A reader for the few questions that are asked at a start (where is this member, where does this
//! function take its packet, which functions take one, what are this enum's constants), which a
//! general library answers only after building the whole type graph: hundreds of milliseconds and tens of megabytes for a Debian kernel, against the
//! two passes over the bytes made here. Format: Documentation/bpf/btf.rst.
//!
//! **Invariant:** any bytes give an answer or an error, never a panic; no chain of types is
//! followed without a bound.

use std::collections::HashMap;

use skbtrace_common::hooks::Arg;

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
/// Most anonymous structs and unions that are entered for one member (`sk_buff` has a dozen).
const BUDGET: usize = 512;
/// Most arguments of a function that are looked at.
const ARGUMENTS: u32 = 16;
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
    structures: HashMap<String, u32>,
    functions: HashMap<String, u32>,
    enums: HashMap<String, u32>,
    /// The wanted names by their string offsets, the base's included: a module refers to its
    /// base's string wherever there is one.
    names: HashMap<u32, String>,
    base: Option<&'b Btf<'b>>,
}

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

/// How a function takes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketArgument {
    /// Position, from 1.
    pub position: u8,
    /// `struct sk_buff **`.
    pub is_pointer: bool,
}

/// A function that takes a `struct sk_buff *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Position of the first such argument, from 1; `None` where that is not the number of the
    /// register it comes in, since a structure or a number of 16 bytes stands before it.
    pub position: Option<u8>,
}

impl PacketArgument {
    /// As the catalogue writes it.
    pub fn arg(self) -> Arg {
        if self.is_pointer {
            Arg::SkbPtr(self.position)
        } else {
            Arg::Skb(self.position)
        }
    }
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
            structures: HashMap::new(),
            functions: HashMap::new(),
            enums: HashMap::new(),
            names: base.map_or_else(HashMap::new, |base| base.names.clone()),
            base,
            bytes,
        };
        btf.bytes.truncate(types_end.max(strings_end));
        btf.find_names(strings, strings_end, wanted);
        btf.index(types, types_end)?;
        Ok(btf)
    }

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

    /// Whether a structure that was asked for is described.
    pub fn describes_structure(&self, name: &str) -> bool {
        self.structure(name).is_some()
    }

    /// Where a function takes its packet; `None` when it takes none or is not described.
    pub fn packet_argument(&self, function: &str) -> Option<PacketArgument> {
        let function = self.get(self.function(function)?)?;
        let prototype = self.get(function.value)?;
        if prototype.kind != FUNC_PROTO {
            return None;
        }
        (0..prototype.len.min(8)).find_map(|n| {
            let at = prototype.at + 12 + n as usize * 8;
            let pointer =
                self.get(self.strip(word(self.source(function.value)?, at + 4).ok()?)?)?;
            if pointer.kind != PTR {
                return None;
            }
            let position = u8::try_from(n + 1).ok()?;
            let target = self.get(self.strip(pointer.value)?)?;
            if self.is_packet(&target) {
                return Some(PacketArgument {
                    position,
                    is_pointer: false,
                });
            }
            if target.kind == PTR {
                let inner = self.get(self.strip(target.value)?)?;
                if self.is_packet(&inner) {
                    return Some(PacketArgument {
                        position,
                        is_pointer: true,
                    });
                }
            }
            None
        })
    }

    /// The functions that this very section describes and that take a packet.
    pub fn takers(&self) -> impl Iterator<Item = Taker<'_>> {
        let end = self.end_id();
        (self.first_id..end).filter_map(|id| {
            let function = self.get(id).filter(|function| function.kind == FUNC)?;
            let prototype = self.get(function.value)?;
            if prototype.kind != FUNC_PROTO {
                return None;
            }
            let source = self.source(function.value)?;
            let mut in_registers = true;
            for n in 0..prototype.len.min(ARGUMENTS) {
                let at = prototype.at + 12 + n as usize * 8;
                // Arguments that are not named by a type follow: there are no more.
                let argument = self.strip(word(source, at + 4).ok()?)?;
                let target = self.get(argument)?;
                if target.kind == PTR
                    && let Some(target) = self.strip(target.value).and_then(|id| self.get(id))
                    && self.is_packet(&target)
                {
                    return Some(Taker {
                        name: self.name(function.name)?,
                        position: u8::try_from(n + 1).ok().filter(|_| in_registers),
                    });
                }
                in_registers &= match target.kind {
                    STRUCT | UNION => false,
                    INT => target.value <= 8,
                    _ => true,
                };
            }
            None
        })
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

    /// How many arguments a function takes, by its id.
    pub fn arguments(&self, function: u32) -> Option<u8> {
        let prototype = self.get(self.get(function)?.value)?;
        (prototype.kind == FUNC_PROTO).then_some(())?;
        u8::try_from(prototype.len).ok()
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

    fn is_packet(&self, t: &Type) -> bool {
        // A module may know it by its announcement alone.
        matches!(t.kind, STRUCT | FWD) && self.name(t.name) == Some(b"sk_buff")
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
        let wanted: HashMap<&[u8], &str> =
            wanted.iter().map(|name| (name.as_bytes(), *name)).collect();
        let longest = wanted.keys().map(|name| name.len()).max().unwrap_or(0);
        let mut at = from;
        let section = self.bytes.get(from..to).unwrap_or_default();
        for name in section.split(|&b| b == 0) {
            if name.len() <= longest
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
