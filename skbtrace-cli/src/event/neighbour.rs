//! A neighbour: the host on the link that a packet goes to next.

/// What the kernel knew of it when the packet passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour<'a> {
    /// Its state; `None` when it could not be read.
    pub state: Option<NudState>,
    /// Its link-layer address.
    pub address: LinkAddress<'a>,
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAddress<'a> {
    /// There is none: it is not known yet or any more, or the link has none.
    None,
    /// This one.
    Known(&'a [u8]),
    /// It could not be read.
    Unknown,
}

/// State of a neighbour: bits `NUD_*` (include/uapi/linux/neighbour.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NudState(pub u8);

impl NudState {
    /// The bits' names, from the lowest on.
    const NAMES: [&str; 8] = [
        "INCOMPLETE",
        "REACHABLE",
        "STALE",
        "DELAY",
        "PROBE",
        "FAILED",
        "NOARP",
        "PERMANENT",
    ];
    /// `NUD_VALID` (include/net/neighbour.h): the states in which the address is one.
    const VALID: u8 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;

    /// Names of the bits that are set, without `NUD_`; none for a neighbour that nothing has been
    /// done for yet (`NUD_NONE`).
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Self::NAMES.into_iter().enumerate();
        named.filter_map(move |(bit, name)| (self.0 >> bit & 1 != 0).then_some(name))
    }

    /// Whether its address can be used.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }
}
