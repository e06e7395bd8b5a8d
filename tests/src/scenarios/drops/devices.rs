//! Losses at devices: queues, classifiers, XDP, bridge ports.

use std::rc::Rc;

use anyhow::Result;

use super::cases::Shot;
use super::ground::Ground;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT, CLIENT_VETH, Cluster, PORT, SERVER, at};
use crate::traffic;
use crate::xdp::XdpDrop;

/// Datagrams over the cable, after `change` was made to it.
fn over_the_cable<T: 'static>(
    ground: &Ground,
    port: u16,
    datagrams: usize,
    change: impl Fn(&Rc<Link>) -> Result<T>,
) -> Result<Shot> {
    let link = ground.link()?;
    let change = change(&link)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, port)?)?;
    Ok(Shot::new((change, link, sender), move |(.., sender)| {
        for _ in 0..datagrams {
            // A sender is told when its own device drops the datagram.
            let _ = traffic::send(sender, at(RIGHT, PORT)?, &[b'x'; 1000]);
        }
        Ok(())
    }))
}

/// Runs `tc` with these words; skips where this kernel cannot do it.
fn tc(host: &Netns, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match host.run("tc", &words) {
        Ok(_) => Ok(()),
        Err(error) => skip(format!("{error:#}")),
    }
}

/// A queue of the left host's cable, until this is dropped.
struct Queue(Rc<Link>);

impl Queue {
    fn add(link: &Rc<Link>, kind: &str) -> Result<Self> {
        tc(&link.left, &format!("qdisc add dev eth0 root {kind}"))?;
        Ok(Self(Rc::clone(link)))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let delete = ["qdisc", "del", "dev", "eth0", "root"];
        if let Err(error) = self.0.left.run("tc", &delete) {
            eprintln!("skbtrace-tests: {error:#}");
        }
    }
}

pub fn netem_loss(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, 1, |link| Queue::add(link, "netem loss 100%"))
}

/// The bucket holds one datagram, the queue one more.
pub fn tbf_limit(ground: &Ground, port: u16) -> Result<Shot> {
    let kind = "tbf rate 8kbit burst 1600 limit 1600";
    over_the_cable(ground, port, 5, |link| {
        // Those that pass arrive.
        let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
        Ok((Queue::add(link, kind)?, receiver))
    })
}

/// A filter that drops what comes from this port, at one end of the cable.
fn classified(host: &Netns, way: &str, port: u16) -> Result<()> {
    tc(host, "qdisc replace dev eth0 clsact")?;
    let filter = format!(
        "filter add dev eth0 {way} protocol ip flower ip_proto udp src_port {port} action drop"
    );
    tc(host, &filter)
}

pub fn tc_ingress(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, 1, |link| {
        classified(&link.right, "ingress", port)
    })
}

pub fn tc_egress(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, 1, |link| {
        classified(&link.left, "egress", port)
    })
}

pub fn xdp(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_cable(ground, port, 1, |link| XdpDrop::attach(&link.right, "eth0"))
}

/// The bridge with other settings, until this is dropped.
struct Changed {
    cluster: Rc<Cluster>,
    back: &'static str,
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.node1.ip(self.back) {
            eprintln!("skbtrace-tests: {error:#}");
        }
    }
}

fn over_the_bridge(ground: &Ground, port: u16, script: &str, back: &'static str) -> Result<Shot> {
    let cluster = ground.bridged()?;
    cluster.node1.ip(script)?;
    let sender = traffic::udp_socket(&cluster.client, at(CLIENT, port)?)?;
    let changed = Changed { cluster, back };
    Ok(Shot::new((changed, sender), |(_, sender)| {
        traffic::send(sender, at(SERVER, PORT)?, b"bridged")
    }))
}

/// The client's port has just joined a bridge with a spanning tree, and listens for others first.
pub fn bridge_port_blocked(ground: &Ground, port: u16) -> Result<Shot> {
    let script = format!(
        "link set cbr0 type bridge forward_delay 3000 stp_state 1\n\
         link set {CLIENT_VETH} nomaster\n\
         link set {CLIENT_VETH} master cbr0\n"
    );
    let back = "link set cbr0 type bridge stp_state 0\n";
    over_the_bridge(ground, port, &script, back)
}

/// No port is a member of any VLAN.
pub fn bridge_vlan_filtered(ground: &Ground, port: u16) -> Result<Shot> {
    over_the_bridge(
        ground,
        port,
        "link set cbr0 type bridge vlan_default_pvid 0\n\
         link set cbr0 type bridge vlan_filtering 1\n",
        "link set cbr0 type bridge vlan_filtering 0\n",
    )
}
