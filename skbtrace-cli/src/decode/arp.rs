//! ARP (RFC 826).

use std::net::Ipv4Addr;

use super::bytes;
use crate::event::{Arp, Packet};

/// Decodes a packet from its header on.
///
/// The hardware addresses may have any length; the protocol addresses lie behind them.
pub fn decode(body: &[u8]) -> Packet {
    let hardware = bytes::u8(body, 4).map(usize::from);
    let ipv4 =
        bytes::be16(body, 2) == Some(super::ethertype::IPV4) && bytes::u8(body, 5) == Some(4);
    let hardware = hardware.filter(|_| ipv4);
    let at = |at: usize| bytes::array::<4>(body, at).map(Ipv4Addr::from);
    Packet::Arp(Arp {
        op: bytes::be16(body, 6),
        sender: hardware.and_then(|length| at(8 + length)),
        target: hardware.and_then(|length| at(8 + 4 + 2 * length)),
    })
}
