//! What else than IPv4 UDP passes the hooks, and how PKT_INFO names it.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use super::{skip, trial};
use crate::frontend::Frontend;
use crate::story::hop;
use crate::topology::{
    self, CLIENT, CLIENT_MAC, CLIENT_PORT, CLIENT_VETH, CLIENT6, Cluster, PORT, Plan, SERVER,
    SERVER_MAC, SERVER6,
};
use crate::tracer::Tracer;
use crate::traffic;

/// The client: its addresses, and the one that it has behind a tag.
const FROM: &str = "172.18.0.15,fd00:172:18::15,192.168.100.15";

pub fn trials() -> Vec<Trial> {
    let mut datagrams = Turns::with(&["--route", "--host", FROM, "--proto", "udp"]);
    datagrams.trial("ipv6_udp", ipv6_udp);
    datagrams.trial("vlan", |turn| vlan(turn, "vlan", 100, None));
    datagrams.trial("vlan_in_vlan", |turn| {
        vlan(turn, "vlan_in_vlan", 200, Some(300))
    });
    datagrams.trial("fragments", fragments);
    let mut segments = Turns::with(&["--route", "--host", FROM, "--proto", "tcp"]);
    segments.trial("tcp_flags", tcp_flags);
    segments.trial("tcp6_flags", tcp6_flags);
    let bridged = ["--route", "--iptable", "--host", CLIENT6, "--proto", "udp"];
    let mut bridged = Turns::with(&bridged);
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        bridged.trial(format!("ipv6_bridged::{frontend}"), move |turn| {
            ipv6_bridged(turn, frontend)
        });
    }
    let together = [datagrams, segments, bridged];
    let mut trials: Vec<Trial> = together.into_iter().flat_map(Turns::trials).collect();
    trials.extend([trial("arp", arp), trial("nft_drop", nft_drop)]);
    trials
}

fn pods6() -> Result<Cluster> {
    Cluster::build(Plan {
        ipv6: true,
        ..Plan::default()
    })
}

/// One datagram from the client to the server.
fn send(cluster: &Cluster, from: &str, to: &str, payload: &[u8]) -> Result<()> {
    let receiver = traffic::udp_socket(&cluster.server, topology::at(to, PORT)?)?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(from, CLIENT_PORT)?)?;
    traffic::send(&sender, topology::at(to, PORT)?, payload)?;
    let received = traffic::receive(&receiver)?;
    ensure!(received == payload, "another datagram arrived");
    Ok(())
}

fn ipv6_udp(turn: &Turn) -> Result<()> {
    let cluster = pods6()?;
    let tracer = turn.listen()?;
    send(&cluster, CLIENT6, SERVER6, b"six")?;
    let outcome = tracer.stop()?;
    let (client, node, server) = (&cluster.client, &cluster.node1, &cluster.server);
    let pkt = format!("U:[{CLIENT6}]:{CLIENT_PORT}->[{SERVER6}]:{PORT}");
    let hop = |names| hop(names).pkt(&pkt);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        outcome.in_order(&[
            hop(&["ip6_send_skb"]).inside(client),
            hop(&["ip6_output"]).inside(client),
            hop(&["ip6_finish_output"]).inside(client).on("eth0"),
            hop(&["__dev_queue_xmit"]).inside(client).on("eth0"),
            hop(&["br_handle_frame"]).inside(node).mac(SERVER_MAC),
            hop(&["__br_forward"]).inside(node),
            hop(&["__dev_queue_xmit"]).inside(node),
            hop(&["ipv6_rcv"]).inside(server).on("eth0"),
            hop(&["ip6_input"]).inside(server),
            hop(&["udpv6_rcv"]).inside(server),
        ])
    })())
}

/// Bridged IPv6 passes ip6tables.
fn ipv6_bridged(turn: &Turn, frontend: Frontend) -> Result<()> {
    let cluster = pods6()?;
    let node = &cluster.node1;
    let rule = [
        "-w", "-t", "filter", "-A", "FORWARD", "-s", CLIENT6, "-j", "ACCEPT",
    ];
    if let Err(error) = node.run(frontend.command6(), &rule) {
        return skip(format!(
            "{} does not work here: {error:#}",
            frontend.command6()
        ));
    }
    topology::filter_bridged(node)?;
    let tracer = turn.listen()?;
    send(&cluster, CLIENT6, SERVER6, b"six")?;
    let outcome = tracer.stop()?;
    let pkt = format!("U:[{CLIENT6}]:{CLIENT_PORT}->[{SERVER6}]:{PORT}");
    let hop = |names| hop(names).inside(node).pkt(&pkt);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["br_handle_frame"]),
            hop(&["br_nf_pre_routing_ipv6"]),
            hop(&["br_nf_pre_routing_finish_ipv6"]),
            hop(&["br_handle_frame_finish"]),
            hop(&["br_nf_forward", "br_nf_forward_ip"]),
            hop(&["10.filter.FORWARD.ACCEPT"]),
            hop(&["br_nf_forward_finish"]),
            hop(&["br_nf_post_routing"]),
        ])
    })())
}

