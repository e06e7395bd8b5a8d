//! Devices and bridges.

use anyhow::Result;

use super::super::stage::Stage;
use super::lost;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{self, CLIENT, CLIENT_PORT, CLIENT_VETH, PORT, SERVER, SERVER_VETH, at};
use crate::traffic::{self, exchange::Exchange};

/// The other end of the cable is down.
pub fn down() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            link.right.ip("link set eth0 down\n")?;
            Ok((link, sender))
        },
        |(_, sender)| {
            lost(|| {
                // The sender may be told.
                let _ = traffic::send(sender, at(RIGHT, PORT)?, b"anybody?");
                Ok(())
            })
        },
    )
}

/// Two pods whose ports may not speak to each other.
pub fn isolated() -> Result<Stage> {
    Stage::build(
        || {
            let cluster = topology::pods()?;
            for port in [CLIENT_VETH, SERVER_VETH] {
                let isolate = ["link", "set", "dev", port, "isolated", "on"];
                cluster.node1.run("bridge", &isolate)?;
            }
            let sender = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
            Ok((cluster, sender))
        },
        |(_, sender)| lost(|| traffic::send(sender, at(SERVER, PORT)?, b"alone")),
    )
}

/// A datagram that waits for four seconds.
pub fn slow() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let netem = [
                "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "4s",
            ];
            link.left.run("tc", &netem)?;
            let exchange = Exchange::open(
                (&link.left, at(LEFT, CLIENT_PORT)?),
                (&link.right, at(RIGHT, PORT)?),
            )?;
            Ok((link, exchange))
        },
        |(_, exchange)| exchange.ask(at(RIGHT, PORT)?).map(drop),
    )
}
