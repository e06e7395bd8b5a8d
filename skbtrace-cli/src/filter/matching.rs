//! The filter applied to events that were recorded.
//!
//! The kernel side decides from a packet's bytes, before there is an event; here the same is
//! decided from the event, for replays. **An event that the kernel side would not have reported
//! with this filter is not shown, and what it would have reported is**, with one exception: a
//! packet that first matched where the recording was not listening is recognised at the next place
//! where it still matches.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
};

use skbtrace_common::{
    config::{
        DPORT, DST, Filter, HOST, ICMPID, IFACE, List, MARK, NETNS, Net4, Net6, PID, PORT, PROTO,
        SPORT, SRC,
    },
    proto::{ICMP, ICMP6, TCP, UDP},
};

use crate::{
    decode::Names,
    event::{Action, Event, Packet, Transport},
    lineage::PacketId,
};

/// How many packets are remembered as followed.
const REMEMBERED: usize = 1 << 16;

/// Decides which events are shown.
pub struct Matcher {
    filter: Filter,
    active: u32,
    /// Network namespaces that are asked for by name.
    netns: Vec<String>,
    /// Packets that matched, and those made from them; `None` not to follow.
    followed: Option<HashSet<PacketId>>,
    order: VecDeque<PacketId>,
}

impl Matcher {
    /// By a filter, and namespaces by name besides those in the filter.
    #[must_use]
    pub fn new(filter: Filter, netns: Vec<String>, follow: bool) -> Self {
        let by_name = if netns.is_empty() { 0 } else { NETNS };
        Self {
            active: filter.active() | by_name,
            filter,
            netns,
            followed: follow.then(HashSet::new),
            order: VecDeque::new(),
        }
    }

    /// Whether every event is shown.
    #[must_use]
    pub fn accepts_all(&self) -> bool {
        self.active == 0
    }

    /// Whether an event is shown. Events must come in the order in which they happened.
    pub fn shows(&mut self, event: &Event<'_>, names: &dyn Names) -> bool {
        if self.active == 0 {
            return true;
        }
        let Some((followed, id)) = self.followed.as_mut().zip(event.id) else {
            return self.accepts(event, names);
        };
        let of_followed = |id: PacketId| followed.contains(&id);
        // What is made from a followed packet is followed; where it is, is asked at each hop.
        let is_followed = of_followed(id) || event.parent.is_some_and(of_followed);
        let shows = if is_followed {
            self.accepts_place(event, names)
        } else {
            self.accepts(event, names)
        };
        if (is_followed || shows)
            && let Some(followed) = &mut self.followed
            && followed.insert(id)
        {
            self.order.push_back(id);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                followed.remove(&oldest);
            }
        }
        shows
    }

    fn accepts(&self, event: &Event<'_>, names: &dyn Names) -> bool {
        let has = |part: u32| self.active & part != 0;
        let marked = |mark: u32| {
            let marks = self.filter.mark.as_slice().iter();
            marks
                .copied()
                .any(|wanted| mark & wanted.mask == wanted.value)
        };
        (!has(PID) || self.filter.pid.as_slice().contains(&event.pid))
            && (!has(MARK) || event.mark.is_some_and(marked))
            && self.accepts_place(event, names)
            && (self.accepts_packet(&event.packet)
                // Compared when it came in, before it was translated.
                || matches!(&event.action, Action::Nat { before, .. } if self.accepts_packet(before)))
    }

    fn accepts_place(&self, event: &Event<'_>, names: &dyn Names) -> bool {
        let in_netns = |inode: u32| {
            self.filter.netns.as_slice().contains(&inode)
                || names
                    .netns(inode)
                    .is_some_and(|name| self.netns.iter().any(|wanted| wanted == name))
        };
        let wanted = |name: &[u8]| {
            let names = self.filter.iface.as_slice().iter();
            names.copied().any(|words| {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let length = bytes.iter().position(|&byte| byte == 0);
                bytes.get(..length.unwrap_or(bytes.len())) == Some(name)
            })
        };
        (self.active & NETNS == 0 || event.netns.is_some_and(in_netns))
            && (self.active & IFACE == 0
                || event
                    .device
                    .is_some_and(|device| wanted(device.name.bytes())))
    }

    fn accepts_packet(&self, packet: &Packet) -> bool {
        let has = |part: u32| self.active & part != 0;
        let ends = match packet {
            Packet::Ip(ip) => (ip.src, ip.dst),
            Packet::Arp(arp) => (arp.sender.map(IpAddr::V4), arp.target.map(IpAddr::V4)),
            Packet::Unknown | Packet::Ethertype(_) => (None, None),
        };
        let within = |list4: &List<Net4>, list6: &List<Net6>, end: Option<IpAddr>| {
            end.is_some_and(|end| holds(list4, list6, end))
        };
        let f = &self.filter;
        (!has(HOST) || within(&f.host4, &f.host6, ends.0) || within(&f.host4, &f.host6, ends.1))
            && (!has(SRC) || within(&f.src4, &f.src6, ends.0))
            && (!has(DST) || within(&f.dst4, &f.dst6, ends.1))
            && (!has(PROTO | PORT | SPORT | DPORT | ICMPID) || self.accepts_transport(packet))
    }

    fn accepts_transport(&self, packet: &Packet) -> bool {
        let has = |part: u32| self.active & part != 0;
        let Packet::Ip(ip) = packet else {
            return false;
        };
        let (proto, ports, echo) = match ip.transport {
            Transport::Udp(ports) => (Some(UDP), Some(ports), None),
            Transport::Tcp(ports, _) => (Some(TCP), Some(ports), None),
            Transport::Icmp(icmp) if icmp.v6 => (Some(ICMP6), None, icmp.echo),
            Transport::Icmp(icmp) => (Some(ICMP), None, icmp.echo),
            Transport::Fragment { proto, .. } => (Some(proto), None, None),
            Transport::Other(proto) => (proto, None, None),
        };
        let f = &self.filter;
        let holds = |list: &List<u16>, port: Option<u16>| {
            port.is_some_and(|port| list.as_slice().contains(&port))
        };
        let (src, dst) = (ports.map(|ports| ports.src), ports.map(|ports| ports.dst));
        (!has(PROTO) || proto.is_some_and(|proto| f.proto.as_slice().contains(&u16::from(proto))))
            && (!has(PORT) || holds(&f.port, src) || holds(&f.port, dst))
            && (!has(SPORT) || holds(&f.sport, src))
            && (!has(DPORT) || holds(&f.dport, dst))
            && (!has(ICMPID) || echo.is_some_and(|echo| f.icmpid.as_slice().contains(&echo.id)))
    }
}

