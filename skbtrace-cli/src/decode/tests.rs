//! Packets of every kind, built by hand.

mod drop;
mod ip;
mod link;
mod socket;
mod transport;
mod unread;
mod verdict;

use skbtrace_common::{Plain as _, record::RawEvent};

use super::{
    decode,
    testing::{self, Machine},
};
use crate::event::{IpPacket, Packet, Ports, Transport};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PORTS: Ports = Ports {
    src: 40547,
    dst: 9999,
};

fn packet_of(raw: &RawEvent) -> Packet {
    let record = testing::parse(raw.as_bytes());
    decode(&record, &Machine::new()).packet
}

/// What the packet carries; its addresses must be those of `testing::ipv4` or `testing::ipv6`.
fn carried(raw: &RawEvent) -> Transport {
    let Packet::Ip(IpPacket {
        src: Some(src),
        dst: Some(dst),
        transport,
    }) = packet_of(raw)
    else {
        panic!("no IP packet: {:?}", packet_of(raw));
    };
    let text = (src.to_string(), dst.to_string());
    assert!(
        text == ("172.18.0.15".into(), "172.18.253.6".into())
            || text == ("fd00::1".into(), "fd00::2".into()),
        "{text:?}"
    );
    transport
}

fn carried4(proto: u8, payload: &[u8]) -> Transport {
    carried(&testing::packet(IPV4, &testing::ipv4(proto, 0, payload)))
}

fn carried6(next: u8, payload: &[u8]) -> Transport {
    carried(&testing::packet(IPV6, &testing::ipv6(next, payload)))
}
