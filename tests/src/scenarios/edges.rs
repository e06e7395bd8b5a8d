//! Where following ends or is handed on without a copy: XDP, a tunnel in user space, IPVS.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;

use super::load::pin;
use super::open_tun;
use super::trial;
use super::turns::{Turn, Turns};
use crate::frontend::Frontend;
use crate::kernel_trace::KernelTrace;
use crate::story::hop;
use crate::topology::link::{LEFT, Link, RIGHT, written};
use crate::topology::node::{self, Routed, SERVER_MAC};
use crate::topology::{self, CLIENT_PORT, Ip, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::{self, exchange::Exchange};
use crate::xdp::{Mode, XdpDrop};

/// Who sends into the tunnel in user space.
const TUNNELLED: &str = "10.83.0.1";

pub fn trials() -> Vec<Trial> {
    let hosts = format!("{},{TUNNELLED}", node::CLIENT);
    let options = [
        "--route", "--life", "--tunnel", "--wide", "-H", &hosts, "--proto", "udp",
    ];
    let mut handed_on = Turns::with(&options);
    handed_on.trial("tun_hands_over", tun_hands_over);
    handed_on.trial("xdp_redirects_generic", |turn| {
        xdp_redirects(turn, Mode::Generic)
    });
    handed_on.trial("xdp_redirects_driver", |turn| {
        xdp_redirects(turn, Mode::Driver)
    });
    let mut trials = handed_on.trials();
    trials.extend([
        trial("xdp_drops", xdp_drops),
        trial("ipvs_tells", || ipvs_tells(Ip::V4)),
        trial("ipvs_tells_ipv6", || ipvs_tells(Ip::V6)),
        trial("ipvs_masqueraded", || ipvs_masqueraded(Ip::V4)),
        trial("ipvs_masqueraded_ipv6", || ipvs_masqueraded(Ip::V6)),
    ]);
    trials
}

const ENDS: &[&str] = &["skb_release_head_state", "__consume_stateless_skb"];

/// Fails unless the packet's last row is its end.
fn ends(outcome: &Outcome, id: u64) -> Result<()> {
    let of_it = hop(&[]).id(id);
    let mut rows = outcome.rows.iter().filter(|row| of_it.matches(row));
    let last = rows.next_back().context("no row")?;
    ensure!(hop(ENDS).matches(last), "packet #{id} does not end: {last}");
    Ok(())
}

/// What XDP drops came up to the device, and not to IP; where it ended is told, and nothing after.
fn xdp_drops() -> Result<()> {
    let link = Link::build()?;
    let _program = XdpDrop::attach(&link.right, "eth0")?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let kernel = KernelTrace::start()?;
    let options = [
        "--route", "--life", "--drop", "--wide", "-H", LEFT, "--proto", "udp",
    ];
    let tracer = Tracer::start(&options)?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"unwanted")?;
    // Which function it is depends on what was inlined.
    let by_xdp = |function: &str| function.contains("xdp");
    kernel.wait_for(1, |drop| by_xdp(&drop.function))?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let id = outcome
            .identity(&hop(&["ip_send_skb"]).inside(&link.left))?
            .id;
        outcome.one_family(id)?;
        let ip = hop(&["ip_rcv", "ip_rcv_core", "udp_rcv"]).inside(&link.right);
        outcome.none(&ip)?;
        ends(&outcome, id)?;
        let dropped = outcome.rows.iter().find_map(|row| row.dropped());
        let dropped = dropped.context("no drop is told")?;
        ensure!(by_xdp(dropped.function), "dropped in {}", dropped.function);
        Ok(())
    })())
}

