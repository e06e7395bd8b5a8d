//! Every filter alone, with traffic that must appear and traffic that must not.
//!
//! Packets are really sent and really arrive; then every printed row must belong to a wanted packet
//! and every wanted packet must have rows. Most filters are a row of [`CASES`]; the others need
//! more than addresses and ports.

mod cases;
mod packet;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use self::cases::{CASES, Case};
use self::packet::{Client, Node, Packet, Server, ping, udp};
use super::shared::Shared;
use super::trial;
use crate::netns::Netns;
use crate::process;
use crate::row::Row;
use crate::story::hop;
use crate::topology::{self, CLIENT, CLIENT_VETH, Cluster, Plan, SERVER};
use crate::tracer::{Outcome, Tracer};
use crate::traffic;

pub fn trials() -> Vec<Trial> {
    let pods = Shared::new(pods6);
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| {
            let pods = pods.clone();
            trial(format!("filter_{}", case.name), move || {
                pods.with(|cluster| hold(case, cluster))
            })
        })
        .collect();
    trials.extend([
        trial("filter_icmpid", icmpid),
        trial("filter_iface", iface),
        trial("filter_netns", netns),
        trial("filter_netns_equal_addresses", || {
            equal_addresses(Named::Name)
        }),
        trial("filter_netns_by_path", || equal_addresses(Named::Path)),
        trial("filter_netns_by_process", || {
            equal_addresses(Named::Process)
        }),
        trial("filter_pid", pid),
        trial("filter_in_the_kernel", in_the_kernel),
    ]);
    trials
}

fn pods6() -> Result<Cluster> {
    Cluster::build(Plan {
        ipv6: true,
        ..Plan::default()
    })
}

/// Functions from the socket down to the device and up again, of both versions of IP.
const SOME: &str = "^(ip_send_skb|ip6_send_skb|ip_output|ip6_output|__dev_queue_xmit|\
    br_handle_frame|__netif_receive_skb|ip_rcv|ipv6_rcv|udp_rcv|udpv6_rcv|icmp_rcv|icmpv6_rcv)$";

/// What is not asked anew is not the filter's doing, so packets are followed in one case only.
/// (Following is also what takes a tracer longest to start.)
fn hold(case: &Case, cluster: &Cluster) -> Result<()> {
    let mut options = vec!["--route"];
    options.extend((!case.followed).then_some("--no-follow"));
    if !case.everywhere {
        options.extend(["--func", SOME]);
    }
    options.extend(case.options);
    let tracer = Tracer::start(&options)?;
    for packet in case.unwanted.iter().chain(case.wanted) {
        packet.send(cluster)?;
    }
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only(&outcome, case.wanted)?;
        if case.whole_path {
            arrive(&outcome, cluster, case.wanted)?;
        }
        Ok(())
    })())
}

/// Every row belongs to a wanted packet, and every wanted packet has rows.
fn only(outcome: &Outcome, wanted: &[Packet]) -> Result<()> {
    only_or(outcome, wanted, |_| false)
}

/// Like [`only`], for filters that the machine's own chatter may rightly pass.
fn only_or_chatter(outcome: &Outcome, wanted: &[Packet]) -> Result<()> {
    // ARP, neighbour discovery, group membership: nothing that a packet of a case could be.
    only_or(outcome, wanted, |row| {
        row.pkt.starts_with("A_")
            || row.pkt.starts_with("I_N")
            || row.pkt.contains("->ff02:")
            || row.pkt.contains("->224.0.0.")
    })
}

fn only_or(outcome: &Outcome, wanted: &[Packet], tolerated: fn(&Row) -> bool) -> Result<()> {
    outcome.complete()?;
    let known = |row: &Row| wanted.iter().any(|packet| packet.is_in(row));
    let unwanted = outcome
        .rows
        .iter()
        .find(|row| !known(row) && !tolerated(row));
    if let Some(row) = unwanted {
        bail!("unwanted: {row}");
    }
    for packet in wanted {
        let seen = outcome.rows.iter().any(|row| packet.is_in(row));
        ensure!(seen, "no row of {packet:?}");
    }
    Ok(())
}

fn arrive(outcome: &Outcome, cluster: &Cluster, wanted: &[Packet]) -> Result<()> {
    for packet in wanted {
        let arrived = |row| packet.arrives_in(row, cluster);
        ensure!(
            outcome.rows.iter().any(arrived),
            "no row of {packet:?} where it arrives"
        );
    }
    Ok(())
}

/// Pings with the wanted identifier and their replies, and not those with another.
fn icmpid() -> Result<()> {
    let cluster = pods6()?;
    let tracer = Tracer::start(&["--route", "--func", SOME, "--icmpid", "4242"])?;
    let wanted = [ping(Client, Server, 4242), ping(Client, Server, 4242).v6()];
    let unwanted = [ping(Client, Server, 4243), ping(Client, Server, 4243).v6()];
    for packet in [unwanted, wanted].as_flattened() {
        packet.send(&cluster)?;
    }
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only(&outcome, &wanted)?;
        arrive(&outcome, &cluster, &wanted)?;
        let (client, server) = (&cluster.client, &cluster.server);
        outcome.in_order(&[
            hop(&["ip_output"]).inside(client).pkt("I_request:"),
            hop(&["icmp_rcv"]).inside(server).pkt("I_request:"),
            hop(&["ip_output"]).inside(server).pkt("I_reply:"),
            hop(&["icmp_rcv"]).inside(client).pkt("I_reply:"),
            hop(&["icmpv6_rcv"]).inside(server).pkt("I_request:"),
            hop(&["icmpv6_rcv"]).inside(client).pkt("I_reply:"),
        ])
    })())
}

