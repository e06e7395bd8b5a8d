//! Losses at devices: queues, classifiers, XDP, bridge ports.

use anyhow::Result;

use super::cases::Shot;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{self, CLIENT, CLIENT_PORT, CLIENT_VETH, PORT, SERVER, at};
use crate::traffic;
use crate::xdp::XdpDrop;

/// Datagrams over the cable, after `change` was made to it.
fn over_the_cable<T: 'static>(
    datagrams: usize,
    change: impl Fn(&Link) -> Result<T>,
) -> Result<Shot> {
    let link = Link::build()?;
    let change = change(&link)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    Ok(Shot::new((link, change, sender), move |(.., sender)| {
        for _ in 0..datagrams {
            // A sender is told when its own device drops the datagram.
            let _ = traffic::send(sender, at(RIGHT, PORT)?, &[b'x'; 1000]);
        }
        Ok(())
    }))
}

/// Runs `tc` with the words of each line; skips where this kernel cannot do the first.
fn tc(host: &Netns, lines: &[&str]) -> Result<()> {
    for (index, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match host.run("tc", &words) {
            Ok(_) => {}
            Err(error) if index == 0 => return skip(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub fn netem_loss() -> Result<Shot> {
    over_the_cable(1, |link| {
        tc(&link.left, &["qdisc add dev eth0 root netem loss 100%"])
    })
}

/// The bucket holds one datagram, the queue one more.
pub fn tbf_limit() -> Result<Shot> {
    over_the_cable(5, |link| {
        let queue = "qdisc add dev eth0 root tbf rate 8kbit burst 1600 limit 1600";
        tc(&link.left, &[queue])
    })
}

pub fn tc_ingress() -> Result<Shot> {
    over_the_cable(1, |link| {
        let lines = [
            "qdisc add dev eth0 clsact",
            "filter add dev eth0 ingress matchall action drop",
        ];
        tc(&link.right, &lines)
    })
}

pub fn tc_egress() -> Result<Shot> {
    over_the_cable(1, |link| {
        let lines = [
            "qdisc add dev eth0 clsact",
            "filter add dev eth0 egress protocol ip flower ip_proto udp dst_port 9999 action drop",
        ];
        tc(&link.left, &lines)
    })
}

pub fn xdp() -> Result<Shot> {
    over_the_cable(1, |link| XdpDrop::attach(&link.right, "eth0"))
}

fn over_the_bridge(script: &str) -> Result<Shot> {
    let cluster = topology::pods()?;
    cluster.node1.ip(script)?;
    let sender = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
    Ok(Shot::new((cluster, sender), |(_, sender)| {
        traffic::send(sender, at(SERVER, PORT)?, b"bridged")
    }))
}

/// The client's port has just joined a bridge with a spanning tree, and listens for others first.
pub fn bridge_port_blocked() -> Result<Shot> {
    over_the_bridge(&format!(
        "link set cbr0 type bridge forward_delay 3000 stp_state 1\n\
         link set {CLIENT_VETH} nomaster\n\
         link set {CLIENT_VETH} master cbr0\n"
    ))
}

/// No port is a member of any VLAN.
pub fn bridge_vlan_filtered() -> Result<Shot> {
    over_the_bridge(
        "link set cbr0 type bridge vlan_default_pvid 0\n\
         link set cbr0 type bridge vlan_filtering 1\n",
    )
}