/// XDP hands what comes in at the node's one device out at its other, past all of IP. Behind the
/// driver it is the same packet still. In the driver it is none: the one that was sent ends there, and
/// what the server's device makes of the frame is a new one, which nothing says to be the same.
fn xdp_redirects(turn: &Turn, mode: Mode) -> Result<()> {
    let routed = Routed::build()?;
    let exchange = routed.exchange()?;
    // Nobody else will write the hardware address.
    let mac = written(SERVER_MAC);
    routed.client.ip(&format!(
        "neigh replace {} lladdr {mac} dev eth0 nud permanent\n",
        node::NODE
    ))?;
    let _ready = match mode {
        Mode::Generic => None,
        Mode::Driver => {
            // That a checksum is yet to be calculated stands in the packet, which is left behind.
            routed.client.run("ethtool", &["-K", "eth0", "tx", "off"])?;
            // A veth takes such frames where the other end is ready for them.
            Some(XdpDrop::pass(&routed.server, "eth0", mode)?)
        }
    };
    let _program = XdpDrop::redirect(&routed.node, "pod0", "eth0", mode)?;
    let tracer = turn.listen()?;
    exchange.ask(at(node::SERVER, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let sent = outcome.identity(&hop(&["ip_send_skb"]).inside(&routed.client))?;
        let arrived = outcome.identity(&hop(&["udp_rcv"]).inside(&routed.server))?;
        let ip = hop(&["ip_rcv", "ip_rcv_core", "ip_forward"]).inside(&routed.node);
        outcome.none(&ip)?;
        if mode == Mode::Generic {
            ensure!(arrived == sent, "sent as {sent:?}, arrives as {arrived:?}");
            return outcome.one_family(sent.id);
        }
        ensure!(
            arrived.id != sent.id && arrived.parent.is_none(),
            "{arrived:?} has nothing to do with {sent:?}"
        );
        ends(&outcome, sent.id)
    })())
}

/// A program takes a packet out of one device and puts it into another: for the kernel these are
/// two packets, and nothing says that they have to do with each other. All on one processor: 7.2
/// frees a datagram that another one allocated only when it has collected some of them.
fn tun_hands_over(turn: &Turn) -> Result<()> {
    const TO: &str = "10.83.0.2";
    let link = Link::build()?;
    let mut out = open_tun(&link.left, "tun7")?;
    let mut into = open_tun(&link.right, "tun7")?;
    for (host, own) in [(&link.left, TUNNELLED), (&link.right, TO)] {
        host.ip(&format!("link set tun7 up\naddr add {own}/24 dev tun7\n"))?;
    }
    let exchange = Exchange::open(
        (&link.left, at(TUNNELLED, CLIENT_PORT)?),
        (&link.right, at(TO, PORT)?),
    )?;
    let tracer = turn.listen()?;
    thread::scope(|scope| -> Result<()> {
        let program = scope.spawn(move || -> Result<()> {
            pin(0)?;
            let mut packet = [0; 2048];
            let length = out.read(&mut packet)?;
            Ok(into.write_all(&packet[..length])?)
        });
        let user = scope.spawn(|| {
            pin(0)?;
            exchange.ask(at(TO, PORT)?).map(drop)
        });
        for side in [user, program] {
            side.join().map_err(|_| anyhow!("a side panicked"))??;
        }
        Ok(())
    })?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let taken = outcome.identity(&hop(&["tun_net_xmit"]).inside(&link.left))?;
        let given = outcome.identity(&hop(&["udp_rcv"]).inside(&link.right))?;
        ensure!(
            taken.id != given.id && given.parent.is_none(),
            "{given:?} has nothing to do with {taken:?}"
        );
        for id in [taken.id, given.id] {
            ends(&outcome, id)?;
        }
        Ok(())
    })())
}

