//! Losses by rules of netfilter.

use anyhow::Result;

use super::cases::Shot;
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::traffic;

pub fn iptables_legacy() -> Result<Shot> {
    to_a_guarded_host(|host| drop_by_iptables(host, Frontend::Legacy))
}

pub fn iptables_nft() -> Result<Shot> {
    to_a_guarded_host(|host| drop_by_iptables(host, Frontend::Nft))
}

/// A table of nftables' own.
pub fn nft() -> Result<Shot> {
    to_a_guarded_host(|host| {
        if let Err(error) = host.run("nft", &["add", "table", "inet", "guard"]) {
            return skip(format!("no nftables here: {error:#}"));
        }
        let hook = "{ type filter hook input priority 0; policy accept; }";
        host.run("nft", &["add", "chain", "inet", "guard", "in_put", hook])?;
        let port = PORT.to_string();
        let rule = [
            "add", "rule", "inet", "guard", "in_put", "udp", "dport", &port, "drop",
        ];
        host.run("nft", &rule).map(drop)
    })
}

fn drop_by_iptables(host: &Netns, frontend: Frontend) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = format!("-t filter -A INPUT -p udp --dport {PORT} -j DROP\n");
    frontend.apply(host, &rule)
}

fn to_a_guarded_host(guard: impl Fn(&Netns) -> Result<()>) -> Result<Shot> {
    let link = Link::build()?;
    guard(&link.right)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    Ok(Shot::new((link, sender), |(_, sender)| {
        traffic::send(sender, at(RIGHT, PORT)?, b"unwanted")
    }))
}

/// Connection tracking finds the checksum wrong and calls the datagram invalid, which a rule drops.
pub fn conntrack_invalid() -> Result<Shot> {
    let link = Link::build()?;
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = "-t filter -A INPUT -m conntrack --ctstate INVALID -j DROP\n";
    frontend.apply(&link.right, rule)?;
    let macs = (RIGHT_MAC, LEFT_MAC);
    let frame = Frame {
        bad_udp_checksum: true,
        ..Frame::new(macs, (LEFT, CLIENT_PORT), (RIGHT, PORT))?
    };
    Ok(Shot::new(link, move |link| {
        frame.transmit(&link.left, "eth0")
    }))
}