/// What passes an interface, in whichever namespace it is.
fn iface() -> Result<()> {
    let cluster = pods6()?;
    let tracer = Tracer::start(&["--route", "--iface", CLIENT_VETH])?;
    let wanted = [
        udp(Client, Server, 40001, 7001),
        udp(Client, Server, 40001, 7001).v6(),
    ];
    let unwanted = [
        udp(Node, Server, 40003, 7001),
        udp(Node, Server, 40003, 7001).v6(),
    ];
    for packet in [unwanted, wanted].as_flattened() {
        packet.send(&cluster)?;
    }
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only_or_chatter(&outcome, &wanted)?;
        let other = outcome.rows.iter().find(|row| row.iface != CLIENT_VETH);
        ensure!(other.is_none(), "another interface: {other:?}");
        Ok(())
    })())
}

/// What happens in one namespace.
fn netns() -> Result<()> {
    let cluster = pods6()?;
    let inode = cluster.server.inode();
    let tracer = Tracer::start(&["--route", "--netns", &inode.to_string()])?;
    let wanted = [
        udp(Client, Server, 40001, 7001),
        udp(Client, Server, 40001, 7001).v6(),
    ];
    udp(Node, Client, 40002, 7001).send(&cluster)?;
    for packet in &wanted {
        packet.send(&cluster)?;
    }
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only_or_chatter(&outcome, &wanted)?;
        arrive(&outcome, &cluster, &wanted)?;
        let other = outcome.rows.iter().find(|row| row.netns != inode);
        ensure!(other.is_none(), "another namespace: {other:?}");
        Ok(())
    })())
}

/// How a namespace is named on the command line; `netns` takes the number.
enum Named {
    /// As `ip netns` does.
    Name,
    /// A file.
    Path,
    /// A process that is in it.
    Process,
}

/// A process that does nothing inside a namespace, until this is dropped.
struct Resident(std::process::Child);

impl Resident {
    fn of(net: &Netns) -> Result<Self> {
        // It reads until its input ends.
        let cat = || {
            Ok(std::process::Command::new("cat")
                .stdin(std::process::Stdio::piped())
                .spawn()?)
        };
        net.enter(cat).map(Self)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Two pods with the same address and the same ports: only the namespace differs.
fn equal_addresses(named: Named) -> Result<()> {
    let (one, other) = (topology::pods()?, topology::pods()?);
    let packet = udp(Client, Server, 40001, 7001);
    let inode = one.client.inode();
    let resident = Resident::of(&one.client)?;
    let name = match named {
        Named::Name => one.client.name().to_owned(),
        Named::Path => format!("/run/netns/{}", one.client.name()),
        Named::Process => format!("pid:{}", resident.0.id()),
    };
    let mut options = vec!["--no-follow", "--route", "--host", CLIENT, "-N", &name];
    if !matches!(named, Named::Name) {
        // What the name says is the same; this is about how it is read.
        options.extend(["--func", SOME]);
    }
    let tracer = Tracer::start(&options)?;
    packet.send(&other)?;
    packet.send(&one)?;
    packet.send(&other)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only(&outcome, &[packet])?;
        let stranger = outcome.rows.iter().find(|row| row.netns != inode);
        ensure!(stranger.is_none(), "another namespace: {stranger:?}");
        let sent = outcome.count(&hop(&["ip_output"]));
        ensure!(sent == 1, "ip_output {sent} times and not once");
        Ok(())
    })())
}

/// Packets that this process sends, and not those of another.
fn pid() -> Result<()> {
    let cluster = topology::pods()?;
    let own = std::process::id().to_string();
    let tracer = Tracer::start(&["--route", "--func", SOME, "--pid", &own])?;
    cluster
        .client
        .enter(|| process::run("ping", &["-c", "1", "-W", "5", "172.18.0.1"]))?;
    let packet = udp(Client, Server, 40001, 7001);
    packet.send(&cluster)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only_or_chatter(&outcome, &[packet])?;
        outcome
            .find(&hop(&["ip_output"]).inside(&cluster.client))
            .map(drop)
    })())
}

/// What does not match never leaves the kernel: many hits, few events.
fn in_the_kernel() -> Result<()> {
    const OTHERS: u64 = 300;
    let cluster = topology::pods()?;
    let tracer = Tracer::start(&["-v", "--route", "--dport", "7001"])?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, 40001)?)?;
    let receiver = traffic::udp_socket(&cluster.server, topology::at(SERVER, 7002)?)?;
    for _ in 0..OTHERS {
        traffic::send(&sender, topology::at(SERVER, 7002)?, b"noise")?;
        traffic::receive(&receiver)?;
    }
    udp(Client, Server, 40002, 7001).send(&cluster)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        only(&outcome, &[udp(Client, Server, 40002, 7001)])?;
        let hits = outcome
            .hits
            .context("no count of hook hits in the summary")?;
        let produced = outcome
            .produced
            .context("no count of events in the summary")?;
        ensure!(
            produced == outcome.rows.len() as u64,
            "{produced} events produced, {} printed",
            outcome.rows.len()
        );
        ensure!(
            hits > OTHERS * 10,
            "{hits} hook hits are too few for {OTHERS} datagrams"
        );
        Ok(())
    })())
}
