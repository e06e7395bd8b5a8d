//! What rules ask of a packet, as far as what is known of the packet can answer it: addresses, protocol
//! and ports. Anything else that a rule asks stays open.

use std::net::IpAddr;

use skbtrace_common::proto;

use crate::event::{Packet, Transport};

/// What is known of a packet, where a rule may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The hook's family (`NFPROTO_*`).
    family: Option<u8>,
    /// IP protocol, after any extension headers.
    protocol: Option<u8>,
    /// Bytes from the network header on.
    network: [Option<u8>; Self::NETWORK],
    /// From the transport header on: ports, of UDP and TCP.
    transport: [Option<u8>; 4],
}

impl Facts {
    /// An IPv6 header.
    const NETWORK: usize = 40;

    /// Nothing.
    pub const NONE: Self = Self {
        family: None,
        protocol: None,
        network: [None; Self::NETWORK],
        transport: [None; 4],
    };

    /// Of a packet at a hook of that family.
    pub fn of(packet: &Packet, pf: u8) -> Self {
        let mut facts = Self {
            family: Some(pf),
            ..Self::NONE
        };
        let Packet::Ip(ip) = packet else {
            return facts;
        };
        facts.write(ip.src, [12, 8]);
        facts.write(ip.dst, [16, 24]);
        let is_ipv4 = matches!(
            (ip.src, ip.dst),
            (Some(IpAddr::V4(_)), _) | (_, Some(IpAddr::V4(_)))
        );
        let (protocol, ports) = match ip.transport {
            Transport::Udp(ports) => (Some(proto::UDP), Some(ports)),
            Transport::Tcp(ports, _) => (Some(proto::TCP), Some(ports)),
            Transport::Icmp(_) => (Some(if is_ipv4 { proto::ICMP } else { proto::ICMP6 }), None),
            Transport::Fragment { proto, .. } => (Some(proto), None),
            // Of IPv6 it may be a header that another one follows.
            Transport::Other(protocol) => (protocol.filter(|_| is_ipv4), None),
        };
        facts.protocol = protocol;
        if is_ipv4 {
            facts.network[9] = protocol;
        }
        if let Some(ports) = ports {
            let [[a, b], [c, d]] = [ports.src, ports.dst].map(u16::to_be_bytes);
            facts.transport = [a, b, c, d].map(Some);
        }
        facts
    }

    /// An address, which is elsewhere in IPv4 and in IPv6.
    fn write(&mut self, address: Option<IpAddr>, [v4, v6]: [usize; 2]) {
        let (at, bytes) = match address {
            Some(IpAddr::V4(address)) => (v4, address.octets().to_vec()),
            Some(IpAddr::V6(address)) => (v6, address.octets().to_vec()),
            None => return,
        };
        for (to, byte) in self.network.iter_mut().skip(at).zip(bytes) {
            *to = Some(byte);
        }
    }

    /// What is there; `None` unless all of it is known.
    fn read(&self, field: Field) -> Option<Vec<u8>> {
        let (bytes, at, length) = match field {
            Field::Family => return self.family.map(|family| vec![family]),
            Field::Protocol => return self.protocol.map(|protocol| vec![protocol]),
            Field::Network { at, length } => (&self.network[..], at, length),
            Field::Transport { at, length } => (&self.transport[..], at, length),
        };
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        bytes.iter().copied().collect()
    }
}

/// Where a rule looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The hook's family.
    Family,
    /// The IP protocol.
    Protocol,
    /// So many bytes of the network header.
    Network { at: usize, length: usize },
    /// Likewise of the transport header.
    Transport { at: usize, length: usize },
}

impl Field {
    /// The source port, or with 1 the destination's.
    pub const fn port(nth: usize) -> Self {
        Self::Transport {
            at: 2 * nth,
            length: 2,
        }
    }
}

/// What is to be there, in network order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Is(Vec<u8>),
    IsNot(Vec<u8>),
    /// Less, or less and equal.
    Below(Vec<u8>, bool),
    /// Likewise.
    Above(Vec<u8>, bool),
    Within(Vec<u8>, Vec<u8>),
    Outside(Vec<u8>, Vec<u8>),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub field: Field,
    /// Of these bits alone; empty for all.
    pub mask: Vec<u8>,
    pub test: Test,
}

impl Ask {
    /// The answer, where it is known.
    pub fn holds(&self, facts: &Facts) -> Option<bool> {
        let mut found = facts.read(self.field)?;
        if !self.mask.is_empty() {
            if self.mask.len() != found.len() {
                return None;
            }
            for (byte, mask) in found.iter_mut().zip(&self.mask) {
                *byte &= mask;
            }
        }
        let fits = |other: &Vec<u8>| other.len() == found.len();
        let (one, other) = match &self.test {
            Test::Is(value)
            | Test::IsNot(value)
            | Test::Below(value, _)
            | Test::Above(value, _) => (value, value),
            Test::Within(from, to) | Test::Outside(from, to) => (from, to),
        };
        if !fits(one) || !fits(other) {
            return None;
        }
        let is_within = found >= *one && found <= *other;
        Some(match &self.test {
            Test::Is(_) | Test::Within(..) => is_within,
            Test::IsNot(_) | Test::Outside(..) => !is_within,
            Test::Below(value, or_is) => found < *value || *or_is && found == *value,
            Test::Above(value, or_is) => found > *value || *or_is && found == *value,
        })
    }
}

