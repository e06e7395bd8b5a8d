//! Functions: where they take a packet, which ones do, how many arguments they take.

use skbtrace_common::hooks::Arg;

use super::{Btf, FUNC, FUNC_PROTO, FWD, INT, PTR, STRUCT, Type, UNION, word};

/// Most arguments of a function that are looked at.
const ARGUMENTS: u32 = 16;
/// Those that come in registers (System V calling convention, x86-64).
const REGISTERS: u8 = 6;

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
    /// Position of the first `struct sock *` that comes in a register of that number.
    pub socket: Option<u8>,
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

/// What a function takes.
struct Prototype<'a> {
    /// The section that describes it.
    source: &'a [u8],
    at: usize,
    arguments: u32,
}

impl Btf<'_> {
    /// Where a function takes its packet; `None` when it takes none or is not described.
    pub fn packet_argument(&self, function: &str) -> Option<PacketArgument> {
        let prototype = self.prototype(&self.get(self.function(function)?)?)?;
        (0..prototype.arguments.min(8)).find_map(|n| {
            let target = self.pointed_at(&self.argument(&prototype, n)?)?;
            let is_pointer = !self.is_packet(&target);
            if is_pointer && !self.is_packet(&self.pointed_at(&target)?) {
                return None;
            }
            Some(PacketArgument {
                position: u8::try_from(n + 1).ok()?,
                is_pointer,
            })
        })
    }

    /// The functions that this very section describes and that take a packet.
    pub fn takers(&self) -> impl Iterator<Item = Taker<'_>> {
        let end = self.end_id();
        (self.first_id..end).filter_map(|id| {
            let function = self.get(id).filter(|function| function.kind == FUNC)?;
            self.taker(&function)
        })
    }

    fn taker(&self, function: &Type) -> Option<Taker<'_>> {
        let prototype = self.prototype(function)?;
        let mut in_registers = true;
        let (mut packet, mut socket) = (None, None);
        for n in 0..prototype.arguments.min(ARGUMENTS) {
            // Arguments that are not named by a type follow: there are no more.
            let Some(argument) = self.argument(&prototype, n) else {
                break;
            };
            let position = u8::try_from(n + 1).ok().filter(|_| in_registers);
            if let Some(target) = self.pointed_at(&argument) {
                if self.is_called(&target, b"sk_buff") {
                    packet = packet.or(Some(position));
                } else if self.is_called(&target, b"sock") {
                    socket = socket.or(position);
                }
            }
            in_registers &= match argument.kind {
                STRUCT | UNION => false,
                INT => argument.value <= 8,
                _ => true,
            };
        }
        Some(Taker {
            name: self.name(function.name)?,
            position: packet?,
            socket: socket.filter(|position| *position <= REGISTERS),
        })
    }

    /// How many arguments a function takes, by its id.
    pub fn arguments(&self, function: u32) -> Option<u8> {
        let prototype = self.prototype(&self.get(function)?)?;
        u8::try_from(prototype.arguments).ok()
    }

    fn prototype(&self, function: &Type) -> Option<Prototype<'_>> {
        let prototype = self.get(function.value)?;
        (prototype.kind == FUNC_PROTO).then_some(())?;
        Some(Prototype {
            source: self.source(function.value)?,
            at: prototype.at,
            arguments: prototype.len,
        })
    }

    /// The type of an argument, counted from 0, behind typedefs and qualifiers.
    fn argument(&self, prototype: &Prototype<'_>, n: u32) -> Option<Type> {
        let at = prototype.at + 12 + n as usize * 8;
        self.get(self.strip(word(prototype.source, at + 4).ok()?)?)
    }

    /// The type that a pointer points at, behind typedefs and qualifiers.
    fn pointed_at(&self, pointer: &Type) -> Option<Type> {
        (pointer.kind == PTR).then_some(())?;
        self.get(self.strip(pointer.value)?)
    }

    fn is_packet(&self, t: &Type) -> bool {
        self.is_called(t, b"sk_buff")
    }

    fn is_called(&self, t: &Type, structure: &[u8]) -> bool {
        // A module may know it by its announcement alone.
        matches!(t.kind, STRUCT | FWD) && self.name(t.name) == Some(structure)
    }
}
