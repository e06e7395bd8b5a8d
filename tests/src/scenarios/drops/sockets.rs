//! Losses at the receiver's sockets.

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::cases::Shot;
use super::ground::Ground;
use crate::frame::Frame;
use crate::topology::link::{LEFT, LEFT_MAC, LEFT6, RIGHT, RIGHT_MAC, RIGHT6};
use crate::topology::{PORT, at};
use crate::traffic;

/// A port that nobody has open.
const CLOSED: u16 = 7;
/// And one of TCP.
const CLOSED_TCP: u16 = 8;

pub fn udp_no_socket(ground: &Ground, port: u16) -> Result<Shot> {
    to_a_closed_port(ground, port, LEFT, RIGHT)
}

pub fn udp6_no_socket(ground: &Ground, port: u16) -> Result<Shot> {
    to_a_closed_port(ground, port, LEFT6, RIGHT6)
}

fn to_a_closed_port(
    ground: &Ground,
    port: u16,
    from: &'static str,
    to: &'static str,
) -> Result<Shot> {
    let link = ground.link()?;
    let sender = traffic::udp_socket(&link.left, at(from, port)?)?;
    Ok(Shot::new((link, sender), move |(_, sender)| {
        traffic::send(sender, at(to, CLOSED)?, b"nobody")
    }))
}

pub fn tcp_closed_port(ground: &Ground, _port: u16) -> Result<Shot> {
    Ok(Shot::new(ground.link()?, |link| {
        traffic::stream::refused(&link.left, at(RIGHT, CLOSED_TCP)?)
    }))
}

/// The receiver never reads, and its buffer has room for a datagram or two.
pub fn full_socket(ground: &Ground, port: u16) -> Result<Shot> {
    let link = ground.link()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    setsockopt(&receiver, sockopt::RcvBuf, &1).context("cannot set SO_RCVBUF")?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, port)?)?;
    Ok(Shot::new((link, receiver, sender), |(_, _, sender)| {
        for _ in 0..10 {
            traffic::send(sender, at(RIGHT, PORT)?, &[b'x'; 1000])?;
        }
        Ok(())
    }))
}

pub fn bad_udp_checksum(ground: &Ground, port: u16) -> Result<Shot> {
    let link = ground.link()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let macs = (RIGHT_MAC, LEFT_MAC);
    let frame = Frame {
        bad_udp_checksum: true,
        ..Frame::new(macs, (LEFT, port), (RIGHT, PORT))?
    };
    Ok(Shot::new((link, receiver), move |(link, _)| {
        frame.transmit(&link.left, "eth0")
    }))
}
