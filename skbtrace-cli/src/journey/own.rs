//! Names, reasons and places as data of their own: what of [`crate::event`] borrows from a record.

use std::sync::Arc;

use super::hop::{Text, Texts};
use crate::event::{Chain, CodePlace, DropReason, Name, Symbol};

/// A table's or chain's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnName {
    /// Its bytes; empty when unknown.
    pub bytes: Arc<[u8]>,
    /// It was longer than the record has room for.
    pub cut: bool,
}

impl OwnName {
    pub(super) fn of(name: Name<'_>, texts: &mut Texts) -> Self {
        Self {
            bytes: texts.keep_name(name.bytes),
            cut: name.cut,
        }
    }

    /// As an event has it.
    #[must_use]
    pub fn name(&self) -> Name<'_> {
        Name {
            bytes: &self.bytes,
            cut: self.cut,
        }
    }
}

/// A netfilter chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnChain {
    /// A chain with a name of its own.
    Own(OwnName),
    /// A hook, or its built-in chain.
    Hook(&'static str),
    /// A hook that this version has no name for.
    HookNumber(u8),
}

impl OwnChain {
    pub(super) fn of(chain: Chain<'_>, texts: &mut Texts) -> Self {
        match chain {
            Chain::Own(name) => Self::Own(OwnName::of(name, texts)),
            Chain::Hook(name) => Self::Hook(name),
            Chain::HookNumber(number) => Self::HookNumber(number),
        }
    }

    /// As an event has it.
    #[must_use]
    pub fn chain(&self) -> Chain<'_> {
        match self {
            Self::Own(name) => Chain::Own(name.name()),
            Self::Hook(name) => Chain::Hook(name),
            Self::HookNumber(number) => Chain::HookNumber(*number),
        }
    }
}

/// Why a packet was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnReason {
    /// The kernel's reason by name.
    Named(Text),
    /// The kernel's reason, without a name.
    Number {
        /// The subsystem's name.
        subsystem: Option<Text>,
        /// The whole number.
        number: u32,
    },
    /// What the place tells, where the kernel gives no reason.
    Told(&'static str),
    /// The kernel gave none.
    Unknown,
}

/// A place in the kernel's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnPlace {
    /// Its address; `None` when unread.
    pub address: Option<u64>,
    /// The function it is in: name, distance from its start in bytes, and module.
    pub symbol: Option<(Text, u64, Option<Text>)>,
}

impl OwnPlace {
    pub(super) fn of(place: CodePlace<'_>, texts: &mut Texts) -> Self {
        Self {
            address: place.address,
            symbol: place.symbol.map(|symbol| {
                let module = symbol.module.map(|module| texts.keep(module));
                (texts.keep(symbol.function), symbol.offset, module)
            }),
        }
    }

    /// As an event has it.
    #[must_use]
    pub fn place(&self) -> CodePlace<'_> {
        let symbol = self.symbol.as_ref();
        CodePlace {
            address: self.address,
            symbol: symbol.map(|(function, offset, module)| Symbol {
                function,
                offset: *offset,
                module: module.as_deref(),
            }),
        }
    }
}

impl OwnReason {
    pub(super) fn of(reason: DropReason<'_>, texts: &mut Texts) -> Self {
        match reason {
            DropReason::Named(name) => Self::Named(texts.keep(name)),
            DropReason::Number { subsystem, number } => Self::Number {
                subsystem: subsystem.map(|name| texts.keep(name)),
                number,
            },
            DropReason::Told(word) => Self::Told(word),
            DropReason::Unknown => Self::Unknown,
        }
    }

    /// As an event has it.
    #[must_use]
    pub fn reason(&self) -> DropReason<'_> {
        match self {
            Self::Named(name) => DropReason::Named(name),
            Self::Number { subsystem, number } => DropReason::Number {
                subsystem: subsystem.as_deref(),
                number: *number,
            },
            Self::Told(word) => DropReason::Told(word),
            Self::Unknown => DropReason::Unknown,
        }
    }
}
