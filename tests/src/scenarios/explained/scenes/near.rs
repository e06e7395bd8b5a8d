//! Near misses: what a rule almost explains, and is as it should be. Each datagram is meant for the rule
//! that its comment names, and arrives.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::super::stage::Stage;
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC, written};
use crate::topology::node::{self, CLIENT_MAC, NODE_MAC, Routed};
use crate::topology::{self, CLIENT, CLIENT_PORT, CLIENT_VETH, PORT, SERVER, SERVER_VETH, at};
use crate::traffic::{self, exchange::Exchange};
use crate::xdp::{Mode, XdpDrop};

/// Runs a command of tc; a trial whose kernel lacks something is skipped.
pub fn tc(host: &Netns, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match host.run("tc", &words) {
        Ok(_) => Ok(()),
        Err(error) => skip(format!("{error:#}")),
    }
}

/// One copy of what is sent, and no more.
fn once(receiver: &UdpSocket, payload: &[u8]) -> Result<()> {
    let copies = traffic::count_copies(receiver, payload)?;
    ensure!(copies == 1, "{copies} copies arrived");
    Ok(())
}

/// Over a router, with as much as just fits.
pub fn routed() -> Result<Stage> {
    /// `ip_forward`'s limit (`Routed::narrow_the_end`), without the headers of IP and UDP.
    const FITS: usize = 1280 - 28;
    /// In the network behind the node, and not where it says that it is.
    const ASTRAY: &str = "10.72.2.77";
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed.narrow_the_end()?;
            // Loose: that there is a route at all will do.
            routed.node.sysctl("ipv4/conf/pod0/rp_filter", "2")?;
            let receiver = traffic::udp_socket(&routed.server, routed.addresses().server()?)?;
            Ok((routed, receiver))
        },
        |(routed, receiver)| {
            let frame = |length| routed.whole_frame(length);
            let astray = Frame::new(
                (NODE_MAC, CLIENT_MAC),
                (ASTRAY, CLIENT_PORT),
                (node::SERVER, PORT),
            )?;
            let frames = [
                // ttl-expired: the second router would be one too many.
                Frame {
                    ttl: 2,
                    ..frame(16)?
                },
                // too-big: exactly the MTU.
                Frame {
                    dont_fragment: true,
                    ..frame(FITS)?
                },
                // too-big, reassembly-failed: may be cut, and is put together.
                frame(FITS + 8)?,
                // reverse-path: another way back.
                astray,
            ];
            for frame in &frames {
                frame.transmit(&routed.client, "eth0")?;
                let length = traffic::receive(receiver)?.len();
                ensure!(length == frame.length, "{length} bytes arrived");
            }
            // forwarding-off: what is for the node itself needs no forwarding.
            routed.node.sysctl("ipv4/ip_forward", "0")?;
            traffic::ping(&routed.client, topology::ip(node::NODE)?, 71)
        },
    )
}

/// Over a cable, past everything that could drop it.
pub fn passed() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            // queue-drop, slow: it waits for its turn, and gets it.
            tc(
                &link.left,
                "qdisc add dev eth0 root netem delay 200ms limit 1",
            )?;
            // tc-drop: a filter that drops something else, and one that lets it pass.
            tc(&link.right, "qdisc add dev eth0 clsact")?;
            for rule in [
                "pref 1 flower ip_proto udp dst_port 7 action drop",
                "pref 2 flower ip_proto udp action pass",
            ] {
                tc(
                    &link.right,
                    &format!("filter add dev eth0 ingress protocol ip {rule}"),
                )?;
            }
            // xdp-drop: a program that lets everything pass.
            let program = XdpDrop::pass(&link.right, "eth0", Mode::Generic)?;
            // ipsec-policy: a policy that allows.
            link.right.ip(&format!(
                "xfrm policy add src {LEFT}/32 dst {RIGHT}/32 dir in action allow\n"
            ))?;
            // device-down: another device is.
            link.right.ip("link add idle type veth peer name idle1\n")?;
            let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
            // socket-filter: one that takes everything.
            traffic::keep_only(&receiver, u32::MAX)?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, program, receiver, sender))
        },
        |(_, _, receiver, sender)| {
            traffic::send(sender, at(RIGHT, PORT)?, b"in time")?;
            once(receiver, b"in time")
        },
    )
}