/// IPVS's own functions, in the order of the packet's way through them.
fn ipvs_tells(ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_ipvs()?;
    let exchange = routed.exchange()?;
    let ends = routed.addresses();
    let options = [
        "--route",
        "--ipvs",
        "--wide",
        "-H",
        ends.client,
        "--proto",
        "udp",
    ];
    let tracer = Tracer::start(&options)?;
    let seen = exchange.ask(ends.service()?)?;
    exchange.answer(seen, ends.service()?)?;
    let outcome = tracer.stop()?;
    let (service, server) = (ends.service()?, ends.server()?);
    let (to_service, to_server) = (format!("->{service}"), format!("->{server}"));
    let receives = ip.of(&["ip_rcv"], &["ipv6_rcv"]);
    let delivers = ip.of(&["udp_rcv"], &["udpv6_rcv"]);
    // 5.10 has a function for each hook, later kernels one for all.
    let takes = ip.of(
        &["ip_vs_in_hook", "ip_vs_in", "ip_vs_remote_request4"],
        &["ip_vs_in_hook", "ip_vs_in", "ip_vs_remote_request6"],
    );
    outcome.explain((|| {
        outcome.complete()?;
        let node = &routed.node;
        let id = outcome
            .identity(&hop(receives).inside(node).pkt(&to_service))?
            .id;
        outcome.in_order(&[
            hop(takes).inside(node).pkt(&to_service).id(id),
            hop(&["ip_vs_schedule"])
                .inside(node)
                .pkt(&to_service)
                .id(id),
            hop(ip.of(&["ip_vs_nat_xmit"], &["ip_vs_nat_xmit_v6"]))
                .inside(node)
                .pkt(&to_service)
                .id(id),
            hop(ip.of(&["ip_output"], &["ip6_output"]))
                .inside(node)
                .pkt(&to_server)
                .id(id),
            hop(delivers).inside(&routed.server).pkt(&to_server).id(id),
        ])?;
        let back = outcome
            .identity(&hop(receives).inside(node).pkt(&format!("{server}->")))?
            .id;
        outcome.in_order(&[
            hop(&["handle_response"]).inside(node).id(back),
            hop(delivers)
                .inside(&routed.client)
                .pkt(&format!("{service}->"))
                .id(back),
        ])
    })())
}

/// IPVS gives the packet the server's address and netfilter the node's, as kube-proxy has it: one
/// packet all the way, and the answer likewise.
fn ipvs_masqueraded(ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_ipvs()?;
    // Or else IPVS hides its packets from netfilter's translation.
    routed.node.sysctl("ipv4/vs/conntrack", "1")?;
    routed.masquerade(Frontend::first_that_works()?)?;
    let exchange = routed.exchange()?;
    let ends = routed.addresses();
    let service = ends.service()?;
    let filter = format!("{},{}", ends.client, ends.server);
    let sends = ip.of(&["ip_send_skb"], &["ip6_send_skb"]);
    let receives = ip.of(&["ip_rcv"], &["ipv6_rcv"]);
    let delivers = ip.of(&["udp_rcv"], &["udpv6_rcv"]);
    let options = [
        "--route", "--ipvs", "--nat", "--wide", "-H", &filter, "--proto", "udp",
    ];
    let tracer = Tracer::start(&options)?;
    let seen = exchange.ask(service)?;
    exchange.answer(seen, service)?;
    let outcome = tracer.stop()?;
    let (client, server) = (ends.client()?, ends.server()?);
    let udp = |from: SocketAddr, to: SocketAddr| format!("U:{from}->{to}");
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            seen.ip() == topology::ip(ends.node_out)?,
            "the server saw {seen}"
        );
        let node = &routed.node;
        let id = outcome.identity(&hop(sends).inside(&routed.client))?.id;
        outcome.in_order(&[
            hop(ip.of(&["ip_vs_nat_xmit"], &["ip_vs_nat_xmit_v6"]))
                .inside(node)
                .pkt(&udp(client, service))
                .id(id),
            hop(&["__dev_queue_xmit"])
                .inside(node)
                .on("eth0")
                .pkt(&udp(seen, server))
                .id(id),
            hop(delivers)
                .inside(&routed.server)
                .pkt(&udp(seen, server))
                .id(id),
        ])?;
        let translation = |was: SocketAddr, is: SocketAddr, id: u64| {
            let row = outcome.rows.iter().find(|row| {
                let told = row.translated();
                hop(&[])
                    .inside(node)
                    .pkt(&udp(is, server))
                    .id(id)
                    .matches(row)
                    && told.is_some_and(|told| told.was == udp(was, server) && told.side == "SRC")
            });
            row.map(drop).context("netfilter translated nothing")
        };
        translation(client, seen, id)?;
        let back = outcome.identity(&hop(sends).inside(&routed.server))?.id;
        outcome.in_order(&[
            hop(receives).inside(node).pkt(&udp(server, seen)).id(back),
            hop(&["handle_response"]).inside(node).id(back),
            hop(delivers)
                .inside(&routed.client)
                .pkt(&udp(service, client))
                .id(back),
        ])?;
        outcome.families([id, back])
    })())
}
