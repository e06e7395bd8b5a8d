//! Which function of a netfilter hook decided (`--netfilter`), told with the verdict of the whole.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::{skip, trial};
use crate::frontend::Frontend;
use crate::kernel_trace::KernelTrace;
use crate::netns::Netns;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic;
use crate::traffic::exchange::Exchange;

/// What the kernels call the function that walks iptables' table `filter`: since 5.16 the hook
/// calls the walk itself (net/ipv4/netfilter/iptable_filter.c).
const LEGACY: &[&str] = &["ipt_do_table", "iptable_filter_hook"];
const LEGACY6: &[&str] = &["ip6t_do_table", "ip6table_filter_hook"];

pub fn trials() -> Vec<Trial> {
    let dropped = |name: &str, guard: fn(&Netns) -> Result<()>, by: &'static [&'static str]| {
        trial(format!("decider_{name}"), move || drops(guard, false, by))
    };
    let dropped6 = |name: &str, guard: fn(&Netns) -> Result<()>, by: &'static [&'static str]| {
        trial(format!("decider_{name}_ipv6"), move || {
            drops(guard, true, by)
        })
    };
    vec![
        dropped("legacy", |host| iptables(host, Frontend::Legacy), LEGACY),
        dropped6("legacy", |host| iptables6(host, Frontend::Legacy), LEGACY6),
        dropped(
            "iptables_nft",
            |host| iptables(host, Frontend::Nft),
            &["nft_do_chain_ipv4"],
        ),
        dropped6(
            "iptables_nft",
            |host| iptables6(host, Frontend::Nft),
            &["nft_do_chain_ipv6"],
        ),
        dropped("nft", |host| nft(host, 0, "drop"), &["nft_do_chain_inet"]),
        dropped6("nft", |host| nft(host, 0, "drop"), &["nft_do_chain_inet"]),
        dropped("second_of_two", second_of_two, LEGACY),
        dropped("first_of_two", first_of_two, &["nft_do_chain_inet"]),
        trial("decider_nobody", nobody),
    ]
}

const DROP: &str = "-t filter -A INPUT -p udp -j DROP\n";

fn iptables(host: &Netns, frontend: Frontend) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    frontend.apply(host, DROP)
}

fn iptables6(host: &Netns, frontend: Frontend) -> Result<()> {
    if let Err(error) = host.run(frontend.command6(), &["-t", "filter", "-S"]) {
        return skip(format!("{error:#}"));
    }
    let mut args = vec!["-w"];
    args.extend(DROP.split_whitespace());
    host.run(frontend.command6(), &args).map(drop)
}

/// A chain of nftables' own at INPUT, with this priority and this verdict over the datagram.
fn nft(host: &Netns, priority: i32, verdict: &str) -> Result<()> {
    if let Err(error) = host.run("nft", &["add", "table", "inet", "guard"]) {
        return skip(format!("no nftables here: {error:#}"));
    }
    let hook = format!("{{ type filter hook input priority {priority}; policy accept; }}");
    host.run("nft", &["add", "chain", "inet", "guard", "in_put", &hook])?;
    let port = PORT.to_string();
    let rule = [
        "add", "rule", "inet", "guard", "in_put", "udp", "dport", &port, verdict,
    ];
    host.run("nft", &rule).map(drop)
}

/// One function accepts, the next one drops.
fn second_of_two(host: &Netns) -> Result<()> {
    nft(host, -10, "accept")?;
    iptables(host, Frontend::Legacy)
}

/// One function drops; another would have, but is not asked.
fn first_of_two(host: &Netns) -> Result<()> {
    nft(host, -10, "drop")?;
    iptables(host, Frontend::Legacy)
}

struct Ends {
    left: SocketAddr,
    right: SocketAddr,
}

fn ends(ipv6: bool) -> Result<Ends> {
    let (left, right) = if ipv6 { (LEFT6, RIGHT6) } else { (LEFT, RIGHT) };
    Ok(Ends {
        left: at(left, CLIENT_PORT)?,
        right: at(right, PORT)?,
    })
}

