//! Both packets of a tunnel on one line: the outer one, and the one inside it (`--tunnel`).

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use crate::netns::Netns;
use crate::row::Row;
use crate::topology::at;
use crate::topology::tunnel::{Kind, SERVERS, Tunnel};
use crate::tracer::Outcome;

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(&["--tunnel", "--wide", "-H", SERVERS]);
    for kind in Kind::ALL {
        trials.trial(format!("both_headers_{}", kind.name()), move |turn| {
            through(turn, kind)
        });
    }
    trials.trials()
}

fn through(turn: &Turn, kind: Kind) -> Result<()> {
    let tunnel = Tunnel::build(kind)?;
    let (left, right) = (&tunnel.link.left, &tunnel.link.right);
    let [client, server] = tunnel.inner()?;
    let exchange = tunnel.exchange()?;
    let tracer = turn.listen()?;
    exchange.ask(server)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let into = kind.outside().of("iptunnel_xmit", "ip6_local_out");
        let out_of = match kind {
            Kind::Vxlan | Kind::Vxlan6 => "vxlan_rcv",
            Kind::Geneve | Kind::Geneve6 => "geneve_udp_encap_recv",
            Kind::Ipip => "ipip_tunnel_rcv",
            Kind::Gre => "ip_tunnel_rcv",
            Kind::Sit => "ipip6_rcv",
            Kind::Ip6tnl | Kind::Ip6ip6 => "ipxip6_rcv",
            Kind::Gre6 => "ip6_tnl_rcv",
            Kind::Wireguard => "wg_packet_receive",
        };
        let inner = format!("inner=U:{client}->{server}");
        for (function, net) in [(into, left), (out_of, right)] {
            told(kind, row(&outcome, function, net)?, &inner)?;
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
fn told(kind: Kind, row: &Row, inner: &str) -> Result<()> {
    let [left, right] = kind.outer();
    let outer = match kind.port() {
        Some(port) => at(right, port)?.to_string(),
        None => right.to_owned(),
    };
    ensure!(
        row.pkt.ends_with(&format!("->{outer}")) && row.pkt.contains(left),
        "another packet outside: {row}"
    );
    let expected = match kind {
        Kind::Vxlan | Kind::Vxlan6 | Kind::Geneve | Kind::Geneve6 => {
            format!(",vni=71,{inner}")
        }
        Kind::Gre | Kind::Gre6 => format!(",key=71,{inner}"),
        Kind::Ipip | Kind::Ip6tnl | Kind::Ip6ip6 | Kind::Sit => format!(",{inner}"),
        Kind::Wireguard => String::new(),
    };
    let (_, fields) = row.what.split_at(row.name().len());
    ensure!(fields == expected, "not {expected:?}: {row}");
    Ok(())
}