fn holds(list4: &List<Net4>, list6: &List<Net6>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let address = u32::from_ne_bytes(address.octets());
            let nets = list4.as_slice().iter();
            nets.copied().any(|net| address & net.mask == net.addr)
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let (words, _) = octets.as_chunks::<4>();
            let nets = list6.as_slice().iter();
            nets.copied().any(|net| {
                let masks = net.mask.iter().zip(net.addr);
                words
                    .iter()
                    .zip(masks)
                    .all(|(word, (mask, addr))| u32::from_ne_bytes(*word) & mask == addr)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use skbtrace_common::Plain as _;

    use super::*;
    use crate::{
        decode::{
            decode,
            testing::{self, Machine},
        },
        filter::{Values, build},
    };

    const IPV4: u16 = 0x0800;

    /// Whether a UDP datagram from 172.18.0.15:40547 to 172.18.253.6:9999 is shown, of packet
    /// `id`, made from `parent`, on eth0 in a pod.
    fn shows(matcher: &mut Matcher, id: u64, parent: u64) -> bool {
        let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
        shows_packet(matcher, id, parent, &udp)
    }

    fn shows_packet(matcher: &mut Matcher, id: u64, parent: u64, bytes: &[u8]) -> bool {
        let packet = testing::packet(IPV4, bytes);
        let mut raw = testing::on(packet, 4_026_532_281, 3, b"eth0");
        (raw.packet_id, raw.parent_id) = (id, parent);
        (raw.pid, raw.mark) = (7, 0x4001);
        let record = testing::parse(raw.as_bytes());
        let machine = Machine::new();
        let event = decode(&record, &machine);
        matcher.shows(&event, &machine)
    }

    fn matcher(values: &Values) -> Matcher {
        Matcher::new(build(values).expect("few values"), Vec::new(), true)
    }

    #[test]
    fn each_part_accepts_and_rejects() {
        let parse = |text: &str| vec![text.parse().expect("accepted")];
        let cases: [(Values, bool); 16] = [
            (
                Values {
                    host: parse("172.18.253.6"),
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    host: parse("172.18.0.0/24"),
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    host: parse("172.19.0.0/16"),
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    host: parse("fd00::1"),
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    src: parse("172.18.253.6"),
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    dst: parse("172.18.253.6"),
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    port: vec![9999],
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    sport: vec![9999],
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    dport: vec![1, 9999],
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    icmpid: vec![9999],
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    pid: vec![7],
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    pid: vec![8],
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    netns: vec![4_026_532_281],
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    netns: vec![4_026_531_840],
                    ..Values::default()
                },
                false,
            ),
            (
                Values {
                    iface: vec!["eth0".parse().expect("a name")],
                    ..Values::default()
                },
                true,
            ),
            (
                Values {
                    iface: vec!["eth".parse().expect("a name")],
                    ..Values::default()
                },
                false,
            ),
        ];
        for (values, expected) in cases {
            assert_eq!(shows(&mut matcher(&values), 0, 0), expected, "{values:?}");
        }
    }

    #[test]
    fn a_namespace_by_name() {
        let by = |name: &str| Matcher::new(Filter::accept_all(), vec![name.to_owned()], true);
        assert!(shows(&mut by("pod a\\b"), 1, 0));
        assert!(!shows(&mut by("pod"), 1, 0));
    }

    #[test]
    fn what_matched_is_followed_and_what_is_made_from_it() {
        let mut matcher = matcher(&Values {
            dst: vec!["172.18.253.6".parse().expect("an address")],
            ..Values::default()
        });
        let mut other = testing::ipv4(17, 0, &testing::udp(40547, 9999));
        other[16..20].copy_from_slice(&[172, 18, 0, 12]);
        assert!(
            !shows_packet(&mut matcher, 5, 0, &other),
            "does not match yet"
        );
        assert!(shows(&mut matcher, 5, 0));
        assert!(
            shows_packet(&mut matcher, 5, 0, &other),
            "after translation"
        );
        assert!(shows_packet(&mut matcher, 6, 5, &other), "a copy");
        assert!(shows_packet(&mut matcher, 7, 6, &other), "a copy's copy");
        assert!(!shows_packet(&mut matcher, 8, 0, &other), "a stranger");
        let mut unfollowed = Matcher::new(matcher.filter, Vec::new(), false);
        assert!(shows(&mut unfollowed, 5, 0));
        assert!(!shows_packet(&mut unfollowed, 5, 0, &other));
    }
}
