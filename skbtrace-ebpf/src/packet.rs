//! The packet's headers: where the network header is and what protocol it has.
//!
//! `skb->network_header` is not always it: a tagged frame that was just received has it on the
//! VLAN tag, a packet on its way out of a TCP socket has none yet.

use skbtrace_common::{
    hooks::{Binding, Layer3},
    record::LEAD,
};

use crate::{
    kernel::read,
    skb::{Positions, Skb},
};

/// Ethertypes, network order.
pub const IPV4: u16 = 0x0800_u16.to_be();
/// IPv6.
pub const IPV6: u16 = 0x86dd_u16.to_be();
/// ARP.
pub const ARP: u16 = 0x0806_u16.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const VLAN_OUTER: u16 = 0x88a8_u16.to_be();

const MAC_HEADER: u32 = 14;
const TAG: u32 = 4;
/// `mac_header` and `transport_header` of a packet that has none.
pub const UNSET: u32 = 0xffff;

/// Where a packet's headers are.
pub struct Headers {
    /// Start of the buffer.
    pub head: u64,
    /// Offset of the network header from `head`; 0 when there is none.
    pub network: u32,
    /// Its ethertype, network order; 0 when unknown.
    pub protocol: u16,
}

impl Headers {
    /// Finds the network header behind any VLAN tags, reading of its place what is needed.
    #[inline(always)]
    pub fn find(skb: &Skb, binding: Binding) -> Self {
        let (head, network) = (skb.head(), skb.network_header());
        let (mac, data) = (|| skb.mac_header(), || skb.data(head));
        Self::find_from(skb, binding, head, network, mac, data)
    }

    /// The same with its place known.
    #[inline(always)]
    pub fn find_at(skb: &Skb, binding: Binding, at: &Positions) -> Self {
        Self::find_from(skb, binding, at.head, at.network, || at.mac, || at.data)
    }

    /// Where the function takes packets of one protocol only, there is nothing to find.
    #[inline(always)]
    fn find_from(
        skb: &Skb,
        binding: Binding,
        head: u64,
        network: u32,
        mac: impl Fn() -> u32,
        data: impl Fn() -> u32,
    ) -> Self {
        let mut headers = Self {
            head,
            network,
            protocol: 0,
        };
        let layer3 = binding.layer3();
        let is_known = layer3 != Layer3::Any as u8;
        if !is_known || binding.is_bare() {
            headers.protocol = skb.protocol();
        }
        if binding.is_bare() && headers.network == 0 {
            if headers.protocol != 0 && skb.sk() == 0 {
                // Just received: the device's driver has set the protocol and left the network
                // header to be set by __netif_receive_skb_core.
                headers.network = data();
            } else {
                headers.protocol = 0;
            }
        } else if layer3 == Layer3::V4 as u8 {
            headers.protocol = IPV4;
        } else if layer3 == Layer3::V6 as u8 {
            headers.protocol = IPV6;
        } else if layer3 == Layer3::Arp as u8 {
            headers.protocol = ARP;
        } else if is_tag(headers.protocol) {
            headers.skip_tags(mac());
        } else if headers.protocol == 0 && headers.network != 0 {
            headers.guess_from_version();
        }
        headers
    }

    /// Address of the network header.
    #[inline(always)]
    pub fn address(&self) -> u64 {
        self.head + u64::from(self.network)
    }

    /// Distance from the MAC header to the network header, or 0: the header is where `data`
    /// points once it was pushed for sending, otherwise where it was received.
    #[inline(always)]
    pub fn l2_len(&self, at: &Positions) -> u32 {
        let pushed = self.network.wrapping_sub(at.data);
        if (MAC_HEADER..=LEAD as u32).contains(&pushed) {
            return pushed;
        }
        let received = self.network.wrapping_sub(at.mac);
        if at.mac != UNSET && (MAC_HEADER..=LEAD as u32).contains(&received) {
            return received;
        }
        0
    }

    /// A received frame has its network header on the first tag, right behind the MAC header; a
    /// sent one keeps it where it was, and the ethertype stands before it.
    #[inline(always)]
    fn skip_tags(&mut self, mac: u32) {
        if self.network == mac + MAC_HEADER {
            for _ in 0..2 {
                self.protocol = read::<u16>(self.address() + 2).unwrap_or(0);
                self.network += TAG;
                if !is_tag(self.protocol) {
                    break;
                }
            }
        } else {
            self.protocol = read::<u16>(self.address() - 2).unwrap_or(0);
        }
    }

    /// A socket's packet has an IP header before its ethertype is set (__ip_local_out sets it):
    /// the version in its first byte tells.
    #[inline(always)]
    fn guess_from_version(&mut self) {
        match read::<u8>(self.address()) {
            Some(0x45..=0x4f) => self.protocol = IPV4,
            Some(0x60..=0x6f) => self.protocol = IPV6,
            _ => {}
        }
    }
}

#[inline(always)]
fn is_tag(protocol: u16) -> bool {
    protocol == VLAN || protocol == VLAN_OUTER
}
