//! Tunnels in an event: what is inside the packet that [`super::Event::packet`] tells.
//!
//! Apart from the rest of the event because only the hooks of `--tunnel` tell it.

use super::Packet;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The number that tells tunnels between the same two ends apart.
    pub encapsulation: Encapsulation,
    /// The packet inside; `None` when it is encrypted, not captured, or of a protocol that this
    /// version does not know.
    pub inner: Option<Packet>,
}

impl Tunnel {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        encapsulation: Encapsulation::None,
        inner: None,
    };
}

/// A tunnel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// It has none, or it is not known.
    None,
    /// Network identifier of VXLAN and GENEVE (24 bits).
    Vni(u32),
    /// Key of GRE.
    Key(u32),
}
