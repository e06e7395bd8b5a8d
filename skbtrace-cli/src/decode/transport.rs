//! Transport headers: UDP (RFC 768), TCP (RFC 9293), and [`icmp`].

use skbtrace_common::proto;

use super::{bytes, icmp};
use crate::event::{Ports, TcpFlags, Transport};

/// Whether netfilter knows ports of protocol `number`.
pub fn has_ports(number: u8) -> bool {
    use proto::{DCCP, SCTP, TCP, UDP, UDPLITE};
    matches!(number, TCP | UDP | DCCP | SCTP | UDPLITE)
}

/// Decodes the header of protocol `number` that `body` starts with; a header that was not
/// captured is known by its number only.
#[inline]
pub fn decode(number: u8, body: &[u8]) -> Transport {
    let known = match number {
        proto::UDP => ports(body).map(Transport::Udp),
        proto::TCP => ports(body).map(|ports| Transport::Tcp(ports, flags(body))),
        proto::ICMP => icmp::decode(false, body).map(Transport::Icmp),
        proto::ICMP6 => icmp::decode(true, body).map(Transport::Icmp),
        _ => None,
    };
    known.unwrap_or(Transport::Other(Some(number)))
}

#[inline]
fn ports(body: &[u8]) -> Option<Ports> {
    let [a, b, c, d] = bytes::array(body, 0)?;
    Some(Ports {
        src: u16::from_be_bytes([a, b]),
        dst: u16::from_be_bytes([c, d]),
    })
}

#[inline]
fn flags(body: &[u8]) -> Option<TcpFlags> {
    bytes::u8(body, 13).map(TcpFlags)
}

impl TcpFlags {
    /// Names of the flags that are set, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        (0..)
            .zip(NAMES)
            .filter(move |&(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }
}
