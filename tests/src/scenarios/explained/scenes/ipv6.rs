//! The same causes over IPv6, whose functions are others.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::super::stage::Stage;
use super::copies::done;
use crate::counters;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT6, Link, RIGHT6};
use crate::topology::node::Routed;
use crate::topology::{BRIDGE6, CLIENT_PORT, CLIENT6, Cluster, Ip, PORT, Plan, SERVER6, at};
use crate::traffic;

/// An address that no host has (RFC 3849).
const NOWHERE: &str = "2001:db8::7";

/// A node between two pods, and the client's socket.
type Asking = (Routed, UdpSocket);

fn asking() -> Result<Asking> {
    let routed = Routed::build_for(Ip::V6)?;
    let sender = traffic::udp_socket(&routed.client, routed.addresses().client()?)?;
    Ok((routed, sender))
}

/// Runs `work` and waits until the node has counted it.
fn counted(net: &Netns, counter: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    counters::until_risen(|| counters::ip6(net, counter), work)
        .with_context(|| format!("{counter} of {}", net.name()))
}

/// The client sends `length` bytes to `to`, and the node counts that it cannot pass them on.
fn in_vain((routed, sender): &Asking, to: SocketAddr, length: usize, counter: &str) -> Result<()> {
    counted(&routed.node, counter, || {
        traffic::send(sender, to, &vec![b'x'; length])
    })
}

/// A node that has no route.
pub fn no_route() -> Result<Stage> {
    Stage::build(asking, |asking| {
        in_vain(asking, at(NOWHERE, PORT)?, 8, "Icmp6OutDestUnreachs")
    })
}

/// A hop limit that is used up at the node.
pub fn expired() -> Result<Stage> {
    Stage::build(
        || {
            let asking = asking()?;
            setsockopt(&asking.1, sockopt::Ipv6Ttl, &1).context("cannot set IPV6_UNICAST_HOPS")?;
            Ok(asking)
        },
        |asking| {
            let server = asking.0.addresses().server()?;
            in_vain(asking, server, 8, "Icmp6OutTimeExcds")
        },
    )
}

/// A datagram that does not fit, which routers never cut.
pub fn too_big() -> Result<Stage> {
    Stage::build(
        || {
            let asking = asking()?;
            asking.0.narrow_the_end()?;
            Ok(asking)
        },
        |asking| {
            let server = asking.0.addresses().server()?;
            in_vain(asking, server, 1400, "Icmp6OutPktTooBigs")
        },
    )
}

/// A node that is to forward and may not.
pub fn forwarding_off() -> Result<Stage> {
    Stage::build(
        || {
            let asking = asking()?;
            asking.0.node.sysctl("ipv6/conf/all/forwarding", "0")?;
            Ok(asking)
        },
        |asking| {
            let server = asking.0.addresses().server()?;
            in_vain(asking, server, 8, "Ip6InAddrErrors")
        },
    )
}

/// Nobody has the address.
pub fn no_neighbour() -> Result<Stage> {
    /// An address of the cable that no host has.
    const ABSENT: &str = "fd00:71::99";
    Stage::build(
        || {
            let link = Link::build_with_ipv6()?;
            for (name, value) in [("mcast_solicit", "1"), ("retrans_time_ms", "20")] {
                link.left
                    .sysctl(&format!("ipv6/neigh/eth0/{name}"), value)?;
            }
            let sender = traffic::udp_socket(&link.left, at(LEFT6, CLIENT_PORT)?)?;
            Ok((link, sender))
        },
        |(link, sender)| {
            // The sender is told by its own host.
            counted(&link.left, "Icmp6OutDestUnreachs", || {
                traffic::send(sender, at(ABSENT, PORT)?, b"anybody?")
            })
        },
    )
}

/// A connection to a port where nobody listens.
pub fn closed_tcp_port() -> Result<Stage> {
    Stage::build(Link::build_with_ipv6, |link| {
        traffic::stream::refused(&link.left, at(RIGHT6, PORT)?)
    })
}

/// A rule that drops TCP's first segment.
pub fn dropped_tcp() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let frontend = Frontend::first_that_works()?;
            if let Err(error) = frontend.probe_for(Ip::V6) {
                return skip(format!("{error:#}"));
            }
            let link = Link::build_with_ipv6()?;
            let rule = format!("-t filter -A INPUT -p tcp --dport {PORT} -j DROP\n");
            frontend.apply_for(Ip::V6, &link.right, &rule)?;
            Ok((link, frontend))
        },
        |(link, frontend)| super::sockets::unanswered(link, *frontend, Ip::V6, at(RIGHT6, PORT)?),
        |(_, frontend), told| super::guards::by_the_first_rule(*frontend, Ip::V6, told),
    )
}

/// The article's Service over IPv6: both of what is told to be done helps, each by itself.
pub fn promiscuous() -> Result<Stage> {
    const SERVICE6: &str = "fd00:96::10";
    let arrives = |cluster: &Cluster, times: usize| {
        let receiver = traffic::udp_socket(&cluster.server, at(SERVER6, PORT)?)?;
        let sender = traffic::udp_socket(&cluster.client, at(CLIENT6, CLIENT_PORT)?)?;
        traffic::send(&sender, at(SERVICE6, PORT)?, b"once")?;
        let copies = traffic::count_copies(&receiver, b"once")?;
        ensure!(copies == times, "{copies} copies arrived");
        Ok(())
    };
    Stage::build_to_cure(
        || {
            let frontend = Frontend::first_that_works()?;
            if let Err(error) = frontend.probe_for(Ip::V6) {
                return skip(format!("{error:#}"));
            }
            let cluster = Cluster::build(Plan {
                frontend: Some(frontend),
                promiscuous: true,
                ipv6: true,
                ..Plan::default()
            })?;
            cluster
                .client
                .ip(&format!("route add {SERVICE6}/128 via {BRIDGE6}\n"))?;
            let rule = format!(
                "-t nat -A PREROUTING -d {SERVICE6} -p udp --dport {PORT} \
                 -j DNAT --to-destination [{SERVER6}]:{PORT}\n"
            );
            frontend.apply_for(Ip::V6, &cluster.node1, &rule)?;
            Ok(cluster)
        },
        move |cluster| arrives(cluster, 2),
        move |cluster, told| {
            let told = told.first().context("nothing told")?;
            let again = [
                "ip link set cbr0 promisc on",
                "ebtables -t filter -F OUTPUT",
            ];
            let commands = told.commands();
            ensure!(commands.len() == again.len(), "to be done: {commands:?}");
            for (command, undo) in commands.iter().zip(again) {
                done(&cluster.node1, command)?;
                arrives(cluster, 1).with_context(|| format!("after: {command}"))?;
                done(&cluster.node1, undo)?;
            }
            Ok(())
        },
    )
}