impl Outcome {
    /// The verdicts of whole hooks over the datagram inside `net`, with who decided.
    fn whole_hooks(&self, net: &Netns, ends: &Ends) -> Vec<(&str, Option<&str>)> {
        let datagram = format!("U:{}->{}", ends.left, ends.right);
        let rows = self
            .rows
            .iter()
            .filter(|row| row.netns == net.inode() && row.pkt == datagram);
        rows.map(|row| match row.what.split_once(",by=") {
            Some((verdict, by)) => (verdict, Some(by)),
            None => (row.what.as_str(), None),
        })
        .filter(|(what, _)| what.starts_with("2.ipv4.") || what.starts_with("10.ipv6."))
        .collect()
    }
}

fn drops(guard: fn(&Netns) -> Result<()>, ipv6: bool, by: &[&str]) -> Result<()> {
    let link = if ipv6 {
        Link::build_with_ipv6()?
    } else {
        Link::build()?
    };
    guard(&link.right)?;
    let ends = ends(ipv6)?;
    let sender = traffic::udp_socket(&link.left, ends.left)?;
    let kernel = KernelTrace::start()?;
    let host = ends.left.ip().to_string();
    let tracer = Tracer::start(&["--netfilter", "-H", &host, "--proto", "udp"])?;
    traffic::send(&sender, ends.right, b"unwanted")?;
    let places = ["nf_hook_slow", "nft_do_chain"];
    kernel.wait_for(1, |drop| places.contains(&drop.function.as_str()))?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let told = outcome.whole_hooks(&link.right, &ends);
        let input = told
            .iter()
            .find(|(verdict, _)| verdict.contains(".INPUT."))
            .context("no verdict of the hook INPUT")?;
        let (verdict, Some(decider)) = input else {
            bail!("nobody decided: {told:?}");
        };
        ensure!(verdict.ends_with(".INPUT.DROP(EPERM)"), "{verdict}");
        ensure!(by.contains(decider), "{decider} and not {by:?}");
        let others = told.iter().filter(|other| *other != input);
        for (verdict, by) in others {
            ensure!(
                verdict.ends_with(".ACCEPT") && by.is_none(),
                "{verdict} by {by:?}"
            );
        }
        Ok(())
    })())
}

/// All accept, after another packet was dropped by the same function.
fn nobody() -> Result<()> {
    let link = Link::build()?;
    nft(&link.right, 0, "drop")?;
    let frontend = Frontend::first_that_works()?;
    frontend.apply(&link.right, "-t filter -A INPUT -p udp -j ACCEPT\n")?;
    let left = at(LEFT, CLIENT_PORT)?;
    let unwanted = at(RIGHT, PORT)?;
    let wanted = at(RIGHT, PORT + 1)?;
    let exchange = Exchange::open((&link.left, left), (&link.right, wanted))?;
    let kernel = KernelTrace::start()?;
    let tracer = Tracer::start(&["--netfilter", "-H", LEFT, "--proto", "udp"])?;
    let other = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT + 1)?)?;
    traffic::send(&other, unwanted, b"unwanted")?;
    let places = ["nf_hook_slow", "nft_do_chain"];
    kernel.wait_for(1, |drop| places.contains(&drop.function.as_str()))?;
    exchange.ask(wanted)?;
    let outcome = tracer.stop()?;
    let ends = Ends {
        left,
        right: wanted,
    };
    outcome.explain((|| {
        outcome.complete()?;
        let told = outcome.whole_hooks(&link.right, &ends);
        ensure!(!told.is_empty(), "no hook was passed");
        for (verdict, by) in told {
            ensure!(
                verdict.ends_with(".ACCEPT") && by.is_none(),
                "{verdict} by {by:?}"
            );
        }
        let dropped = outcome.rows.iter().any(|row| row.what.contains("by="));
        ensure!(dropped, "the other datagram has a decider");
        Ok(())
    })())
}
