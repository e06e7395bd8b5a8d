//! Losses by rules of netfilter.

use anyhow::Result;

use super::cases::Shot;
use super::ground::Ground;
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, LEFT_MAC, RIGHT, RIGHT_MAC};
use crate::topology::{PORT, at};
use crate::traffic;

pub fn iptables_legacy(ground: &Ground, port: u16) -> Result<Shot> {
    let drop = |host: &Netns| drop_by_iptables(host, Frontend::Legacy, port);
    to_a_guarded_host(ground, port, drop)
}

pub fn iptables_nft(ground: &Ground, port: u16) -> Result<Shot> {
    let drop = |host: &Netns| drop_by_iptables(host, Frontend::Nft, port);
    to_a_guarded_host(ground, port, drop)
}

/// A table of nftables' own.
pub fn nft(ground: &Ground, port: u16) -> Result<Shot> {
    to_a_guarded_host(ground, port, |host| {
        if let Err(error) = host.run("nft", &["add", "table", "inet", "guard"]) {
            return skip(format!("no nftables here: {error:#}"));
        }
        let hook = "{ type filter hook input priority 0; policy accept; }";
        host.run("nft", &["add", "chain", "inet", "guard", "in_put", hook])?;
        let port = port.to_string();
        let rule = [
            "add", "rule", "inet", "guard", "in_put", "udp", "sport", &port, "drop",
        ];
        host.run("nft", &rule).map(drop)
    })
}

fn drop_by_iptables(host: &Netns, frontend: Frontend, port: u16) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = format!("-t filter -A INPUT -p udp --sport {port} -j DROP\n");
    frontend.apply(host, &rule)
}

fn to_a_guarded_host(
    ground: &Ground,
    port: u16,
    guard: impl Fn(&Netns) -> Result<()>,
) -> Result<Shot> {
    let link = ground.link()?;
    guard(&link.right)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, port)?)?;
    Ok(Shot::new((link, sender), |(_, sender)| {
        traffic::send(sender, at(RIGHT, PORT)?, b"unwanted")
    }))
}

/// Connection tracking finds the checksum wrong and calls the datagram invalid, which a rule drops.
pub fn conntrack_invalid(ground: &Ground, port: u16) -> Result<Shot> {
    let link = ground.link()?;
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = format!(
        "-t filter -A INPUT -p udp --sport {port} -m conntrack --ctstate INVALID -j DROP\n"
    );
    frontend.apply(&link.right, &rule)?;
    let macs = (RIGHT_MAC, LEFT_MAC);
    let frame = Frame {
        bad_udp_checksum: true,
        ..Frame::new(macs, (LEFT, port), (RIGHT, PORT))?
    };
    Ok(Shot::new(link, move |link| {
        frame.transmit(&link.left, "eth0")
    }))
}