/// What `struct xt_udp` or `struct xt_tcp` asks (include/uapi/linux/netfilter/xt_tcpudp.h), and whether
/// it asks more than ports; `None` for bytes that are too few.
pub fn of_ports(is_tcp: bool, bytes: &[u8]) -> Option<(Vec<Ask>, bool)> {
    let number = |at: usize| {
        let bytes = bytes.get(2 * at..)?.first_chunk()?;
        Some(u16::from_ne_bytes(*bytes))
    };
    // Of TCP, before the flags: an option, flags that are looked at, and those that are to be set.
    let (inverted, more) = if is_tcp {
        let more = bytes.get(8..11)?;
        (*bytes.get(11)?, more.iter().any(|byte| *byte != 0))
    } else {
        (*bytes.get(8)?, false)
    };
    let mut asks = Vec::new();
    for nth in 0..2 {
        let (from, to) = (number(2 * nth)?, number(2 * nth + 1)?);
        let is_inverted = inverted & (1 << nth) != 0;
        if (from, to) == (0, u16::MAX) && !is_inverted {
            continue;
        }
        let [from, to] = [from, to].map(|port| port.to_be_bytes().to_vec());
        asks.push(Ask {
            field: Field::port(nth),
            mask: Vec::new(),
            test: if is_inverted {
                Test::Outside(from, to)
            } else {
                Test::Within(from, to)
            },
        });
    }
    Some((asks, more || inverted & !3 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{IpPacket, Ports};

    fn udp(dst: &str, port: u16) -> Facts {
        let packet = Packet::Ip(IpPacket {
            src: None,
            dst: Some(dst.parse().expect("an address")),
            transport: Transport::Udp(Ports {
                src: 40547,
                dst: port,
            }),
        });
        Facts::of(&packet, 2)
    }

    fn ask(field: Field, test: Test) -> Ask {
        Ask {
            field,
            mask: Vec::new(),
            test,
        }
    }

    #[test]
    fn what_is_known_answers_and_what_is_not_does_not() {
        let facts = udp("10.1.0.2", 9999);
        let holds = |field, test| ask(field, test).holds(&facts);
        let port = |port: u16| port.to_be_bytes().to_vec();
        assert_eq!(holds(Field::Family, Test::Is(vec![2])), Some(true));
        assert_eq!(holds(Field::Protocol, Test::Is(vec![17])), Some(true));
        assert_eq!(holds(Field::Protocol, Test::IsNot(vec![17])), Some(false));
        let to = Field::port(1);
        assert_eq!(holds(to, Test::Is(port(9999))), Some(true));
        assert_eq!(holds(to, Test::Within(port(1), port(9998))), Some(false));
        assert_eq!(holds(to, Test::Outside(port(1), port(9998))), Some(true));
        assert_eq!(holds(to, Test::Below(port(9999), false)), Some(false));
        assert_eq!(holds(to, Test::Below(port(9999), true)), Some(true));
        assert_eq!(holds(to, Test::Above(port(9998), false)), Some(true));
        let dst = Field::Network { at: 16, length: 4 };
        assert_eq!(holds(dst, Test::Is(vec![10, 1, 0, 2])), Some(true));
        let mut net = ask(dst, Test::Is(vec![10, 1, 0, 0]));
        net.mask = vec![255, 255, 255, 0];
        assert_eq!(net.holds(&facts), Some(true));
        // The source, and lengths that do not fit.
        let src = Field::Network { at: 12, length: 4 };
        assert_eq!(holds(src, Test::Is(vec![10, 1, 0, 1])), None);
        assert_eq!(holds(to, Test::Is(vec![1])), None);
        let far = Field::Network {
            at: usize::MAX,
            length: 4,
        };
        assert_eq!(holds(far, Test::Is(vec![0; 4])), None);
        let to = udp("fd00::2", 1).read(Field::Network { at: 24, length: 16 });
        assert_eq!(to.map(|to| (to[0], to[15])), Some((0xfd, 2)));
    }

    #[test]
    fn ports_as_xtables_has_them() {
        let bytes = |ports: [u16; 4], rest: &[u8]| {
            let mut bytes = ports.map(u16::to_ne_bytes).concat();
            bytes.extend(rest);
            bytes
        };
        let (asks, more) =
            of_ports(false, &bytes([0, 65535, 9000, 9999], &[0])).expect("bytes enough");
        assert_eq!((asks.len(), more), (1, false));
        assert_eq!(asks[0].holds(&udp("10.1.0.2", 9999)), Some(true));
        assert_eq!(asks[0].holds(&udp("10.1.0.2", 10000)), Some(false));
        // Inverted, and with flags.
        let (asks, more) =
            of_ports(true, &bytes([0, 65535, 9000, 9999], &[0, 2, 2, 2])).expect("bytes enough");
        assert_eq!((asks.len(), more), (1, true));
        assert_eq!(asks[0].holds(&udp("10.1.0.2", 9999)), Some(false));
        assert_eq!(of_ports(true, &bytes([0; 4], &[0])), None);
    }
}