/// Rules that look at it, and drop something else.
pub fn filtered() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let frontend = Frontend::first_that_works()?;
            for rule in [
                // netfilter-drop, netfilter-reject: other ports.
                "-A INPUT -p udp --dport 7 -j DROP",
                "-A INPUT -p udp --dport 8 -j REJECT",
                // conntrack-invalid: counted, and let in.
                "-A INPUT -m conntrack --ctstate INVALID",
            ] {
                if let Err(error) = frontend.apply(&link.right, &format!("{rule}\n")) {
                    return skip(format!("no {rule} here: {error:#}"));
                }
            }
            link.right.sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
            let to = at(RIGHT, PORT)?;
            let (client, server, _) = traffic::connect(&link.left, to, &link.right, to)?;
            server.set_read_timeout(Some(crate::wait::SOON))?;
            // What goes on in the midst is INVALID.
            if let Err(error) = link.right.run("conntrack", &["-F"]) {
                return skip(format!("entries cannot be forgotten here: {error:#}"));
            }
            let exchange = Exchange::open(
                (&link.left, at(LEFT, CLIENT_PORT)?),
                (&link.right, at(RIGHT, PORT)?),
            )?;
            Ok((link, exchange, client, server))
        },
        |(_, exchange, client, server)| {
            use std::io::{Read as _, Write as _};
            exchange.ask(at(RIGHT, PORT)?)?;
            (&mut &*client).write_all(b"ping").context("cannot send")?;
            (&mut &*server).read_exact(&mut [0; 4]).context("TCP data")
        },
    )
}

/// Copies that go elsewhere.
pub fn copied() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            // duplicate-mirrored: to a device behind which nobody is.
            link.left
                .ip("link add sink type dummy\nlink set sink up\n")?;
            tc(&link.left, "qdisc add dev eth0 clsact")?;
            tc(
                &link.left,
                "filter add dev eth0 egress protocol ip matchall action mirred egress mirror dev sink",
            )?;
            // duplicate-macvlan: another source address.
            link.right.ip(&format!(
                "link add link eth0 name mac0 type macvlan mode source\n\
                 link set mac0 up\n\
                 link set dev mac0 type macvlan macaddr set {}\n",
                written(RIGHT_MAC)
            ))?;
            // duplicate-netfilter: to a host that has the address too, and stands in its shadow.
            let shadow = shadow(&link)?;
            let rule = "-t mangle -A POSTROUTING -o eth0 -j TEE --gateway 10.71.9.2\n";
            if let Err(error) = Frontend::first_that_works()?.apply(&link.left, rule) {
                return skip(format!("no TEE here: {error:#}"));
            }
            let receivers = (
                traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?,
                traffic::udp_socket(&shadow, at(RIGHT, PORT)?)?,
            );
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, shadow, receivers, sender))
        },
        |(_, _, (receiver, shadowed), sender)| {
            traffic::send(sender, at(RIGHT, PORT)?, b"copied")?;
            once(receiver, b"copied")?;
            once(shadowed, b"copied")
        },
    )
}

/// A host beside the left one that gets what the right one gets.
fn shadow(link: &Link) -> Result<Netns> {
    const MAC: &str = "0a:71:09:00:00:02";
    let shadow = Netns::create("shadow")?;
    topology::quiet(&shadow, false)?;
    link.left.ip(&format!(
        "link add eth1 type veth peer name eth0 address {MAC} netns {}\n\
         link set eth1 up\n\
         addr add 10.71.9.1/24 dev eth1\n\
         neigh replace 10.71.9.2 lladdr {MAC} dev eth1 nud permanent\n",
        shadow.name()
    ))?;
    shadow.ip(&format!(
        "link set lo up\n\
         link set eth0 up\n\
         addr add 10.71.9.2/24 dev eth0\n\
         addr add {RIGHT}/32 dev lo\n"
    ))?;
    traffic::exchange_one(&link.left, &shadow, at("10.71.9.2", 9)?)?;
    Ok(shadow)
}

/// At a bridge.
pub fn bridged() -> Result<Stage> {
    Stage::build(
        || {
            let cluster = topology::pods()?;
            // duplicate-flooded: a second port whose host has another hardware address, and ignores it.
            // bridge-port-state: a third one, that is blocked.
            cluster.node1.ip(&format!(
                "link add veth-two type veth peer name eth1 netns {}\n\
                 link set veth-two master cbr0 up\n\
                 link add veth-three type veth peer name veth-four\n\
                 link set veth-three master cbr0 up\n\
                 link set veth-four up\n",
                cluster.server.name()
            ))?;
            cluster.server.ip("link set eth1 up\n")?;
            let bridge = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                cluster.node1.run("bridge", &words).map(drop)
            };
            bridge("link set dev veth-three state 4")?;
            // bridge-no-port: isolated from those that are isolated, too, and nobody else is.
            bridge(&format!("link set dev {CLIENT_VETH} isolated on"))?;
            // bridge-vlan: all ports are in the VLAN of what has no tag.
            cluster
                .node1
                .ip("link set cbr0 type bridge vlan_filtering 1\n")?;
            bridge(&format!("link set dev {SERVER_VETH} learning off"))?;
            let forget = ["link", "set", "dev", SERVER_VETH, "type", "bridge_slave"];
            let forget = [forget.as_slice(), &["fdb_flush"]].concat();
            cluster.node1.run("ip", &forget)?;
            let receiver = traffic::udp_socket(&cluster.server, at(SERVER, PORT)?)?;
            let sender = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
            Ok((cluster, receiver, sender))
        },
        |(_, receiver, sender)| {
            traffic::send(sender, at(SERVER, PORT)?, b"flooded")?;
            once(receiver, b"flooded")
        },
    )
}

