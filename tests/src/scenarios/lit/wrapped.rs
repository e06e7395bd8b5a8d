//! Packets inside packets: tunnels and IPsec.

use anyhow::{Context as _, Result};

use super::tour::{attempt, datagram, set};
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::tunnel::{Kind, LEFT_INNER, RIGHT_INNER, Tunnel};
use crate::topology::{CLIENT_PORT, PORT, at, ip};
use crate::traffic::{self, exchange::Exchange};

/// Each kind of tunnel that has trials of its own.
pub fn tunnels() -> Result<()> {
    for kind in Kind::ALL {
        let through = || -> Result<()> {
            let tunnel = Tunnel::build(kind)?;
            let (left, right) = (&tunnel.link.left, &tunnel.link.right);
            let exchange = Exchange::open(
                (left, at(LEFT_INNER, CLIENT_PORT)?),
                (right, at(RIGHT_INNER, PORT)?),
            )?;
            exchange.ask(at(RIGHT_INNER, PORT)?).map(drop)
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

/// ESP between two hosts, in both families.
pub fn encryption() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    // What a kernel has of these is another matter than what it hooks.
    let key = |bytes: usize| format!("0x{}", "0b".repeat(bytes));
    let ciphers = [
        format!("aead rfc4106(gcm(aes)) {} 128", key(20)),
        format!("aead rfc7539esp(chacha20,poly1305) {} 128", key(36)),
        "enc ecb(cipher_null) 0x".to_owned(),
    ];
    let state = "xfrm state add src 10.71.0.8 dst 10.71.0.9 proto esp spi 0x72 mode transport";
    let works = |cipher: &&String| {
        let line = format!("{state} {cipher}");
        let words: Vec<&str> = line.split_whitespace().collect();
        link.left.run("ip", &words).is_ok()
    };
    let cipher = ciphers.iter().find(works).context("no cipher for ESP")?;
    for (host, own, peer, own6, peer6) in [
        (&link.left, LEFT, RIGHT, LEFT6, RIGHT6),
        (&link.right, RIGHT, LEFT, RIGHT6, LEFT6),
    ] {
        for (own, peer, all) in [(own, peer, "10.71.0.0/24"), (own6, peer6, "fd00:71::/64")] {
            set(
                host,
                &format!(
                    "ip xfrm state add src {own} dst {peer} proto esp spi 0x71 mode transport {cipher}
                     ip xfrm state add src {peer} dst {own} proto esp spi 0x71 mode transport {cipher}
                     ip xfrm policy add src {all} dst {all} proto udp dir out tmpl src {own} dst {peer} proto esp mode transport
                     ip xfrm policy add src {all} dst {all} proto udp dir in tmpl src {peer} dst {own} proto esp mode transport"
                ),
            );
        }
    }
    for (own, peer) in [(LEFT, RIGHT), (LEFT6, RIGHT6)] {
        let exchange = Exchange::open(
            (&link.left, at(own, CLIENT_PORT)?),
            (&link.right, at(peer, PORT)?),
        )?;
        exchange.ask(at(peer, PORT)?)?;
    }
    Ok(())
}
