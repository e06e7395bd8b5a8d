//! Between the pods of a node by routes alone, without a bridge.

use anyhow::{Context as _, Result};

use super::scene::{Scene, Seen, delivered_to};
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::{CLIENT_PORT, PORT, at, quiet};
use crate::traffic::{self, exchange::Exchange};

const CLIENT: &str = "10.0.1.2";
const SERVER: &str = "10.0.1.3";
/// The pods' gateway, which is nobody's address.
const GATEWAY: &str = "169.254.1.1";
/// The hardware address of the node's end of every pod.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";

pub const PROXY_ARP: &[&str] = &[
    "--set=route,neigh",
    "-H",
    CLIENT,
    "--func",
    "^(ip_send_skb|__neigh_event_send|arp_xmit|arp_rcv|ip_rcv|ip_forward|udp_rcv)$",
];

/// The two pods and their node.
struct Network {
    client: Netns,
    server: Netns,
    node: Netns,
    exchange: Exchange,
}

/// Each pod has an address without a network, and a gateway that the node answers for: pods ask for
/// no hardware address but that one, and whatever they send, the node routes.
pub fn proxy_arp() -> Result<Scene> {
    let [client, server, node] = ["pod1", "pod2", "node"].map(Netns::create);
    let (client, server, node) = (client?, server?, node?);
    for net in [&client, &server, &node] {
        quiet(net, false)?;
    }
    node.sysctl("ipv4/ip_forward", "1")?;
    // It answers for what it has a route to, by another device.
    node.ip("link set lo up\n\
         link add eth0 type dummy\n\
         link set eth0 up\n\
         addr add 10.50.1.10/24 dev eth0\n\
         route add default dev eth0\n")?;
    for (pod, own, number) in [(&client, CLIENT, 1), (&server, SERVER, 2)] {
        let pod_mac = format!("0a:00:00:00:01:{:02x}", number + 1);
        node.ip(&format!(
            "link add veth{number} address {HOST_MAC} type veth \
             peer name eth0 address {pod_mac} netns {}\n\
             link set veth{number} up\n\
             route add {own}/32 dev veth{number}\n\
             neigh replace {own} lladdr {pod_mac} dev veth{number} nud permanent\n",
            pod.name(),
        ))?;
        node.sysctl(&format!("ipv4/conf/veth{number}/proxy_arp"), "1")?;
        // Not after a while, as is due where several might answer.
        node.sysctl(&format!("ipv4/neigh/veth{number}/proxy_delay"), "0")?;
        pod.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {own}/32 dev eth0\n\
             route add {GATEWAY} dev eth0 scope link\n\
             route add default via {GATEWAY} dev eth0\n\
             neigh replace {GATEWAY} lladdr {HOST_MAC} dev eth0 nud permanent\n"
        ))?;
    }
    for (from, to, address) in [(&client, &server, SERVER), (&server, &client, CLIENT)] {
        traffic::exchange_one(from, to, at(address, 9)?)
            .context("the new network does not work")?;
    }
    let exchange = Exchange::open(
        (&client, at(CLIENT, CLIENT_PORT)?),
        (&server, at(SERVER, PORT)?),
    )?;
    client.ip(&format!("neigh del {GATEWAY} dev eth0\n"))?;
    let network = Network {
        client,
        server,
        node,
        exchange,
    };
    Ok(Scene::of(
        network,
        |network| {
            let server = at(SERVER, PORT)?;
            let seen = network.exchange.ask(server)?;
            network.exchange.answer(seen, server)
        },
        judge,
    ))
}

fn judge(network: &Network, seen: &Seen) -> Result<()> {
    let (client, node, server) = (&network.client, &network.node, &network.server);
    let there = format!("U:{CLIENT}:{CLIENT_PORT}->{SERVER}:{PORT}");
    let back = format!("U:{SERVER}:{PORT}->{CLIENT}:{CLIENT_PORT}");
    let question = |name| hop(name).pkt(&there);
    let answer = |name| hop(name).pkt(&back);
    seen.journey(
        &[
            question(&["ip_send_skb"]).inside(client),
            question(&["__neigh_event_send"]).inside(client),
            question(&["ip_rcv"]).inside(node).on("veth1").mac(HOST_MAC),
            question(&["ip_forward"]).inside(node),
            question(&["ip_rcv"]).inside(server).on("eth0"),
            question(&["udp_rcv"]).inside(server),
        ],
        &delivered_to(SERVER, PORT),
    )?
    .does_not_say(" => ")?;
    seen.journey(
        &[
            answer(&["ip_send_skb"]).inside(server),
            answer(&["ip_rcv"]).inside(node).on("veth2").mac(HOST_MAC),
            answer(&["ip_forward"]).inside(node),
            answer(&["ip_rcv"]).inside(client).on("eth0"),
            answer(&["udp_rcv"]).inside(client),
        ],
        &delivered_to(CLIENT, CLIENT_PORT),
    )?
    .does_not_say(" => ")?;
    let asked = format!("A_request:{CLIENT}->{GATEWAY}");
    let told = format!("A_reply:{GATEWAY}->{CLIENT}");
    let request = seen.journey(
        &[
            hop(&["arp_xmit"]).pkt(&asked).inside(client),
            hop(&["arp_rcv"]).pkt(&asked).inside(node).on("veth1"),
        ],
        "taken by arp_process",
    )?;
    let reply = seen.journey(
        &[
            hop(&["arp_xmit"]).pkt(&told).inside(node).on("veth1"),
            hop(&["arp_rcv"]).pkt(&told).inside(client).on("eth0"),
        ],
        "taken by arp_process",
    )?;
    anyhow::ensure!(request.id != reply.id, "one packet asks and answers");
    // The pods never ask for each other, and no bridge is in between.
    let neighbour = format!("A_request:{CLIENT}->{SERVER}");
    seen.outcome.none(&hop(&[]).pkt(&neighbour))?;
    seen.outcome.none(&hop(&["br_handle_frame"]))
}
