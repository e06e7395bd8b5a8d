//! Neighbours (`--neigh`): the state and the address of the one that a packet is for.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use crate::kernel_trace::KernelTrace;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT_MAC, RIGHT6, written};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::Outcome;
use crate::traffic;
use crate::traffic::exchange::Exchange;

/// The left host, over both versions.
const OPTIONS: &[&str] = &["--neigh", "-H", "10.71.0.1,fd00:71::1", "--proto", "udp"];

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(OPTIONS);
    for family in [V4, V6] {
        let of = |what| format!("neighbour_{what}_{}", family.name);
        trials.trial(of("new"), move |turn| new(turn, family));
        trials.trial(of("stale"), move |turn| stale(turn, family));
        trials.trial(of("absent"), move |turn| absent(turn, family));
    }
    trials.trials()
}

/// What the two versions of IP call things.
#[derive(Clone, Copy)]
struct Family {
    name: &'static str,
    left: &'static str,
    right: &'static str,
    /// An address on the link that no host has.
    absent: &'static str,
    solicit: &'static str,
    error: &'static str,
    /// Where the settings of its neighbours are.
    settings: &'static str,
}

const V4: Family = Family {
    name: "arp",
    left: LEFT,
    right: RIGHT,
    absent: "10.71.0.9",
    solicit: "arp_solicit",
    error: "arp_error_report",
    settings: "ipv4/neigh/eth0",
};
const V6: Family = Family {
    name: "nd",
    left: LEFT6,
    right: RIGHT6,
    absent: "fd00:71::9",
    solicit: "ndisc_solicit",
    error: "ndisc_error_report",
    settings: "ipv6/neigh/eth0",
};

impl Family {
    fn link(&self) -> Result<Link> {
        if self.name == V6.name {
            Link::build_with_ipv6()
        } else {
            Link::build()
        }
    }

    fn client(&self) -> Result<SocketAddr> {
        at(self.left, CLIENT_PORT)
    }

    fn server(&self) -> Result<SocketAddr> {
        at(self.right, PORT)
    }

    fn exchange(&self, link: &Link) -> Result<Exchange> {
        Exchange::open((&link.left, self.client()?), (&link.right, self.server()?))
    }
}

/// How TRACE_INFO names the right host's address.
fn right_mac() -> String {
    written(RIGHT_MAC).replace(':', "")
}

impl Outcome {
    /// The texts of the left host's rows about neighbours, in order.
    fn neighbours(&self, link: &Link) -> Vec<&str> {
        let rows = self.rows.iter();
        rows.filter(|row| row.netns == link.left.inode() && row.what.contains(",state="))
            .map(|row| row.what.as_str())
            .collect()
    }
}

/// These texts are told, in this order.
fn in_order(told: &[&str], wanted: &[String]) -> Result<()> {
    let mut rest = told.iter();
    for text in wanted {
        ensure!(rest.any(|row| row == text), "no {text} in its place");
    }
    Ok(())
}

/// One datagram to the right host, of which `change` says what the left one knows: these texts are
/// told, in this order.
fn tells(turn: &Turn, family: Family, change: &str, wanted: &[String]) -> Result<()> {
    let link = family.link()?;
    link.left.ip(change)?;
    let exchange = family.exchange(&link)?;
    let tracer = turn.listen()?;
    exchange.ask(family.server()?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        in_order(&outcome.neighbours(&link), wanted)
    })())
}

/// Nothing is known of it; it is asked for; then the datagram that waited goes out.
fn new(turn: &Turn, family: Family) -> Result<()> {
    let (right, mac) = (family.right, right_mac());
    tells(
        turn,
        family,
        &format!("neigh del {right} dev eth0\n"),
        &[
            "neigh_resolve_output,state=NONE,lladdr=-".to_owned(),
            "__neigh_event_send,state=NONE,lladdr=-".to_owned(),
            format!("{},state=INCOMPLETE,lladdr=-", family.solicit),
            format!("neigh_resolve_output,state=REACHABLE,lladdr={mac}"),
        ],
    )
}

/// It was known, and is used while it is asked anew.
fn stale(turn: &Turn, family: Family) -> Result<()> {
    let (right, mac) = (family.right, right_mac());
    let address = written(RIGHT_MAC);
    tells(
        turn,
        family,
        &format!("neigh replace {right} lladdr {address} dev eth0 nud stale\n"),
        &[
            format!("neigh_resolve_output,state=STALE,lladdr={mac}"),
            format!("__neigh_event_send,state=STALE,lladdr={mac}"),
        ],
    )
}

/// Nobody answers for it.
fn absent(turn: &Turn, family: Family) -> Result<()> {
    let link = family.link()?;
    for (name, value) in [("mcast_solicit", "1"), ("retrans_time_ms", "20")] {
        let key = format!("{}/{name}", family.settings);
        link.left.sysctl(&key, value)?;
    }
    let sender = traffic::udp_socket(&link.left, family.client()?)?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    traffic::send(&sender, at(family.absent, PORT)?, b"unanswered")?;
    let places = ["neigh_invalidate", family.error];
    kernel.wait_for(1, |drop| places.contains(&drop.function.as_str()))?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let told = outcome.neighbours(&link);
        in_order(
            &told,
            &[
                format!("{},state=INCOMPLETE,lladdr=-", family.solicit),
                format!("{},state=FAILED,lladdr=-", family.error),
            ],
        )?;
        let known = told.iter().find(|row| !row.ends_with(",lladdr=-"));
        ensure!(known.is_none(), "an address that nobody has: {known:?}");
        Ok(())
    })())
}
