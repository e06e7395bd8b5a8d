//! Packets inside packets: tunnels and IPsec.

use anyhow::Result;

use super::tour::{attempt, datagram, set};
use crate::scenarios::ipsec::{self, CIPHER, Protection};
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::tunnel::{Kind, Tunnel};
use crate::topology::{CLIENT_PORT, PORT, at, ip};
use crate::traffic::{self, exchange::Exchange};

/// Each kind of tunnel that has trials of its own.
pub fn tunnels() -> Result<()> {
    for kind in Kind::ALL {
        let through = || -> Result<()> {
            let tunnel = Tunnel::build(kind)?;
            let [_, server] = tunnel.inner()?;
            tunnel.exchange()?.ask(server).map(drop)
        };
        if let Err(error) = through() {
            println!("LIT {}: {error:#}", kind.name());
        }
    }
    Ok(())
}

/// IPv6 in IPv4, IPv4 in IPv6, and a VXLAN whose other end is on the same host.
pub fn more_tunnels() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    for (host, end, own, peer, own6, peer6) in [
        (&link.left, 1, LEFT, RIGHT, LEFT6, RIGHT6),
        (&link.right, 2, RIGHT, LEFT, RIGHT6, LEFT6),
    ] {
        set(
            host,
            &format!(
                "ip link add sit1 type sit local {own} remote {peer} ttl 64
                 ip link set sit1 up
                 ip addr add fd00:82::{end}/64 dev sit1 nodad
                 ip link add six1 type ip6tnl mode any local {own6} remote {peer6}
                 ip link set six1 up
                 ip addr add 10.82.2.{end}/24 dev six1"
            ),
        );
    }
    for address in ["fd00:82::2", "10.82.2.2"] {
        attempt(traffic::ping(&link.left, ip(address)?, 9));
    }
    set(
        &link.left,
        "ip link add vx1 type vxlan id 1 local 10.71.0.1 remote 10.71.0.1 dstport 4789
         ip link set vx1 up
         ip addr add 10.82.3.1/24 dev vx1
         ip neigh add 10.82.3.9 lladdr 0a:82:00:00:00:09 dev vx1",
    );
    datagram(&link.left, at("10.82.3.9", PORT)?, 10)
}

/// ESP between two hosts, by itself and as a tunnel, in both families; AH; and an xfrm interface.
pub fn encryption() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let between_hosts = |ends, selector, protocol, algorithm| Protection {
        outer: [LEFT, RIGHT],
        ends,
        selector,
        mode: "transport",
        protocol,
        algorithm,
        spi: 0x71,
        interface: "",
    };
    let ends = ["10.71.0.0/24"; 2];
    between_hosts(ends, "proto udp", "esp", CIPHER).agree(&link)?;
    // xfrm_interface, once it is loaded, takes all ESP from xfrm4_rcv, but no AH.
    between_hosts(ends, "proto icmp", "ah", "auth hmac(sha256) 0x7171").agree(&link)?;
    let over_ipv6 = Protection {
        outer: [LEFT6, RIGHT6],
        ..between_hosts(["fd00:71::/64"; 2], "proto udp", "esp", CIPHER)
    };
    over_ipv6.agree(&link)?;
    for (own, peer) in [(LEFT, RIGHT), (LEFT6, RIGHT6)] {
        let exchange = Exchange::open(
            (&link.left, at(own, CLIENT_PORT)?),
            (&link.right, at(peer, PORT)?),
        )?;
        exchange.ask(at(peer, PORT)?)?;
    }
    traffic::ping(&link.left, ip(RIGHT)?, 9)?;
    for family in [ipsec::IPV4, ipsec::IPV6] {
        family.address(&link)?;
        family.tunnel().agree(&link)?;
        family.exchange(&link)?.ask(at(family.inner[1], PORT)?)?;
    }
    through_interface(&link)
}

/// A device whose packets are all encrypted, by associations of its own.
fn through_interface(link: &Link) -> Result<()> {
    const ENDS: [&str; 2] = ["10.84.1.1", "10.84.1.2"];
    for (host, own) in [(&link.left, ENDS[0]), (&link.right, ENDS[1])] {
        set(
            host,
            &format!(
                "ip link add xfrm0 type xfrm dev eth0 if_id 71
                 ip link set xfrm0 up
                 ip addr add {own}/24 dev xfrm0"
            ),
        );
    }
    let protection = Protection {
        outer: [LEFT, RIGHT],
        ends: ["10.84.1.0/24"; 2],
        selector: "",
        mode: "tunnel",
        protocol: "esp",
        algorithm: CIPHER,
        spi: 0x74,
        interface: "if_id 71",
    };
    protection.agree(link)?;
    traffic::ping(&link.left, ip(ENDS[1])?, 9)
}
