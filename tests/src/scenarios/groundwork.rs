//! The networks of the other trials, alone: each carries its traffic the way that is meant.
//!
//! When a trial about tunnels fails, this theme says whether it was the tunnel. skbtrace is not
//! started here; the kernel's own counters tell that packets were translated, cut up, put together
//! and wrapped.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::counters;
use crate::frontend::Frontend;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::node::{CLIENT, NODE_OUT, Routed, SERVER, SERVICE};
use crate::topology::tunnel::{Kind, Tunnel};
use crate::topology::{CLIENT_PORT, PORT, at, ip};
use crate::traffic::{self, exchange::Exchange};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("network_ipvs", ipvs),
        trial("network_segments", segments),
        trial("network_fragments", fragments),
        trial("network_fragments6", fragments6),
        trial("network_router_fragments", router_fragments),
    ];
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        let name = format!("network_service_{frontend}");
        trials.push(trial(name, move || service(frontend)));
    }
    for kind in Kind::ALL {
        let name = format!("network_{}", kind.name());
        trials.push(trial(name, move || tunnel(kind)));
    }
    trials
}

/// There and back, over UDP and TCP; the server sees the node's address.
fn service(frontend: Frontend) -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(frontend)?;
    routed.masquerade(frontend)?;
    through_the_service(&routed, NODE_OUT)
}

fn ipvs() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_ipvs()?;
    through_the_service(&routed, CLIENT)
}

fn through_the_service(routed: &Routed, seen_as: &str) -> Result<()> {
    let exchange = routed.exchange()?;
    let seen = exchange.ask(at(SERVICE, PORT)?)?;
    ensure!(seen.ip() == ip(seen_as)?, "the server sees {seen}");
    exchange.answer(seen, at(SERVICE, PORT)?)?;
    let to = at(SERVICE, PORT)?;
    traffic::tcp_conversation(&routed.client, to, &routed.server, at(SERVER, PORT)?).map(drop)
}

/// Large sends cross the first cable whole and the second in pieces.
fn segments() -> Result<()> {
    const LENGTH: usize = 64 * 1024;
    let routed = Routed::build()?;
    routed.cut_at_the_end()?;
    let before = (
        counters::received(&routed.node, "pod0")?,
        counters::sent(&routed.node, "eth0")?,
    );
    let to = at(SERVER, PORT)?;
    traffic::stream::send_at_once(&routed.client, to, &routed.server, to, LENGTH)?;
    let whole = counters::received(&routed.node, "pod0")? - before.0;
    let pieces = counters::sent(&routed.node, "eth0")? - before.1;
    ensure!(
        pieces >= (LENGTH / 1460) as u64 && pieces > whole,
        "{whole} packets came to the node and {pieces} left it"
    );
    Ok(())
}

fn fragments() -> Result<()> {
    let link = Link::build()?;
    let counted = || -> Result<_> {
        let cut = counters::ip(&link.left, "FragCreates")?;
        Ok((cut, counters::ip(&link.right, "ReasmOKs")?))
    };
    let before = counted()?;
    large_datagram(&link, LEFT, RIGHT)?;
    let after = counted()?;
    ensure!(
        (after.0 - before.0, after.1 - before.1) == (3, 1),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

fn fragments6() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let counted = || -> Result<_> {
        let cut = counters::ip6(&link.left, "Ip6FragCreates")?;
        Ok((cut, counters::ip6(&link.right, "Ip6ReasmOKs")?))
    };
    let before = counted()?;
    large_datagram(&link, LEFT6, RIGHT6)?;
    let after = counted()?;
    ensure!(
        (after.0 - before.0, after.1 - before.1) == (3, 1),
        "before {before:?}, after {after:?}"
    );
    Ok(())
}

fn large_datagram(link: &Link, from: &str, to: &str) -> Result<()> {
    let exchange = Exchange::open(
        (&link.left, at(from, CLIENT_PORT)?),
        (&link.right, at(to, PORT)?),
    )?;
    exchange.ask_with(at(to, PORT)?, &[b'x'; 4000]).map(drop)
}

fn router_fragments() -> Result<()> {
    let routed = Routed::build()?;
    routed.narrow_the_end()?;
    let before = counters::ip(&routed.node, "FragCreates")?;
    let frame = routed.whole_frame(1400)?;
    let receiver = traffic::udp_socket(&routed.server, at(SERVER, PORT)?)?;
    frame.transmit(&routed.client, "eth0")?;
    let received = traffic::receive(&receiver)?;
    ensure!(received.len() == 1400, "{} bytes arrived", received.len());
    let cut = counters::ip(&routed.node, "FragCreates")? - before;
    ensure!(cut == 2, "the node made {cut} fragments");
    Ok(())
}

/// What goes through the tunnel goes through the cable too, wrapped.
fn tunnel(kind: Kind) -> Result<()> {
    let tunnel = Tunnel::build(kind)?;
    let (left, right) = (&tunnel.link.left, &tunnel.link.right);
    let [_, server] = tunnel.inner()?;
    let exchange = tunnel.exchange()?;
    let counted = || -> Result<_> {
        Ok((
            counters::sent(left, "tun0")?,
            counters::received(right, "eth0")?,
        ))
    };
    let before = counted()?;
    exchange.ask(server)?;
    let after = counted()?;
    ensure!(
        after.0 == before.0 + 1 && after.1 > before.1,
        "before {before:?}, after {after:?}"
    );
    Ok(())
}
