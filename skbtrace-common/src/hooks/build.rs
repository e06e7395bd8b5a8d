//! Words that the rows of the catalogue are written in.

use super::{Arg, Hook, Kind, Layer3, Layer4, ROUTE, Site, Stage};

/// A hop at the function of the same name, which most rows are.
macro_rules! function {
    ($name:literal, $stage:expr, $arg:expr) => {
        $crate::hooks::build::hop($name, $stage, &[$crate::hooks::build::at($name, $arg)])
    };
}
pub(super) use function;

/// A function.
pub(super) const fn at(symbol: &'static str, arg: Arg) -> Site {
    Site {
        symbol,
        arg,
        state: 0,
        table: 0,
        tracepoint: false,
    }
}

/// A tracepoint, which says where the packet is among its own arguments.
pub(super) const fn tracepoint(name: &'static str, arg: Arg) -> Site {
    Site {
        tracepoint: true,
        ..at(name, arg)
    }
}

/// A function of two packets, or of a packet and its neighbour.
pub(super) const fn with_other(symbol: &'static str, arg: Arg, other: u8) -> Site {
    Site {
        table: other,
        ..at(symbol, arg)
    }
}

/// A row of `--socket`: a hop at the function of the same name, with the socket that it works for, at
/// a position, or at 0 the packet's own.
macro_rules! of_socket {
    ($name:literal, $stage:expr, $arg:expr, $socket:expr) => {
        $crate::hooks::build::hop(
            $name,
            $stage,
            &[$crate::hooks::build::with_other($name, $arg, $socket)],
        )
        .kind($crate::hooks::Kind::Socket)
        .sets($crate::hooks::SOCKET)
    };
}
pub(super) use of_socket;

/// A function of netfilter, with the positions of hook state and table, or 0.
pub(super) const fn table(symbol: &'static str, arg: Arg, state: u8, table: u8) -> Site {
    Site {
        state,
        table,
        ..at(symbol, arg)
    }
}

/// A row of `--route` that reports a packet's passing.
pub(super) const fn hop(name: &'static str, stage: Stage, sites: &'static [Site]) -> Hook {
    Hook {
        name,
        sets: ROUTE,
        stage,
        kind: Kind::Hop,
        layer3: Layer3::Any,
        layer4: Layer4::Any,
        bare: false,
        queued: false,
        follows: false,
        begins: false,
        module: None,
        sites,
    }
}

impl Hook {
    pub(super) const fn v4(mut self) -> Self {
        self.layer3 = Layer3::V4;
        self
    }
    pub(super) const fn v6(mut self) -> Self {
        self.layer3 = Layer3::V6;
        self
    }
    pub(super) const fn arp(mut self) -> Self {
        self.layer3 = Layer3::Arp;
        self
    }
    pub(super) const fn only(mut self, layer4: Layer4) -> Self {
        self.layer4 = layer4;
        self
    }
    pub(super) const fn bare(mut self) -> Self {
        self.bare = true;
        self
    }
    /// Bare, and of the function's socket where it has none of its own.
    pub(super) const fn queued(mut self) -> Self {
        self.queued = true;
        self.bare()
    }
    pub(super) const fn begins(mut self) -> Self {
        self.begins = true;
        self
    }
    pub(super) const fn follows(mut self) -> Self {
        self.follows = true;
        self
    }
    pub(super) const fn module(mut self, module: &'static str) -> Self {
        self.module = Some(module);
        self
    }
    pub(super) const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
    pub(super) const fn sets(mut self, sets: u32) -> Self {
        self.sets = sets;
        self
    }
}