fn tcp_flags(turn: &Turn) -> Result<()> {
    let cluster = topology::pods()?;
    let tracer = turn.listen()?;
    let at = topology::at(SERVER, PORT)?;
    let peer = traffic::tcp_conversation(&cluster.client, at, &cluster.server, at)?;
    let outcome = tracer.stop()?;
    let (client, server) = (&cluster.client, &cluster.server);
    let there = |flags: &str| format!("T_{flags}:{peer}->{at}");
    let back = |flags: &str| format!("T_{flags}:{at}->{peer}");
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["__ip_queue_xmit"]).inside(client).pkt(&there("SYN")),
            hop(&["tcp_v4_rcv"]).inside(server).pkt(&there("SYN")),
            hop(&["ip_output"]).inside(server).pkt(&back("SYN,ACK")),
            hop(&["tcp_v4_rcv"]).inside(client).pkt(&back("SYN,ACK")),
            hop(&["__ip_queue_xmit"]).inside(client).pkt(&there("ACK")),
            hop(&["tcp_v4_rcv"]).inside(server).pkt(&there("ACK")),
            hop(&["__ip_queue_xmit"]).inside(server).pkt("FIN"),
            hop(&["tcp_v4_rcv"]).inside(client).pkt("FIN"),
        ])
    })())
}

fn tcp6_flags(turn: &Turn) -> Result<()> {
    let cluster = pods6()?;
    let tracer = turn.listen()?;
    let at = topology::at(SERVER6, PORT)?;
    let peer = traffic::tcp_conversation(&cluster.client, at, &cluster.server, at)?;
    let outcome = tracer.stop()?;
    let (client, server) = (&cluster.client, &cluster.server);
    let syn = format!("T_SYN:{peer}->{at}");
    let answer = format!("T_SYN,ACK:{at}->{peer}");
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["ip6_xmit"]).inside(client).pkt(&syn),
            hop(&["tcp_v6_rcv"]).inside(server).pkt(&syn),
            hop(&["ip6_output"]).inside(server).pkt(&answer),
            hop(&["tcp_v6_rcv"]).inside(client).pkt(&answer),
        ])
    })())
}

fn arp() -> Result<()> {
    let cluster = Cluster::build(Plan {
        dynamic_neighbours: true,
        ..Plan::default()
    })?;
    let (client, server) = (&cluster.client, &cluster.server);
    // Or else the server, confirming what it learned, would teach the client its address again.
    server.ip(&format!(
        "neigh replace {CLIENT} lladdr {CLIENT_MAC} dev eth0 nud permanent\n"
    ))?;
    let tracer = Tracer::start(&["--route"])?;
    client.ip("neigh flush dev eth0\n")?;
    send(&cluster, CLIENT, SERVER, b"who has")?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["arp_xmit"]).inside(client).pkt("A_request:"),
            hop(&["br_handle_frame"]).pkt("A_request:"),
            hop(&["arp_rcv"])
                .inside(server)
                .on("eth0")
                .pkt("A_request:"),
            hop(&["arp_xmit"]).inside(server).pkt("A_reply:"),
            hop(&["arp_rcv"]).inside(client).on("eth0").pkt("A_reply:"),
        ])?;
        let asked = outcome.find(&hop(&["arp_rcv"]).inside(server).pkt("A_request:"))?;
        ensure!(
            asked.pkt.contains(CLIENT) && asked.pkt.contains(SERVER),
            "the request does not name both addresses: {asked}"
        );
        Ok(())
    })())
}

