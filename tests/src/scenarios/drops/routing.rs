//! Losses in IP: headers, routes, neighbours.

use anyhow::Result;

use super::cases::Shot;
use crate::frame::Frame;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC};
use crate::topology::node::{self, CLIENT_MAC, NODE_MAC, Routed};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::traffic;

/// An address that no host has (RFC 5737).
const NOWHERE: &str = "203.0.113.7";
/// An address of the cable that no host has.
const ABSENT: &str = "10.71.0.99";

fn over_the_cable(spoil: impl Fn(&mut Frame)) -> Result<Shot> {
    let link = Link::build()?;
    let macs = (RIGHT_MAC, LEFT_MAC);
    let mut frame = Frame::new(macs, (LEFT, CLIENT_PORT), (RIGHT, PORT))?;
    spoil(&mut frame);
    Ok(Shot::new(link, move |link| {
        frame.transmit(&link.left, "eth0")
    }))
}

pub fn bad_ip_checksum() -> Result<Shot> {
    over_the_cable(|frame| frame.bad_ip_checksum = true)
}

/// A frame to a stranger's hardware address, as a switch floods it.
pub fn other_host() -> Result<Shot> {
    over_the_cable(|frame| frame.macs.0 = [0x0a, 0x71, 0, 0, 0, 0x63])
}

/// A datagram for the node to forward, prepared by commands of `ip` on the node.
fn to_forward(script: &str, frame: Frame) -> Result<Shot> {
    let routed = Routed::build()?;
    if !script.is_empty() {
        routed.node.ip(script)?;
    }
    Ok(Shot::new(routed, move |routed| {
        frame.transmit(&routed.client, "eth0")
    }))
}

fn from_the_client(to: &str) -> Result<Frame> {
    let macs = (NODE_MAC, CLIENT_MAC);
    Frame::new(macs, (node::CLIENT, CLIENT_PORT), (to, PORT))
}

/// A source whose answers would go another way.
pub fn reverse_path() -> Result<Shot> {
    let routed = Routed::build()?;
    routed.node.sysctl("ipv4/conf/pod0/rp_filter", "1")?;
    let macs = (NODE_MAC, CLIENT_MAC);
    let frame = Frame::new(macs, ("10.72.2.77", CLIENT_PORT), (node::SERVER, PORT))?;
    Ok(Shot::new(routed, move |routed| {
        frame.transmit(&routed.client, "eth0")
    }))
}

pub fn ttl_expired() -> Result<Shot> {
    let frame = Frame {
        ttl: 1,
        ..from_the_client(node::SERVER)?
    };
    to_forward("", frame)
}

/// A datagram that does not fit and must not be cut.
pub fn too_big() -> Result<Shot> {
    let frame = Frame {
        length: 1400,
        dont_fragment: true,
        ..from_the_client(node::SERVER)?
    };
    to_forward("link set eth0 mtu 1280\n", frame)
}

pub fn no_route() -> Result<Shot> {
    to_forward("", from_the_client(NOWHERE)?)
}

pub fn unreachable_route() -> Result<Shot> {
    let script = "route add unreachable 203.0.113.0/24\n";
    to_forward(script, from_the_client(NOWHERE)?)
}

pub fn blackhole_route() -> Result<Shot> {
    let script = "route add blackhole 203.0.113.0/24\n";
    to_forward(script, from_the_client(NOWHERE)?)
}

/// Nobody answers the questions for the address, so the datagram is given up.
pub fn neighbour_failed() -> Result<Shot> {
    to_an_absent_host(&[("mcast_solicit", "1"), ("retrans_time_ms", "20")], 1)
}

/// While nobody answers, only one datagram may wait.
pub fn neighbour_queue_full() -> Result<Shot> {
    to_an_absent_host(&[("unres_qlen", "1")], 3)
}

fn to_an_absent_host(settings: &[(&str, &str)], datagrams: usize) -> Result<Shot> {
    let link = Link::build()?;
    for (name, value) in settings {
        link.left
            .sysctl(&format!("ipv4/neigh/eth0/{name}"), value)?;
    }
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    Ok(Shot::new((link, sender), move |(_, sender)| {
        for _ in 0..datagrams {
            traffic::send(sender, at(ABSENT, PORT)?, b"anybody")?;
        }
        Ok(())
    }))
}
