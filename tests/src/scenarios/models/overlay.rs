//! Between the pods of two nodes, whose network knows the nodes alone: the nodes put the pods'
//! packets into packets of their own.

use anyhow::{Context as _, Result, ensure};

use super::scene::{Scene, Seen, delivered_to};
use crate::overlay::{self, Overlay};
use crate::story::{Hop, hop};
use crate::topology::bridged::{NODE1, Nodes, POD1, POD2, Side};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::traffic::exchange::Exchange;

/// The tunnel's number.
const VNI: u32 = 100;
/// What VXLAN adds to a packet of IP: Ethernet inside (14), VXLAN (8), UDP (8), IPv4 (20). On the
/// wire that is as much more than the pod's own frame, whose header is the one that is inside.
const VXLAN_OVERHEAD: u32 = 50;

fn there_and_back(exchange: &Exchange) -> Result<()> {
    let server = at(POD2, PORT)?;
    let seen = exchange.ask(server)?;
    exchange.answer(seen, server)
}

/// A packet of the pods, from one side to the other.
struct Way<'a> {
    from: &'a Side,
    to: &'a Side,
    inner: String,
    end: String,
}

/// There, and back.
fn ways(nodes: &Nodes) -> [Way<'_>; 2] {
    let [there, back] = nodes.ways();
    let (client, server) = ((POD1, CLIENT_PORT), (POD2, PORT));
    [(there, client, server), (back, server, client)].map(|([from, to], source, target)| Way {
        from,
        to,
        inner: format!("U:{}:{}->{}:{}", source.0, source.1, target.0, target.1),
        end: delivered_to(target.0, target.1),
    })
}

pub const TUN: &[&str] = &[
    "--set=route,tunnel",
    "-H",
    "10.0.1.2,10.50.1.10",
    "--func",
    "^(ip_send_skb|br_handle_frame|ip_forward|tun_net_xmit|ip_rcv|udp_rcv)$",
];

/// A program on each node reads the pods' packets from a tun device and sends them to the other
/// node's, in datagrams of its own.
pub fn tun() -> Result<Scene> {
    let nodes = Nodes::build()?;
    let start = |[own, peer]: [&Side; 2]| -> Result<Overlay> {
        let addresses = [own.address, peer.address].map(|address| at(address, overlay::PORT));
        let [own_address, peer_address] = addresses;
        let overlay = Overlay::start(&own.node, "tun0", own_address?, peer_address?)?;
        own.node.ip(&format!(
            "link set tun0 up\nroute add {} dev tun0\n",
            peer.network
        ))?;
        Ok(overlay)
    };
    let [there, back] = nodes.ways();
    let daemons = [start(there)?, start(back)?];
    nodes.warm_up().context("the new overlay does not work")?;
    let exchange = nodes.exchange()?;
    Ok(Scene::of(
        (nodes, daemons, exchange),
        |(.., exchange)| there_and_back(exchange),
        |(nodes, daemons, _), seen| {
            let [first, second] = daemons;
            for (way, [reader, writer]) in
                ways(nodes).iter().zip([[first, second], [second, first]])
            {
                through_user_space(way, seen, reader, writer)?;
            }
            Ok(())
        },
    ))
}

/// Three packets: the pod's as far as the device, the program's to the other one, and the one that
/// that one makes of what it carried. Nothing ties them together but what is in them.
fn through_user_space(
    way: &Way<'_>,
    seen: &Seen,
    reader: &Overlay,
    writer: &Overlay,
) -> Result<()> {
    let (from, to) = (way.from, way.to);
    let (reader, writer) = (reader.process(), writer.process());
    let inner = |name| hop(name).pkt(&way.inner);
    let (own, peer) = (
        at(from.address, overlay::PORT)?,
        at(to.address, overlay::PORT)?,
    );
    let datagram = format!("U:{own}->{peer}");
    let outer = |name| hop(name).pkt(&datagram);
    let sent = [
        inner(&["ip_send_skb"]).inside(&from.pod),
        inner(&["ip_forward"]).inside(&from.node),
        inner(&["tun_net_xmit"]).inside(&from.node).on("tun0"),
    ];
    let carried = [
        outer(&["ip_send_skb"]).inside(&from.node),
        outer(&["ip_rcv"]).inside(&to.node).on("eth0"),
        outer(&["udp_rcv"]).inside(&to.node),
    ];
    let arrived = [
        inner(&["ip_rcv"]).inside(&to.node).on("tun0"),
        inner(&["ip_forward"]).inside(&to.node),
        inner(&["ip_rcv"]).inside(&to.pod).on("eth0"),
        inner(&["udp_rcv"]).inside(&to.pod),
    ];
    let read = format!("read from tun0 by {reader}: what that sends for it is another packet");
    let into_device = seen.journey(&sent, &read)?;
    let read = format!("delivered to {peer}->{own} of {writer}, read by {writer}");
    let datagram = seen.journey(&carried, &read)?;
    datagram.says(&format!(" of {reader}, "))?;
    let out_of_device = seen.journey(&arrived, &way.end)?;
    out_of_device.says(&format!(" from tun0 while {writer} ran, "))?;
    ensure!(
        into_device.id != out_of_device.id && into_device.id != datagram.id,
        "one packet on both sides of the program"
    );
    for journey in [&into_device, &datagram, &out_of_device] {
        journey.does_not_say(" => ")?.does_not_say("<#")?;
    }
    let more = length(seen, &carried[1])? - length(seen, &sent[1])?;
    ensure!(more == overlay::OVERHEAD, "{more} bytes more");
    Ok(())
}