/// Tagged frames are decoded: the outer tag travels beside the frame, an inner one in it.
fn vlan(turn: &Turn, name: &str, outer: u16, inner: Option<u16>) -> Result<()> {
    const TAGGED: &str = "192.168.100.15";
    const TO: &str = "192.168.100.12";
    let cluster = topology::pods()?;
    let pods = [
        (&cluster.client, TAGGED, TO, SERVER_MAC),
        (&cluster.server, TO, TAGGED, CLIENT_MAC),
    ];
    for (pod, own, peer, peer_mac) in pods {
        let mut script = format!(
            "link add link eth0 name tag0 type vlan id {outer}\n\
             link set tag0 up\n"
        );
        let mut device = "tag0";
        if let Some(inner) = inner {
            script.push_str(&format!(
                "link add link tag0 name tag1 type vlan id {inner}\n\
                 link set tag1 up\n"
            ));
            device = "tag1";
        }
        script.push_str(&format!(
            "addr add {own}/24 dev {device}\n\
             neigh replace {peer} lladdr {peer_mac} dev {device} nud permanent\n"
        ));
        pod.ip(&script)?;
    }
    traffic::exchange_one(&cluster.client, &cluster.server, topology::at(TO, 9)?)?;
    let tracer = turn.listen()?;
    send(&cluster, TAGGED, TO, name.as_bytes())?;
    let outcome = tracer.stop()?;
    let pkt = format!("U:{TAGGED}:{CLIENT_PORT}->{TO}:{PORT}");
    let hop = |names| hop(names).pkt(&pkt);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["ip_output"]).inside(&cluster.client),
            hop(&["__dev_queue_xmit"])
                .inside(&cluster.client)
                .on("eth0"),
            hop(&["br_handle_frame"]).on(CLIENT_VETH).mac(SERVER_MAC),
            hop(&["__br_forward"]),
            hop(&["__netif_receive_skb"])
                .inside(&cluster.server)
                .on("eth0"),
            hop(&["ip_rcv"]).inside(&cluster.server),
            hop(&["udp_rcv"]).inside(&cluster.server),
        ])
    })())
}

/// A table of nftables' own with names of its own, and what it drops: since 6.7 it frees the packet
/// before it speaks, which is shown all the same.
fn nft_drop() -> Result<()> {
    let cluster = topology::pods()?;
    let server = &cluster.server;
    if let Err(error) = server.run("nft", &["add", "table", "inet", "guard"]) {
        return skip(format!("no nftables here: {error:#}"));
    }
    let hook = "{ type filter hook input priority 0; policy accept; }";
    server.run("nft", &["add", "chain", "inet", "guard", "in_put", hook])?;
    let rule = [
        "add", "rule", "inet", "guard", "in_put", "udp", "dport", "7", "drop",
    ];
    server.run("nft", &rule)?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, CLIENT_PORT)?)?;
    let receiver = traffic::udp_socket(server, topology::at(SERVER, PORT)?)?;
    let tracer = Tracer::start(&["--iptable", "--dst", SERVER, "--proto", "udp"])?;
    traffic::send(&sender, topology::at(SERVER, 7)?, b"dropped")?;
    // On the same way, so what was sent before has met its end when this arrives.
    traffic::send(&sender, topology::at(SERVER, PORT)?, b"accepted")?;
    traffic::receive(&receiver)?;
    let outcome = tracer.stop()?;
    let verdicts = |names, port| {
        let packet = format!("U:{CLIENT}:{CLIENT_PORT}->{SERVER}:{port}");
        outcome.count(&hop(names).inside(server).pkt(&packet))
    };
    outcome.explain((|| {
        outcome.complete()?;
        let dropped = verdicts(&["2.guard.in_put.DROP", "2.guard.in_put.DROP(EPERM)"], 7);
        let accepted = verdicts(&["2.guard.in_put.ACCEPT"], PORT);
        ensure!(
            (dropped, accepted) == (1, 1),
            "the table dropped {dropped} and accepted {accepted}, and not one each"
        );
        Ok(())
    })())
}

/// Only a datagram's first fragment has ports; the others are named `F:`.
fn fragments(turn: &Turn) -> Result<()> {
    let cluster = topology::pods()?;
    let (client, server) = (&cluster.client, &cluster.server);
    let tracer = turn.listen()?;
    send(&cluster, CLIENT, SERVER, &[b'x'; 4000])?;
    let outcome = tracer.stop()?;
    let first = format!("U:{CLIENT}:{CLIENT_PORT}->{SERVER}:{PORT}");
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["ip_do_fragment"]).inside(client).pkt(&first),
            hop(&["__dev_queue_xmit"]).inside(client).pkt(&first),
            hop(&["__dev_queue_xmit"]).inside(client).pkt("F:"),
        ])?;
        let count = |name, pkt| outcome.count(&hop(&[name]).inside(server).pkt(pkt));
        let counts = (
            count("ip_rcv", first.as_str()),
            count("ip_rcv", "F:"),
            count("udp_rcv", first.as_str()),
        );
        ensure!(
            counts == (1, 2, 1),
            "the server's ip_rcv saw {} first and {} later fragments and udp_rcv {} datagrams",
            counts.0,
            counts.1,
            counts.2
        );
        Ok(())
    })())
}
