//! Both packets of a tunnel on one line: the outer one, and the one inside it (`--tunnel`).

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::netns::Netns;
use crate::row::Row;
use crate::topology::tunnel::{Kind, LEFT_INNER, RIGHT_INNER, Tunnel};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::exchange::Exchange;

pub fn trials() -> Vec<Trial> {
    let of = |kind: Kind| {
        let name = format!("both_headers_{}", kind.name());
        trial(name, move || through(kind))
    };
    Kind::ALL
        .into_iter()
        .chain([Kind::Vxlan6])
        .map(of)
        .collect()
}

const OPTIONS: &[&str] = &["--tunnel", "--wide", "-H", RIGHT_INNER];

fn through(kind: Kind) -> Result<()> {
    let tunnel = Tunnel::build(kind)?;
    let (left, right) = (&tunnel.link.left, &tunnel.link.right);
    let exchange = Exchange::open(
        (left, at(LEFT_INNER, CLIENT_PORT)?),
        (right, at(RIGHT_INNER, PORT)?),
    )?;
    let tracer = Tracer::start(OPTIONS)?;
    exchange.ask(at(RIGHT_INNER, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let into = match kind {
            // Its functions have no row of their own.
            Kind::Vxlan6 => None,
            _ => Some("iptunnel_xmit"),
        };
        let out_of = match kind {
            Kind::Vxlan | Kind::Vxlan6 => "vxlan_rcv",
            Kind::Geneve => "geneve_udp_encap_recv",
            Kind::Ipip => "ipip_tunnel_rcv",
            Kind::Gre => "ip_tunnel_rcv",
            Kind::Wireguard => "wg_packet_receive",
        };
        let places = into.map(|into| (into, left)).into_iter();
        for (function, net) in places.chain([(out_of, right)]) {
            told(kind, row(&outcome, function, net)?)?;
        }
        Ok(())
    })())
}

fn row<'a>(outcome: &'a Outcome, function: &str, net: &Netns) -> Result<&'a Row> {
    let mut rows = outcome.rows.iter();
    rows.find(|row| row.name() == function && row.netns == net.inode())
        .with_context(|| format!("no row of {function}"))
}

/// Outer and inner packet, and the tunnel's number; of an encrypted one the outer alone.
fn told(kind: Kind, row: &Row) -> Result<()> {
    let [left, right] = kind.outer();
    let ends = |address: &str, port: &str| match (address.contains(':'), port) {
        (true, port) => format!("[{address}]{port}"),
        (false, port) => format!("{address}{port}"),
    };
    let port = kind
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let outer = ends(right, &port);
    ensure!(
        row.pkt.ends_with(&format!("->{outer}")) && row.pkt.contains(left),
        "another packet outside: {row}"
    );
    let inner = format!("inner=U:{LEFT_INNER}:{CLIENT_PORT}->{RIGHT_INNER}:{PORT}");
    let expected = match kind {
        Kind::Vxlan | Kind::Vxlan6 | Kind::Geneve => format!(",vni=71,{inner}"),
        Kind::Gre => format!(",key=71,{inner}"),
        Kind::Ipip => format!(",{inner}"),
        Kind::Wireguard => String::new(),
    };
    let (_, fields) = row.what.split_at(row.name().len());
    ensure!(fields == expected, "not {expected:?}: {row}");
    Ok(())
}
