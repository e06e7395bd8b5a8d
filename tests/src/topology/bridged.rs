//! Two nodes with a pod each, and the network between them that knows of no pods.
//!
//! ```text
//!   pod1 10.0.1.2                                                  pod2 10.0.2.2
//!      eth0                                                           eth0
//!        |                                                             |
//!      veth1                                                         veth2
//!      cbr0 10.0.1.1/24                                              cbr0 10.0.2.1/24
//!        node1 eth0 10.50.1.10 ------------------- eth0 10.50.2.10 node2
//! ```
//!
//! Each node has a network of pods behind its bridge, and neither has a route to the other's: that
//! is for whoever connects them, by a tunnel or by routes. Neighbour entries are permanent, and
//! nothing has passed yet but between the nodes.

use anyhow::{Context as _, Result};

use super::{CLIENT_PORT, PORT, WARM_UP_PORT, at, quiet};
use crate::netns::Netns;
use crate::traffic::{self, exchange::Exchange};

/// Address of the pod of the first node.
pub const POD1: &str = "10.0.1.2";
/// Address of the pod of the second node.
pub const POD2: &str = "10.0.2.2";
/// Address of the first node.
pub const NODE1: &str = "10.50.1.10";
/// Address of the second node.
pub const NODE2: &str = "10.50.2.10";

/// A node with its pod, and what they are called.
pub struct Side {
    /// The node.
    pub node: Netns,
    /// Its pod.
    pub pod: Netns,
    /// The node's address.
    pub address: &'static str,
    /// The pods' network of the node.
    pub network: &'static str,
    /// The third byte of the pods' addresses, which all names end in.
    number: u8,
}

impl Side {
    fn create(number: u8) -> Result<Self> {
        let is_first = number == 1;
        Ok(Self {
            node: Netns::create(&format!("node{number}"))?,
            pod: Netns::create(&format!("pod{number}"))?,
            address: if is_first { NODE1 } else { NODE2 },
            network: if is_first {
                "10.0.1.0/24"
            } else {
                "10.0.2.0/24"
            },
            number,
        })
    }

    fn bridge_mac(&self) -> String {
        format!("0a:00:00:00:{:02x}:01", self.number)
    }

    fn node_mac(&self) -> String {
        format!("0a:50:00:00:{:02x}:0a", self.number)
    }

    fn build(&self) -> Result<()> {
        for net in [&self.node, &self.pod] {
            quiet(net, false)?;
        }
        self.node.sysctl("ipv4/ip_forward", "1")?;
        let (number, bridge_mac) = (self.number, self.bridge_mac());
        let pod_mac = format!("0a:00:00:00:{number:02x}:02");
        self.node.ip(&format!(
            "link set lo up\n\
             link add cbr0 address {bridge_mac} type bridge\n\
             addr add 10.0.{number}.1/24 dev cbr0\n\
             link add veth{number} type veth peer name eth0 address {pod_mac} netns {}\n\
             link set veth{number} master cbr0 up\n\
             link set cbr0 up\n\
             neigh replace 10.0.{number}.2 lladdr {pod_mac} dev cbr0 nud permanent\n",
            self.pod.name(),
        ))?;
        self.pod.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add 10.0.{number}.2/24 dev eth0\n\
             route add default via 10.0.{number}.1\n\
             neigh replace 10.0.{number}.1 lladdr {bridge_mac} dev eth0 nud permanent\n"
        ))
    }

    /// Its end of the cable, to the other node.
    fn connect(&self, other: &Self) -> Result<()> {
        self.node.ip(&format!(
            "link set eth0 up\n\
             addr add {}/32 dev eth0\n\
             route add {} dev eth0\n\
             neigh replace {} lladdr {} dev eth0 nud permanent\n",
            self.address,
            other.address,
            other.address,
            other.node_mac(),
        ))
    }
}

/// The two nodes; dropping it removes everything.
pub struct Nodes {
    /// The first node, whose pod asks.
    pub first: Side,
    /// The second node, whose pod answers.
    pub second: Side,
}

impl Nodes {
    /// Builds the nodes and their pods, and the network between the nodes.
    pub fn build() -> Result<Self> {
        let (first, second) = (Side::create(1)?, Side::create(2)?);
        first.build().context("cannot build node1")?;
        second.build().context("cannot build node2")?;
        first.node.ip(&format!(
            "link add eth0 address {} type veth peer name eth0 address {} netns {}\n",
            first.node_mac(),
            second.node_mac(),
            second.node.name(),
        ))?;
        first.connect(&second)?;
        second.connect(&first)?;
        let nodes = Self { first, second };
        for [from, to] in nodes.ways() {
            traffic::exchange_one(&from.node, &to.node, at(to.address, WARM_UP_PORT)?)
                .context("the nodes' network does not work")?;
        }
        Ok(nodes)
    }

    /// From the first to the second, and back.
    pub const fn ways(&self) -> [[&Side; 2]; 2] {
        [[&self.first, &self.second], [&self.second, &self.first]]
    }

    /// Sends a datagram from pod to pod, both ways, and sees it arrive: what connects the nodes
    /// works.
    pub fn warm_up(&self) -> Result<()> {
        for ([from, to], address) in self.ways().into_iter().zip([POD2, POD1]) {
            traffic::exchange_one(&from.pod, &to.pod, at(address, WARM_UP_PORT)?)?;
        }
        Ok(())
    }

    /// Opens a socket in each pod: the first asks.
    pub fn exchange(&self) -> Result<Exchange> {
        Exchange::open(
            (&self.first.pod, at(POD1, CLIENT_PORT)?),
            (&self.second.pod, at(POD2, PORT)?),
        )
    }
}
