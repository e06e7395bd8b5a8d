//! A packet of a filter's case: sent for real, and recognised in the trace.

use anyhow::{Context as _, Result};

use crate::netns::Netns;
use crate::row::Row;
use crate::topology::{self, CLIENT, CLIENT6, Cluster, SERVER, SERVER6};
use crate::traffic;

/// Where a packet starts or ends.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Client,
    Server,
    Node,
}
pub use Side::{Client, Node, Server};

/// One packet of a case.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    from: Side,
    to: Side,
    carries: Carries,
    ipv6: bool,
    mark: u32,
}

#[derive(Clone, Copy, Debug)]
enum Carries {
    /// UDP with these ports.
    Udp { sport: u16, dport: u16 },
    /// An ICMP or ICMPv6 echo request with this identifier, which is replied to.
    Echo { id: u16 },
}

/// A datagram.
pub const fn udp(from: Side, to: Side, sport: u16, dport: u16) -> Packet {
    Packet {
        from,
        to,
        carries: Carries::Udp { sport, dport },
        ipv6: false,
        mark: 0,
    }
}

/// A ping and its reply.
pub const fn ping(from: Side, to: Side, id: u16) -> Packet {
    Packet {
        carries: Carries::Echo { id },
        ..udp(from, to, 0, 0)
    }
}

impl Packet {
    /// Over IPv6.
    pub const fn v6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// With this mark.
    pub const fn marked(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    fn address(&self, side: Side) -> &'static str {
        match (side, self.ipv6) {
            (Client, false) => CLIENT,
            (Server, false) => SERVER,
            (Node, false) => "172.18.0.1",
            (Client, true) => CLIENT6,
            (Server, true) => SERVER6,
            (Node, true) => "fd00:172:18::1",
        }
    }

    /// Sends it and sees it arrive.
    pub fn send(&self, cluster: &Cluster) -> Result<()> {
        self.try_send(cluster)
            .with_context(|| format!("cannot send {self:?}"))
    }

    fn try_send(&self, cluster: &Cluster) -> Result<()> {
        let (from, to) = (net(cluster, self.from), net(cluster, self.to));
        let (source, target) = (self.address(self.from), self.address(self.to));
        let (sport, dport) = match self.carries {
            Carries::Udp { sport, dport } => (sport, dport),
            Carries::Echo { id } => return traffic::ping(from, topology::ip(target)?, id),
        };
        let target = topology::at(target, dport)?;
        let receiver = traffic::udp_socket(to, target)?;
        let sender = traffic::udp_socket(from, topology::at(source, sport)?)?;
        if self.mark != 0 {
            traffic::set_mark(&sender, self.mark)?;
        }
        traffic::send(&sender, target, b"filter")?;
        traffic::receive(&receiver).map(drop)
    }

    /// Whether `row` is about it.
    pub fn is_in(&self, row: &Row) -> bool {
        let (source, target) = (self.address(self.from), self.address(self.to));
        match self.carries {
            Carries::Udp { sport, dport } if self.ipv6 => {
                row.pkt == format!("U:[{source}]:{sport}->[{target}]:{dport}")
            }
            Carries::Udp { sport, dport } => {
                row.pkt == format!("U:{source}:{sport}->{target}:{dport}")
            }
            Carries::Echo { id } => {
                let request = format!("I_request:{source}->{target},id={id},");
                let reply = format!("I_reply:{target}->{source},id={id},");
                row.pkt.starts_with(&request) || row.pkt.starts_with(&reply)
            }
        }
    }

    /// Whether `row` is the last hop of it, at its receiver's transport protocol.
    pub fn arrives_in(&self, row: &Row, cluster: &Cluster) -> bool {
        let last = match (self.carries, self.ipv6) {
            (Carries::Udp { .. }, false) => "udp_rcv",
            (Carries::Udp { .. }, true) => "udpv6_rcv",
            (Carries::Echo { .. }, false) => "icmp_rcv",
            (Carries::Echo { .. }, true) => "icmpv6_rcv",
        };
        row.name() == last && row.netns == net(cluster, self.to).inode() && self.is_in(row)
    }
}

fn net(cluster: &Cluster, side: Side) -> &Netns {
    match side {
        Client => &cluster.client,
        Server => &cluster.server,
        Node => &cluster.node1,
    }
}
