//! Ways that lead nowhere.

use anyhow::Result;

use super::super::stage::Stage;
use crate::counters;
use crate::frame::Frame;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC};
use crate::topology::node::{self, CLIENT_MAC, NODE_MAC, Routed, SERVER};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::traffic;

/// An address that no host has (RFC 5737).
const NOWHERE: &str = "203.0.113.7";

/// A node that is to forward and may not.
pub fn forwarding_off() -> Result<Stage> {
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed.node.sysctl("ipv4/ip_forward", "0")?;
            let sender = traffic::udp_socket(&routed.client, routed.addresses().client()?)?;
            Ok((routed, sender))
        },
        |(routed, sender)| {
            counters::until_told(&routed.node, ("Ip", "InAddrErrors"), || {
                traffic::send(sender, routed.addresses().server()?, b"stay")
            })
        },
    )
}

/// Node and server send it to each other.
pub fn looped() -> Result<Stage> {
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed
                .node
                .ip(&format!("route add {NOWHERE}/32 via {SERVER}\n"))?;
            routed.server.sysctl("ipv4/ip_forward", "1")?;
            Ok(routed)
        },
        |routed| {
            let macs = (NODE_MAC, CLIENT_MAC);
            let frame = Frame {
                ttl: 12,
                ..Frame::new(macs, (node::CLIENT, CLIENT_PORT), (NOWHERE, PORT))?
            };
            // Who has it when it ends tells the sender.
            counters::until_told(&routed.server, ("Icmp", "OutTimeExcds"), || {
                frame.transmit(&routed.client, "eth0")
            })
        },
    )
}

/// A first piece, and never another.
pub fn reassembly() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            link.right.sysctl("ipv4/ipfrag_time", "1")?;
            Ok(link)
        },
        |link| {
            let macs = (RIGHT_MAC, LEFT_MAC);
            let frame = Frame {
                more_fragments: true,
                ..Frame::new(macs, (LEFT, CLIENT_PORT), (RIGHT, PORT))?
            };
            counters::until_told(&link.right, ("Ip", "ReasmFails"), || {
                frame.transmit(&link.left, "eth0")
            })
        },
    )
}

/// A policy that blocks.
pub fn policy() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            link.right.ip(&format!(
                "xfrm policy add src {LEFT}/32 dst {RIGHT}/32 dir in action block\n"
            ))?;
            Ok((link, receiver, sender))
        },
        |(link, _, sender)| {
            counters::until_risen(
                || counters::xfrm(&link.right, "XfrmInPolBlock"),
                || traffic::send(sender, at(RIGHT, PORT)?, b"clear text"),
            )
        },
    )
}