/// How long the packet is (`skb->len`) at the first such row.
fn length(seen: &Seen, hop: &Hop<'_>) -> Result<u32> {
    let row = seen.outcome.find(hop)?;
    row.length.with_context(|| format!("no length: {row}"))
}

pub const VXLAN: &[&str] = &[
    "--set=route,tunnel",
    "-H",
    "10.0.1.2",
    "--func",
    "^(ip_send_skb|br_handle_frame|ip_forward|vxlan_xmit|iptunnel_xmit|ip_rcv_core|vxlan_rcv|udp_rcv)$",
];

/// The nodes' kernels put the pods' packets into packets of their own, and take them out again.
/// Pods' networks are routed to the other node's VXLAN device, whose hardware address is known
/// beforehand, as is the node that it is at: nothing is asked for, nothing flooded.
pub fn vxlan() -> Result<Scene> {
    let nodes = Nodes::build()?;
    for [own, peer] in nodes.ways() {
        let mac = |side: &Side| match side.address {
            NODE1 => "0a:64:00:00:01:00",
            _ => "0a:64:00:00:02:00",
        };
        let gateway = peer.network.trim_end_matches("/24");
        let own_end = own.network.trim_end_matches("/24");
        own.node.ip(&format!(
            "link add vxlan0 address {} type vxlan id {VNI} local {} dev eth0 dstport 4789 nolearning\n\
             addr add {own_end}/32 dev vxlan0\n\
             link set vxlan0 up\n\
             route add {} via {gateway} dev vxlan0 onlink\n\
             neigh replace {gateway} lladdr {} dev vxlan0 nud permanent\n",
            mac(own),
            own.address,
            peer.network,
            mac(peer),
        ))?;
        let entry = [
            "fdb",
            "replace",
            mac(peer),
            "dev",
            "vxlan0",
            "dst",
            peer.address,
        ];
        own.node.run("bridge", &entry)?;
    }
    nodes.warm_up().context("the new tunnel does not work")?;
    let exchange = nodes.exchange()?;
    Ok(Scene::of(
        (nodes, exchange),
        |(_, exchange)| there_and_back(exchange),
        |(nodes, _), seen| {
            let there_and_back = ways(nodes);
            there_and_back
                .iter()
                .try_for_each(|way| through_the_tunnel(way, seen))
        },
    ))
}

/// One packet all the way: with other headers before it on the wire, and then without them.
fn through_the_tunnel(way: &Way<'_>, seen: &Seen) -> Result<()> {
    let (from, to) = (way.from, way.to);
    let inner = |name| hop(name).pkt(&way.inner);
    // The port that VXLAN sends from differs by flow.
    let (own, peer) = (
        format!("U:{}:", from.address),
        format!("->{}:4789", to.address),
    );
    let outer = |name| hop(name).pkt(&peer);
    let hops = [
        inner(&["ip_send_skb"]).inside(&from.pod),
        inner(&["ip_forward"]).inside(&from.node),
        inner(&["vxlan_xmit"]).inside(&from.node).on("vxlan0"),
        outer(&["iptunnel_xmit"]).inside(&from.node),
        outer(&["ip_rcv_core"]).inside(&to.node).on("eth0"),
        outer(&["vxlan_rcv"]).inside(&to.node).on("eth0"),
        inner(&["ip_rcv_core"]).inside(&to.node).on("vxlan0"),
        inner(&["ip_forward"]).inside(&to.node),
        inner(&["ip_rcv_core"]).inside(&to.pod).on("eth0"),
        inner(&["udp_rcv"]).inside(&to.pod),
    ];
    let journey = seen.journey(&hops, &way.end)?;
    journey
        .says(&format!(" {} => {own}", way.inner))?
        .says(&format!("{peer} wrapped by iptunnel_xmit\n"))?
        .says(&format!(" => {} unwrapped by vxlan_rcv\n", way.inner))?;
    let told = format!(",vni={VNI},inner={}", way.inner);
    for (function, node) in [("iptunnel_xmit", &from.node), ("vxlan_rcv", &to.node)] {
        let row = seen
            .outcome
            .find(&hop(&[function]).inside(node).id(journey.id))?;
        ensure!(row.pkt.starts_with(&own), "another packet outside: {row}");
        ensure!(row.what.ends_with(&told), "not {told}: {row}");
    }
    let [before, outside, after] =
        [&hops[1], &hops[4], &hops[6]].map(|hop| length(seen, &hop.clone().id(journey.id)));
    let (before, outside, after) = (before?, outside?, after?);
    ensure!(
        before + VXLAN_OVERHEAD == outside && after == before,
        "{before} bytes, then {outside}, then {after}"
    );
    Ok(())
}
