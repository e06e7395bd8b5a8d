//! Two nodes with a pod each: what is the same whether they are machines or namespaces of one kernel.
//!
//! ```text
//!   pod1 10.244.1.2                                   pod2 10.244.2.2
//!     eth0                                              eth0
//!      |                                                 |
//!     pod0 10.244.1.1                                   pod0 10.244.2.1
//!     node1  eth0 192.168.100.1 --- 192.168.100.2 eth0  node2
//! ```
//!
//! Neighbour entries are permanent, so nothing passes but what the trial sends, and what the nodes talk
//! about.

use std::net::SocketAddr;

use anyhow::Result;

use super::link::written;
use super::{CLIENT_PORT, PORT, at, quiet};
use crate::netns::Netns;

/// The network of all pods.
pub const PODS: &str = "10.244.0.0/16";
/// The network of the nodes.
pub const NODES: &str = "192.168.100.0/24";

/// Which of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whose pod asks.
    First,
    /// Whose pod answers.
    Second,
}

impl Side {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// 1 or 2, which its names and addresses have in them.
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// The node's address.
    pub fn node(self) -> String {
        format!("192.168.100.{}", self.number())
    }

    /// The hardware address of the node's `eth0`.
    pub fn node_mac(self) -> String {
        // A cable of `cargo xtask` gives machines the same.
        written([0x52, 0x54, 0, 0, 0, self.number()])
    }

    /// The pod's address and port.
    pub fn pod(self) -> Result<SocketAddr> {
        let port = match self {
            Self::First => CLIENT_PORT,
            Self::Second => PORT,
        };
        at(&format!("{}.2", self.network()), port)
    }

    /// What all addresses of the node's pods begin with.
    pub fn network(self) -> String {
        format!("10.244.{}", self.number())
    }

    /// Makes a namespace for the node.
    pub fn create(self) -> Result<Netns> {
        let node = Netns::create(&format!("node{}", self.number()))?;
        quiet(&node, false)?;
        node.sysctl("ipv4/ip_forward", "1")?;
        Ok(node)
    }

    /// Sets up the node's `eth0`.
    pub fn connect(self, node: &Netns) -> Result<()> {
        let peer = self.other();
        node.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {}/24 dev eth0\n\
             neigh replace {} lladdr {} dev eth0 nud permanent\n",
            self.node(),
            peer.node(),
            peer.node_mac(),
        ))
    }

    /// Gives the node its pod.
    pub fn give_pod(self, node: &Netns) -> Result<Netns> {
        let (own, number) = (self.network(), self.number());
        let pod = Netns::create(&format!("pod{number}"))?;
        quiet(&pod, false)?;
        let mac = |host| written([0x0a, 0xf4, number, 0, 0, host]);
        let (node_mac, pod_mac) = (mac(1), mac(2));
        node.ip(&format!(
            "link add pod0 address {node_mac} type veth peer name eth0 address {pod_mac} netns {}\n\
             link set pod0 up\n\
             addr add {own}.1/24 dev pod0\n\
             neigh replace {own}.2 lladdr {pod_mac} dev pod0 nud permanent\n",
            pod.name(),
        ))?;
        pod.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {own}.2/24 dev eth0\n\
             route add default via {own}.1\n\
             neigh replace {own}.1 lladdr {node_mac} dev eth0 nud permanent\n"
        ))?;
        Ok(pod)
    }
}
