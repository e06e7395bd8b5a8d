//! Losses in IP: headers, routes, neighbours.

use anyhow::Result;

use super::cases::Shot;
use super::ground::Ground;
use crate::frame::Frame;
use crate::topology::link::{LEFT, LEFT_MAC, RIGHT, RIGHT_MAC};
use crate::topology::node::{self, CLIENT_MAC, NODE_MAC};
use crate::topology::{PORT, at};
use crate::traffic;

/// An address that no host has (RFC 5737), and to which there is no route.
const NOWHERE: &str = "203.0.113.7";
/// The same with a route `unreachable`.
const UNREACHABLE: &str = "198.51.100.7";
/// The same with a route `blackhole`.
const BLACKHOLE: &str = "192.0.2.7";
/// An address of the cable that no host has.
const ABSENT: &str = "10.71.0.99";
/// And another.
const ABSENT_TOO: &str = "10.71.0.98";

fn over_the_cable(ground: &Ground, port: u16, spoil: impl Fn(&mut Frame)) -> Result<Shot> {
    let link = ground.link()?;
    let macs = (RIGHT_MAC, LEFT_MAC);
    let mut frame = Frame::new(macs, (LEFT, port), (RIGHT, PORT))?;
    spoil(&mut frame);
    Ok(Shot::new(link, move |link| {
        frame.transmit(&link.left, "eth0")
    }))
}

pub fn bad_ip_checksum(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, |frame| frame.bad_ip_checksum = true)
}

/// A frame to a stranger's hardware address, as a switch floods it.
pub fn other_host(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, |frame| {
        frame.macs.0 = [0x0a, 0x71, 0, 0, 0, 0x63]
    })
}

/// A datagram for the node to forward, prepared by commands of `ip` on the node.
fn to_forward(ground: &Ground, script: &str, frame: Frame) -> Result<Shot> {
    let routed = ground.routed()?;
    if !script.is_empty() {
        routed.node.ip(script)?;
    }
    Ok(Shot::new(routed, move |routed| {
        frame.transmit(&routed.client, "eth0")
    }))
}

fn from_the_client(port: u16, to: &str) -> Result<Frame> {
    let macs = (NODE_MAC, CLIENT_MAC);
    Frame::new(macs, (node::CLIENT, port), (to, PORT))
}

/// A source whose answers would go another way.
pub fn reverse_path(ground: &Ground, port: u16) -> Result<Shot> {
    let routed = ground.routed()?;
    routed.node.sysctl("ipv4/conf/pod0/rp_filter", "1")?;
    let macs = (NODE_MAC, CLIENT_MAC);
    let frame = Frame::new(macs, ("10.72.2.77", port), (node::SERVER, PORT))?;
    Ok(Shot::new(routed, move |routed| {
        frame.transmit(&routed.client, "eth0")
    }))
}

pub fn ttl_expired(ground: &Ground, port: u16) -> Result<Shot> {
    let frame = Frame {
        ttl: 1,
        ..from_the_client(port, node::SERVER)?
    };
    to_forward(ground, "", frame)
}

/// A datagram that does not fit and must not be cut.
pub fn too_big(ground: &Ground, port: u16) -> Result<Shot> {
    let frame = Frame {
        length: 1400,
        dont_fragment: true,
        ..from_the_client(port, node::SERVER)?
    };
    to_forward(ground, "link set eth0 mtu 1280\n", frame)
}

pub fn no_route(ground: &Ground, port: u16) -> Result<Shot> {
    to_forward(ground, "", from_the_client(port, NOWHERE)?)
}

pub fn unreachable_route(ground: &Ground, port: u16) -> Result<Shot> {
    let script = "route replace unreachable 198.51.100.0/24\n";
    to_forward(ground, script, from_the_client(port, UNREACHABLE)?)
}

pub fn blackhole_route(ground: &Ground, port: u16) -> Result<Shot> {
    let script = "route replace blackhole 192.0.2.0/24\n";
    to_forward(ground, script, from_the_client(port, BLACKHOLE)?)
}

/// Nobody answers the questions for the address, so the datagram is given up.
pub fn neighbour_failed(ground: &Ground, port: u16) -> Result<Shot> {
    let settings = [("mcast_solicit", "1"), ("retrans_time_ms", "20")];
    to_an_absent_host(ground, port, &settings, ABSENT, 1)
}

/// While nobody answers, only one datagram may wait.
pub fn neighbour_queue_full(ground: &Ground, port: u16) -> Result<Shot> {
    to_an_absent_host(ground, port, &[("unres_qlen", "1")], ABSENT_TOO, 3)
}

fn to_an_absent_host(
    ground: &Ground,
    port: u16,
    settings: &[(&str, &str)],
    host: &'static str,
    datagrams: usize,
) -> Result<Shot> {
    let link = ground.link()?;
    for (name, value) in settings {
        link.left
            .sysctl(&format!("ipv4/neigh/eth0/{name}"), value)?;
    }
    let sender = traffic::udp_socket(&link.left, at(LEFT, port)?)?;
    Ok(Shot::new((link, sender), move |(_, sender)| {
        for _ in 0..datagrams {
            traffic::send(sender, at(host, PORT)?, b"anybody")?;
        }
        Ok(())
    }))
}
