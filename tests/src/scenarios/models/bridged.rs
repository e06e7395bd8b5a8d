//! Within a pod, and between the pods of a node's bridge.

use anyhow::Result;

use super::scene::{Scene, Seen, delivered_to};
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::{
    self, BRIDGE_MAC, CLIENT, CLIENT_PORT, CLIENT_VETH, Cluster, PORT, SERVER, SERVER_MAC,
    SERVER_VETH, at,
};
use crate::traffic::{self, exchange::Exchange};

/// The address of whoever asks it.
const LOCALHOST: &str = "127.0.0.1";
/// What a ping is known by.
const PING: u16 = 77;

pub const LOOPBACK: &[&str] = &[
    "--set=route,tunnel",
    "-H",
    LOCALHOST,
    "-P",
    "9999",
    "--func",
    "^(ip_send_skb|ip_output|loopback_xmit|ip_rcv|udp_rcv)$",
];

/// Containers of a pod have one network namespace: what they say to each other is turned round in
/// its loopback device.
pub fn loopback() -> Result<Scene> {
    let pod = Netns::create("pod")?;
    pod.ip("link set lo up\n")?;
    let exchange = Exchange::open(
        (&pod, at(LOCALHOST, CLIENT_PORT)?),
        (&pod, at(LOCALHOST, PORT)?),
    )?;
    Ok(Scene::of(
        (pod, exchange),
        |(_, exchange)| there_and_back(exchange, LOCALHOST),
        |(pod, _), seen| {
            for (from, to) in [(CLIENT_PORT, PORT), (PORT, CLIENT_PORT)] {
                let packet = format!("U:{LOCALHOST}:{from}->{LOCALHOST}:{to}");
                let step = |name| hop(name).inside(pod).pkt(&packet);
                seen.journey(
                    &[
                        step(&["ip_send_skb"]),
                        step(&["ip_output"]),
                        step(&["loopback_xmit"]).on("lo"),
                        step(&["ip_rcv"]).on("lo"),
                        step(&["udp_rcv"]).on("lo"),
                    ],
                    &delivered_to(LOCALHOST, to),
                )?;
            }
            // Nothing leaves the pod.
            let elsewhere = |row: &&crate::row::Row| ![0, pod.inode()].contains(&row.netns);
            let row = seen.outcome.rows.iter().find(elsewhere);
            anyhow::ensure!(row.is_none(), "outside of the pod: {row:?}");
            Ok(())
        },
    ))
}

/// A question and its answer.
fn there_and_back(exchange: &Exchange, server: &str) -> Result<()> {
    let server = at(server, PORT)?;
    let seen = exchange.ask(server)?;
    exchange.answer(seen, server)
}

pub const BRIDGE: &[&str] = &[
    "--set=route",
    "-H",
    CLIENT,
    "--func",
    "^(ip_send_skb|ip_output|br_handle_frame|br_forward|__br_forward|ip_rcv|udp_rcv)$",
];

/// Pods at one bridge are neighbours: the node forwards frames, and routes nothing.
pub fn bridge() -> Result<Scene> {
    let cluster = topology::pods()?;
    let exchange = Exchange::open(
        (&cluster.client, at(CLIENT, CLIENT_PORT)?),
        (&cluster.server, at(SERVER, PORT)?),
    )?;
    Ok(Scene::and_also(
        (cluster, exchange),
        |(_, exchange)| there_and_back(exchange, SERVER),
        |(cluster, _)| traffic::ping(&cluster.client, topology::ip(SERVER)?, PING),
        |(cluster, _), seen| {
            over_the_bridge(cluster, seen)?;
            pinged(cluster, seen)
        },
    ))
}

fn over_the_bridge(cluster: &Cluster, seen: &Seen) -> Result<()> {
    let (client, server) = (&cluster.client, &cluster.server);
    let ends = [
        (client, CLIENT, CLIENT_PORT, CLIENT_VETH),
        (server, SERVER, PORT, SERVER_VETH),
    ];
    for [from, to] in [[ends[0], ends[1]], [ends[1], ends[0]]] {
        let (sender, source, source_port, in_port) = from;
        let (receiver, destination, port, _) = to;
        let packet = format!("U:{source}:{source_port}->{destination}:{port}");
        let step = |name| hop(name).pkt(&packet);
        let journey = seen.journey(
            &[
                step(&["ip_send_skb"]).inside(sender),
                step(&["br_handle_frame"])
                    .inside(&cluster.node1)
                    .on(in_port)
                    .pkt_type(3),
                step(&["__br_forward"]).inside(&cluster.node1),
                step(&["ip_rcv"]).inside(receiver).on("eth0").pkt_type(0),
                step(&["udp_rcv"]).inside(receiver),
            ],
            &delivered_to(destination, port),
        )?;
        journey
            .says(&format!(" of {}, ", crate::process::own()))?
            .does_not_say(" => ")?;
    }
    // The node's IP never sees it, as it is for another host's hardware address.
    seen.outcome
        .none(&hop(&["ip_rcv"]).inside(&cluster.node1))?;
    seen.outcome
        .none(&hop(&["br_handle_frame"]).mac(BRIDGE_MAC))?;
    seen.outcome
        .find(&hop(&["br_handle_frame"]).mac(SERVER_MAC))
        .map(drop)
}

/// The kernel answers by itself.
fn pinged(cluster: &Cluster, seen: &Seen) -> Result<()> {
    let request = format!("I_request:{CLIENT}->{SERVER}");
    let reply = format!("I_reply:{SERVER}->{CLIENT}");
    // The socket that waits for the answer is a raw one, which gets a copy of its own.
    let read = format!("delivered to 0.0.0.0:1, read by {}", crate::process::own());
    let ways = [
        (
            &cluster.client,
            &cluster.server,
            request,
            "taken by icmp_rcv",
        ),
        (&cluster.server, &cluster.client, reply, &read),
    ];
    for (from, to, packet, end) in ways {
        let step = |name| hop(name).pkt(&packet);
        seen.journey(
            &[
                step(&["ip_output"]).inside(from),
                step(&["br_handle_frame"]).inside(&cluster.node1),
                step(&["__br_forward"]).inside(&cluster.node1),
                step(&["ip_rcv"]).inside(to),
            ],
            end,
        )?;
    }
    Ok(())
}
