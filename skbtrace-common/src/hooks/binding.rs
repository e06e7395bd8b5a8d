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
    /// What stands there for the row ([`Binding::hook`]), a constant of its own: without it many
    /// functions have the same binding, and a program is specialised once for all of these.
    pub const ROW_PLACEHOLDER: u64 = 0x5eed_5eed_5eed_0000;

    const POINTER: u64 = 1 << 20;
    const PKTINFO: u64 = 1 << 21;
    const BARE: u64 = 1 << 22;
    const SILENT: u64 = 1 << 23;
    const ARGUMENTS: u64 = 1 << 40;
    const DIRECT: u64 = 1 << 41;
    const COOKIE: u64 = 1 << 42;
    const HELPER: u64 = 1 << 43;
    const ADDRESS: u64 = 1 << 44;
    const SESSION: u64 = 1 << 45;
    const RETURN: u64 = 1 << 46;
    const QUEUED: u64 = 1 << 47;
    const ROW: u64 = 0xffff;
    const LAYER3: u64 = 0xf << 36;

    /// The same for a program whose context is the array of the function's arguments (fentry,
    /// tracepoints) and not the registers.
    #[must_use]
    pub const fn with_arguments(self) -> Self {
        Self(self.0 | Self::ARGUMENTS)
    }

    /// The same for a program to which the verifier lets the packet's fields be read without a
    /// helper: its argument is known to be a `struct sk_buff *`.
    #[must_use]
    pub const fn with_direct_loads(self) -> Self {
        Self(self.0 | Self::DIRECT)
    }

    /// The same for a program that must ask for its arguments (fentry.multi).
    #[must_use]
    pub const fn with_argument_helper(self) -> Self {
        Self(self.0 | Self::HELPER)
    }

    /// The same for a program that serves several rows, which learns the row from its attach
    /// cookie, and takes packets of every protocol.
    #[must_use]
    pub const fn shared(self) -> Self {
        Self((self.0 & !(Self::ROW | Self::LAYER3)) | Self::COOKIE)
    }

    /// The same for a program that serves several rows and tells the function's address, by which
    /// user space knows the row: where the kernel searches for a cookie, that is cheaper.
    #[must_use]
    pub const fn shared_by_address(self) -> Self {
        Self((self.shared().0 & !Self::COOKIE) | Self::ADDRESS)
    }

    /// The same for a program that runs at the function's return.
    #[must_use]
    pub const fn at_return(self) -> Self {
        Self(self.0 | Self::RETURN)
    }

    /// The same for a program that runs at the function's entry and at its return, asks which of
    /// them it is, and has eight bytes that stay with the call (kprobe.session).
    #[must_use]
    pub const fn with_session(self) -> Self {
        Self(self.0 | Self::SESSION)
    }

    /// The same without events.
    #[must_use]
    pub const fn silent(self) -> Self {
        Self(self.0 | Self::SILENT)
    }

    /// The same for any row.
    #[must_use]
    pub const fn of_any_row(self) -> Self {
        Self(self.0 & !Self::ROW)
    }

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
            _ => 0,
        };
        // What a program does not ask for is the same for all functions, so that they share one.
        let (state, table) = match hook.kind {
            Kind::Hop if hook.queued => (0, site.table),
            Kind::Hop => (0, 0),
            _ => (site.state, site.table),
        };
        Self(
            row as u64
                | (position as u64) << 16
                | how
                | if hook.bare { Self::BARE } else { 0 }
                | if hook.queued { Self::QUEUED } else { 0 }
                | (state as u64) << 24
                | (table as u64) << 28
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

    /// Position of the table, the chain, the other packet or the socket, or 0.
    #[must_use]
    #[inline(always)]
    pub const fn table(self) -> u64 {
        self.0 >> 28 & 0xf
    }

    /// The context is the array of the function's arguments.
    #[must_use]
    #[inline(always)]
    pub const fn has_arguments(self) -> bool {
        self.0 & Self::ARGUMENTS != 0
    }

    /// The packet's fields can be read without a helper.
    #[must_use]
    #[inline(always)]
    pub const fn has_direct_loads(self) -> bool {
        self.0 & Self::DIRECT != 0
    }

    /// Arguments come from a helper.
    #[must_use]
    #[inline(always)]
    pub const fn has_argument_helper(self) -> bool {
        self.0 & Self::HELPER != 0
    }

    /// The row is known by the function's address.
    #[must_use]
    #[inline(always)]
    pub const fn has_address(self) -> bool {
        self.0 & Self::ADDRESS != 0
    }

    /// The row is in the attach cookie.
    #[must_use]
    #[inline(always)]
    pub const fn has_cookie(self) -> bool {
        self.0 & Self::COOKIE != 0
    }

    /// The program runs at the function's return.
    #[must_use]
    #[inline(always)]
    pub const fn is_at_return(self) -> bool {
        self.0 & Self::RETURN != 0
    }

    /// The program runs at the entry and at the return.
    #[must_use]
    #[inline(always)]
    pub const fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }

    /// No events are wanted, only following.
    #[must_use]
    #[inline(always)]
    pub const fn is_silent(self) -> bool {
        self.0 & Self::SILENT != 0
    }

    /// Packets may have no network header yet.
    #[must_use]
    #[inline(always)]
    pub const fn is_bare(self) -> bool {
        self.0 & Self::BARE != 0
    }

    /// Packets without a socket stand in the queue of that at [`Binding::table`].
    #[must_use]
    #[inline(always)]
    pub const fn is_queued(self) -> bool {
        self.0 & Self::QUEUED != 0
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
