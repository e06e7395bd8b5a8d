//! ICMP (RFC 792) and ICMPv6 (RFC 4443, 4861, 3810).

use super::bytes;
use crate::event::{Echo, Icmp};

/// What a type of message is called, and what belongs to it.
struct Kind {
    number: u8,
    name: &'static str,
    has: Has,
}

/// What matters of a message beside its type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    /// Identifier and sequence number.
    Echo,
    /// The code: errors.
    Code,
    /// Nothing.
    Nothing,
}

const fn kind(number: u8, name: &'static str, has: Has) -> Kind {
    Kind { number, name, has }
}

const V4: &[Kind] = &[
    kind(8, "request", Has::Echo),
    kind(0, "reply", Has::Echo),
    kind(3, "unreachable", Has::Code),
    kind(4, "quench", Has::Code),
    kind(5, "redirect", Has::Code),
    kind(9, "RA", Has::Nothing),
    kind(10, "RS", Has::Nothing),
    kind(11, "exceeded", Has::Code),
    kind(12, "parameter", Has::Code),
    kind(13, "timestamp", Has::Echo),
    kind(14, "timestampreply", Has::Echo),
];

const V6: &[Kind] = &[
    kind(128, "request", Has::Echo),
    kind(129, "reply", Has::Echo),
    kind(135, "NS", Has::Nothing),
    kind(136, "NA", Has::Nothing),
    kind(133, "RS", Has::Nothing),
    kind(134, "RA", Has::Nothing),
    kind(1, "unreachable", Has::Code),
    kind(2, "toobig", Has::Code),
    kind(3, "exceeded", Has::Code),
    kind(4, "parameter", Has::Code),
    kind(130, "MLDquery", Has::Nothing),
    kind(131, "MLDreport", Has::Nothing),
    kind(132, "MLDdone", Has::Nothing),
    kind(137, "redirect", Has::Nothing),
    kind(143, "MLD2report", Has::Nothing),
];

fn find(v6: bool, number: u8) -> Option<&'static Kind> {
    let kinds = if v6 { V6 } else { V4 };
    kinds.iter().find(|kind| kind.number == number)
}

/// Decodes a message; `None` when not even type and code were captured.
pub fn decode(v6: bool, body: &[u8]) -> Option<Icmp> {
    let [number, code] = bytes::array(body, 0)?;
    let message = Icmp {
        v6,
        kind: number,
        code,
        echo: None,
    };
    let echo = message.is_echo().then(|| bytes::array(body, 4)).flatten();
    Some(Icmp {
        echo: echo.map(|[a, b, c, d]| Echo {
            id: u16::from_be_bytes([a, b]),
            seq: u16::from_be_bytes([c, d]),
        }),
        ..message
    })
}

impl Icmp {
    /// What the type is called; `None` when this version has no name for it.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        find(self.v6, self.kind).map(|kind| kind.name)
    }

    /// Whether messages of this type carry an identifier and a sequence number.
    #[must_use]
    pub fn is_echo(&self) -> bool {
        find(self.v6, self.kind).is_some_and(|kind| kind.has == Has::Echo)
    }

    /// Whether the code tells something: for errors, and for types without a name.
    #[must_use]
    pub fn code_matters(&self) -> bool {
        find(self.v6, self.kind).is_none_or(|kind| kind.has == Has::Code)
    }
}
