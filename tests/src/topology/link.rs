//! Two hosts and the cable between them.
//!
//! The smallest network in which a packet leaves one host and arrives at another: an end to drop
//! things at, an underlay for tunnels, a cable too narrow for large datagrams.
//!
//! ```text
//!   left 10.71.0.1  eth0 ------- eth0  right 10.71.0.2
//! ```
//!
//! Neighbour entries are permanent, so nothing but the trial's own traffic passes.

use anyhow::{Context as _, Result};

use super::{at, quiet};
use crate::netns::Netns;
use crate::traffic;

/// Address of the left host.
pub const LEFT: &str = "10.71.0.1";
/// Address of the right host.
pub const RIGHT: &str = "10.71.0.2";
/// IPv6 address of the left host.
pub const LEFT6: &str = "fd00:71::1";
/// IPv6 address of the right host.
pub const RIGHT6: &str = "fd00:71::2";
/// Hardware address of the left host.
pub const LEFT_MAC: [u8; 6] = [0x0a, 0x71, 0, 0, 0, 1];
/// Hardware address of the right host.
pub const RIGHT_MAC: [u8; 6] = [0x0a, 0x71, 0, 0, 0, 2];

/// The two hosts; dropping it removes everything.
pub struct Link {
    /// The left host.
    pub left: Netns,
    /// The right host.
    pub right: Netns,
}

impl Link {
    /// Builds the hosts, with IPv4 alone.
    pub fn build() -> Result<Self> {
        Self::with(false)
    }

    /// Builds the hosts, with IPv6 besides.
    pub fn build_with_ipv6() -> Result<Self> {
        Self::with(true)
    }

    fn with(ipv6: bool) -> Result<Self> {
        let link = Self {
            left: Netns::create("left")?,
            right: Netns::create("right")?,
        };
        for host in [&link.left, &link.right] {
            quiet(host, ipv6)?;
        }
        link.left.ip(&format!(
            "link add eth0 address {} type veth peer name eth0 address {} netns {}\n",
            written(LEFT_MAC),
            written(RIGHT_MAC),
            link.right.name(),
        ))?;
        let ends = [
            (&link.left, [LEFT, LEFT6], [RIGHT, RIGHT6], RIGHT_MAC),
            (&link.right, [RIGHT, RIGHT6], [LEFT, LEFT6], LEFT_MAC),
        ];
        for (host, [own, own6], [peer, peer6], peer_mac) in ends {
            let mac = written(peer_mac);
            let mut script = format!(
                "link set lo up\n\
                 link set eth0 up\n\
                 addr add {own}/24 dev eth0\n\
                 neigh replace {peer} lladdr {mac} dev eth0 nud permanent\n"
            );
            if ipv6 {
                script.push_str(&format!(
                    "addr add {own6}/64 dev eth0 nodad\n\
                     neigh replace {peer6} lladdr {mac} dev eth0 nud permanent\n"
                ));
            }
            host.ip(&script)?;
        }
        link.warm_up(ipv6).context("the new cable does not work")?;
        Ok(link)
    }

    fn warm_up(&self, ipv6: bool) -> Result<()> {
        let mut ways = vec![
            (&self.left, &self.right, RIGHT),
            (&self.right, &self.left, LEFT),
        ];
        if ipv6 {
            ways.push((&self.left, &self.right, RIGHT6));
            ways.push((&self.right, &self.left, LEFT6));
        }
        for (from, to, address) in ways {
            traffic::exchange_one(from, to, at(address, super::WARM_UP_PORT)?)?;
        }
        Ok(())
    }
}

/// A hardware address as `ip` reads it.
pub fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
