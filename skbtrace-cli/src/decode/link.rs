//! The link layer: the Ethernet header and VLAN tags.
//!
//! A tag is in one of three places: beside the packet (`skb->vlan_tci`, where devices with
//! offload put it), between MAC and network header, or, on receive before `skb_vlan_untag`, just
//! where the network header should start.

use skbtrace_common::record::{HAS_L2, HAS_VLAN, LEAD, RawEvent};

use super::bytes;
use crate::event::Vlans;

/// Length of an Ethernet header without tags.
const ETH_HLEN: usize = 14;
/// Length of a VLAN tag.
const VLAN_HLEN: usize = 4;

/// 802.1Q, 802.1ad, and what stood for the latter before it was a standard.
#[inline]
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// Notes the tag beside the packet: always the outermost.
#[inline]
pub fn carried_tag(raw: &RawEvent, vlans: &mut Vlans) {
    if raw.flags & HAS_VLAN != 0 {
        vlans.push(raw.vlan_tci);
    }
}

/// The destination of the Ethernet header, if there is one, and the tags in it.
///
/// Only lengths an Ethernet header can have are believed: a tunnel's device has its outer IP
/// header in that place (20 bytes and more; net/ipv4/ip_tunnel.c), a point-to-point one nothing.
#[inline]
pub fn header(raw: &RawEvent, vlans: &mut Vlans) -> Option<[u8; 6]> {
    let l2_len = usize::from(raw.l2_len);
    if raw.flags & HAS_L2 == 0 || !matches!(l2_len, 14 | 18 | 22) {
        return None;
    }
    let header = raw.packet.get(LEAD - l2_len..LEAD)?;
    let mut at = ETH_HLEN;
    while at < l2_len {
        if !bytes::be16(header, at - 2).is_some_and(is_tag) {
            break;
        }
        vlans.push(bytes::be16(header, at)?);
        at += VLAN_HLEN;
    }
    bytes::array(header, 0)
}

/// What lies behind the tags that `body` starts with: its ethertype (a tag's own, when that was
/// not captured entirely) and the rest.
#[inline]
pub fn inner<'a>(mut ethertype: u16, mut body: &'a [u8], vlans: &mut Vlans) -> (u16, &'a [u8]) {
    while is_tag(ethertype) {
        let Some((tag, rest)) = body.split_first_chunk::<VLAN_HLEN>() else {
            break;
        };
        vlans.push(u16::from_be_bytes([tag[0], tag[1]]));
        ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        body = rest;
    }
    (ethertype, body)
}