/// To many: that it comes by two ports is no duplicate (duplicate-flooded, duplicate).
pub fn broadcast() -> Result<Stage> {
    const ALL: &str = "172.18.0.255";
    Stage::build(
        || {
            let cluster = topology::pods()?;
            cluster.node1.ip(&format!(
                "link add veth-two type veth peer name eth1 netns {}\n\
                 link set veth-two master cbr0 up\n",
                cluster.server.name()
            ))?;
            cluster.server.ip("link set eth1 up\n")?;
            let receiver = traffic::udp_socket(&cluster.server, at("0.0.0.0", PORT)?)?;
            let sender = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
            sender.set_broadcast(true)?;
            let node = traffic::udp_socket(&cluster.node1, at("0.0.0.0", PORT)?)?;
            Ok((cluster, receiver, sender, node))
        },
        |(_, receiver, sender, _)| {
            traffic::send(sender, at(ALL, PORT)?, b"to all")?;
            let copies = traffic::count_copies(receiver, b"to all")?;
            ensure!(copies == 2, "{copies} copies arrived");
            Ok(())
        },
    )
}

/// A socket that is nearly full (socket-full), and what has no checksum (bad-checksum).
pub fn nearly_full() -> Result<Stage> {
    /// A datagram of 1000 bytes takes 2304 (`truesize`) at most.
    const ROOM: usize = 8 * 2304;
    Stage::build(
        || {
            let link = Link::build()?;
            let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
            // The kernel takes twice as much.
            setsockopt(&receiver, sockopt::RcvBuf, &(ROOM / 2)).context("cannot set SO_RCVBUF")?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, receiver, sender))
        },
        |(link, receiver, sender)| {
            for _ in 0..6 {
                traffic::send(sender, at(RIGHT, PORT)?, &[b'x'; 1000])?;
            }
            let frame = Frame {
                no_udp_checksum: true,
                ..Frame::new((RIGHT_MAC, LEFT_MAC), (LEFT, CLIENT_PORT), (RIGHT, PORT))?
            };
            frame.transmit(&link.left, "eth0")?;
            let lengths: Result<Vec<usize>> = (0..7)
                .map(|_| traffic::receive(receiver).map(|datagram| datagram.len()))
                .collect();
            let lengths = lengths?;
            ensure!(
                lengths == [1000, 1000, 1000, 1000, 1000, 1000, 16],
                "{lengths:?}"
            );
            Ok(())
        },
    )
}

/// By the same router twice, as its rules have it (forwarding-loop).
pub fn twice() -> Result<Stage> {
    const ASIDE: &str = "10.72.8.8";
    Stage::build(
        || {
            let routed = Routed::build()?;
            let aside = Netns::create("aside")?;
            topology::quiet(&aside, false)?;
            routed.node.ip(&format!(
                "link add eth1 type veth peer name eth0 netns {}\n\
                 link set eth1 up\n\
                 addr add 10.72.9.1/24 dev eth1\n\
                 route add {ASIDE}/32 via {}\n\
                 route add {ASIDE}/32 via 10.72.9.2 dev eth1 table 88 onlink\n\
                 rule add iif eth0 to {ASIDE} lookup 88 pref 88\n",
                aside.name(),
                node::SERVER,
            ))?;
            routed.server.sysctl("ipv4/ip_forward", "1")?;
            aside.ip(&format!(
                "link set lo up\n\
                 link set eth0 up\n\
                 addr add 10.72.9.2/24 dev eth0\n\
                 addr add {ASIDE}/32 dev lo\n\
                 route add default via 10.72.9.1\n"
            ))?;
            traffic::exchange_one(&routed.node, &aside, at("10.72.9.2", 9)?)?;
            let receiver = traffic::udp_socket(&aside, at(ASIDE, PORT)?)?;
            Ok((routed, aside, receiver))
        },
        |(routed, _, receiver)| {
            let macs = (NODE_MAC, CLIENT_MAC);
            let frame = Frame::new(macs, (node::CLIENT, CLIENT_PORT), (ASIDE, PORT))?;
            frame.transmit(&routed.client, "eth0")?;
            traffic::receive(receiver).map(drop)
        },
    )
}

/// To a hardware address that is not the device's, and that a macvlan on it has (other-host).
pub fn other_mac() -> Result<Stage> {
    const MAC: &str = "0a:71:00:00:00:03";
    const ADDRESS: &str = "10.71.0.3";
    Stage::build(
        || {
            let link = Link::build()?;
            link.right.ip(&format!(
                "link add link eth0 name mac0 address {MAC} type macvlan mode bridge\n\
                 link set mac0 up\n\
                 addr add {ADDRESS}/32 dev mac0\n"
            ))?;
            link.left.ip(&format!(
                "neigh replace {ADDRESS} lladdr {MAC} dev eth0 nud permanent\n"
            ))?;
            let receiver = traffic::udp_socket(&link.right, at(ADDRESS, PORT)?)?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, receiver, sender))
        },
        |(_, receiver, sender)| {
            traffic::send(sender, at(ADDRESS, PORT)?, b"to the macvlan")?;
            once(receiver, b"to the macvlan")
        },
    )
}
