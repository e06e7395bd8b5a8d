//! Bindings: what a program is told of the function it is attached to.

use super::{Arg, Hook, Kind, Site};
#[cfg(doc)]
use super::{Layer3, TableKind};

/// What a program is told of the one function it is attached to: a 64-bit constant that user
/// space writes into the program before loading it, so that one image serves every function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding(pub u64);

impl Binding {
    /// What stands in the image until user space replaces it.
    pub const PLACEHOLDER: u64 = 0x5eed_5eed_5eed_5eed;

    const POINTER: u64 = 1 << 20;
    const PKTINFO: u64 = 1 << 21;

    const BARE: u64 = 1 << 22;

    /// Packs row `row` of the catalogue, which is `hook`, listened to at `site`.
    #[must_use]
    pub const fn new(row: u16, hook: &Hook, site: &Site) -> Self {
        let (position, how) = match site.arg {
            Arg::Skb(position) => (position, 0),
            Arg::SkbPtr(position) => (position, Self::POINTER),
            Arg::NftPktinfo(position) => (position, Self::PKTINFO),
        };
        let table_kind = match hook.kind {
            Kind::Verdict(kind) => kind as u64,
            Kind::Hop | Kind::Clone => 0,
        };
        Self(
            row as u64
                | (position as u64) << 16
                | how
                | if hook.bare { Self::BARE } else { 0 }
                | (site.state as u64) << 24
                | (site.table as u64) << 28
                | table_kind << 32
                | (hook.layer3 as u64) << 36,
        )
    }

    /// Row of the catalogue.
    #[must_use]
    #[inline(always)]
    pub const fn hook(self) -> u16 {
        self.0 as u16
    }

    /// Position of the argument that leads to the packet.
    #[must_use]
    #[inline(always)]
    pub const fn position(self) -> u64 {
        self.0 >> 16 & 0xf
    }

    /// The argument is a `struct sk_buff **`.
    #[must_use]
    #[inline(always)]
    pub const fn is_pointer(self) -> bool {
        self.0 & Self::POINTER != 0
    }

    /// The argument is a `struct nft_pktinfo *`.
    #[must_use]
    #[inline(always)]
    pub const fn is_pktinfo(self) -> bool {
        self.0 & Self::PKTINFO != 0
    }

    /// Position of the `nf_hook_state`, or 0.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.0 >> 24 & 0xf
    }

    /// Position of the table or chain, or 0.
    #[must_use]
    #[inline(always)]
    pub const fn table(self) -> u64 {
        self.0 >> 28 & 0xf
    }

    /// Packets may have no network header yet.
    #[must_use]
    #[inline(always)]
    pub const fn is_bare(self) -> bool {
        self.0 & Self::BARE != 0
    }

    /// [`Layer3`] as a number.
    #[must_use]
    #[inline(always)]
    pub const fn layer3(self) -> u8 {
        (self.0 >> 36 & 0xf) as u8
    }

    /// [`TableKind`] as a number.
    #[must_use]
    #[inline(always)]
    pub const fn table_kind(self) -> u8 {
        (self.0 >> 32 & 0xf) as u8
    }
}
