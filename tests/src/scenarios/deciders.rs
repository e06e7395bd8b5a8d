//! Which function of a netfilter hook decided (`--netfilter`), told with the verdict of the whole.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::skip;
use super::turns::{Turn, Turns};
use crate::frontend::Frontend;
use crate::kernel_trace::KernelTrace;
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::node::Routed;
use crate::topology::{self, CLIENT_PORT, Cluster, Ip, PORT, at};
use crate::tracer::Outcome;
use crate::traffic;
use crate::traffic::exchange::Exchange;

/// What the kernels call the function that walks iptables' table `filter`: since 5.16 the hook
/// calls the walk itself (net/ipv4/netfilter/iptable_filter.c).
const LEGACY: &[&str] = &["ipt_do_table", "iptable_filter_hook"];
const LEGACY6: &[&str] = &["ip6t_do_table", "ip6table_filter_hook"];

/// All that the trials send has one of these addresses.
const OPTIONS: &[&str] = &["--netfilter", "-H", HOSTS, "--proto", "udp"];
/// The left host, the client pod of a bridge and the client pod of a router.
const HOSTS: &str = "10.71.0.1,fd00:71::1,172.18.0.15,10.72.1.2";

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(OPTIONS);
    let nft_drop = |host: &Netns| nft(host, 0, "drop");
    let by_nft: &[&str] = &["nft_do_chain_inet"];
    let dropped: [Dropped; 8] = [
        (
            "legacy",
            |host| iptables(host, Frontend::Legacy),
            Ip::V4,
            LEGACY,
        ),
        (
            "legacy",
            |host| iptables6(host, Frontend::Legacy),
            Ip::V6,
            LEGACY6,
        ),
        (
            "iptables_nft",
            |host| iptables(host, Frontend::Nft),
            Ip::V4,
            &["nft_do_chain_ipv4"],
        ),
        (
            "iptables_nft",
            |host| iptables6(host, Frontend::Nft),
            Ip::V6,
            &["nft_do_chain_ipv6"],
        ),
        ("nft", nft_drop, Ip::V4, by_nft),
        ("nft", nft_drop, Ip::V6, by_nft),
        ("second_of_two", second_of_two, Ip::V4, LEGACY),
        ("first_of_two", first_of_two, Ip::V4, by_nft),
    ];
    for (name, guard, ip, by) in dropped {
        let name = format!("decider_{name}{}", ip.suffix());
        trials.trial(name, move |turn| drops(turn, guard, ip, by));
    }
    trials.trial("decider_queue_legacy", |turn| {
        taken(turn, queue_legacy, LEGACY)
    });
    trials.trial("decider_queue_nft", |turn| {
        let guard = |host: &Netns| nft(host, 0, "queue num 7");
        taken(turn, guard, &["nft_do_chain_inet"])
    });
    trials.trial("decider_queue_bypass_legacy", |turn| {
        bypassed(turn, queue_bypass_legacy)
    });
    trials.trial("decider_queue_bypass_nft", |turn| {
        bypassed(turn, |host| nft(host, 0, "queue num 7 bypass"))
    });
    trials.trial("decider_bridge", bridge);
    trials.trial("decider_bridged", bridged);
    trials.trial("decider_ipvs", ipvs);
    trials.trial("decider_nobody", nobody);
    trials.trials()
}

/// The end of a trial's name, who drops, the version of IP, and what that is called.
type Dropped = (
    &'static str,
    fn(&Netns) -> Result<()>,
    Ip,
    &'static [&'static str],
);

/// Where the kernels drop what a function of a hook decided to.
const PLACES: &[&str] = &["nf_hook_slow", "nft_do_chain", "nf_queue"];
const DROP: &str = "-t filter -A INPUT -p udp -j DROP\n";

fn iptables(host: &Netns, frontend: Frontend) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    frontend.apply(host, DROP)
}

fn iptables6(host: &Netns, frontend: Frontend) -> Result<()> {
    if let Err(error) = frontend.probe_for(Ip::V6) {
        return skip(format!("{error:#}"));
    }
    frontend.apply_for(Ip::V6, host, DROP)
}

fn queue_legacy(host: &Netns) -> Result<()> {
    legacy_queue(host, "")
}

fn queue_bypass_legacy(host: &Netns) -> Result<()> {
    legacy_queue(host, "--queue-bypass")
}

fn legacy_queue(host: &Netns, further: &str) -> Result<()> {
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = format!("-t filter -A INPUT -p udp -j NFQUEUE --queue-num 7 {further}\n");
    frontend.apply(host, &rule)
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

fn ends(ip: Ip) -> Result<Ends> {
    let (left, right) = ip.of((LEFT, RIGHT), (LEFT6, RIGHT6));
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
        .filter(|(what, _)| {
            let families = ["2.ipv4.", "7.bridge.", "10.ipv6."];
            families.iter().any(|family| what.starts_with(family))
        })
        .collect()
    }
}

fn drops(turn: &Turn, guard: fn(&Netns) -> Result<()>, ip: Ip, by: &[&str]) -> Result<()> {
    ends_at_input(turn, guard, ip, "DROP(EPERM)", by)
}

/// A queue takes the datagram from the function that asked for it, and has nobody to give it to.
fn taken(turn: &Turn, guard: fn(&Netns) -> Result<()>, by: &[&str]) -> Result<()> {
    ends_at_input(turn, guard, Ip::V4, "STOLEN", by)
}

/// What `guard` does with a datagram at the hook INPUT is told with the function of it that decided.
fn ends_at_input(
    turn: &Turn,
    guard: fn(&Netns) -> Result<()>,
    ip: Ip,
    ending: &str,
    by: &[&str],
) -> Result<()> {
    let link = match ip {
        Ip::V4 => Link::build()?,
        Ip::V6 => Link::build_with_ipv6()?,
    };
    guard(&link.right)?;
    let ends = ends(ip)?;
    let sender = traffic::udp_socket(&link.left, ends.left)?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    traffic::send(&sender, ends.right, b"unwanted")?;
    kernel.wait_for(1, |drop| PLACES.contains(&drop.function.as_str()))?;
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
        ensure!(verdict.ends_with(&format!(".INPUT.{ending}")), "{verdict}");
        ensure!(by.contains(decider), "{decider} and not {by:?}");
        accepted_by_nobody(told.iter().filter(|other| *other != input))?;
        Ok(())
    })())
}

/// Hooks that accepted, without a word on who did.
fn accepted_by_nobody<'a>(
    told: impl IntoIterator<Item = &'a (&'a str, Option<&'a str>)>,
) -> Result<()> {
    for (verdict, by) in told {
        ensure!(
            verdict.ends_with(".ACCEPT") && by.is_none(),
            "{verdict} by {by:?}"
        );
    }
    Ok(())
}

/// All accept, after another packet was dropped by the same function.
fn nobody(turn: &Turn) -> Result<()> {
    let link = Link::build()?;
    nft(&link.right, 0, "drop")?;
    let frontend = Frontend::first_that_works()?;
    frontend.apply(&link.right, "-t filter -A INPUT -p udp -j ACCEPT\n")?;
    let left = at(LEFT, CLIENT_PORT)?;
    let unwanted = at(RIGHT, PORT)?;
    let wanted = at(RIGHT, PORT + 1)?;
    let exchange = Exchange::open((&link.left, left), (&link.right, wanted))?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    let other = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT + 1)?)?;
    traffic::send(&other, unwanted, b"unwanted")?;
    kernel.wait_for(1, |drop| PLACES.contains(&drop.function.as_str()))?;
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
        accepted_by_nobody(&told)?;
        let dropped = outcome.rows.iter().any(|row| row.what.contains("by="));
        ensure!(dropped, "the other datagram has a decider");
        Ok(())
    })())
}

/// A queue that lets pass when nobody listens: nobody has decided.
fn bypassed(turn: &Turn, guard: fn(&Netns) -> Result<()>) -> Result<()> {
    let link = Link::build()?;
    guard(&link.right)?;
    let ends = ends(Ip::V4)?;
    let exchange = Exchange::open((&link.left, ends.left), (&link.right, ends.right))?;
    let tracer = turn.listen()?;
    exchange.ask(ends.right)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        outcome.find(&hop(&["nf_queue"]).inside(&link.right))?;
        let told = outcome.whole_hooks(&link.right, &ends);
        ensure!(!told.is_empty(), "no hook was passed");
        accepted_by_nobody(&told)?;
        Ok(())
    })())
}

/// A chain of nftables among the bridge's own functions.
fn bridge(turn: &Turn) -> Result<()> {
    let cluster = topology::pods()?;
    let port = PORT.to_string();
    // Where br_netfilter takes a packet away and gives it back, 5.10 and 6.1 leave out a chain of
    // priority 0 (br_nf_hook_thresh, net/bridge/br_netfilter_hooks.c); 6.12 and 7.2 do not. This one
    // comes before.
    let hook = "{ type filter hook forward priority -200; policy accept; }";
    let node = &cluster.node1;
    if let Err(error) = node.run("nft", &["add", "table", "bridge", "guard"]) {
        return skip(format!("no nftables here: {error:#}"));
    }
    node.run("nft", &["add", "chain", "bridge", "guard", "between", hook])?;
    let rule = [
        "add", "rule", "bridge", "guard", "between", "udp", "dport", &port, "drop",
    ];
    node.run("nft", &rule)?;
    dropped_between(
        turn,
        &cluster,
        &[("7.bridge.FORWARD.DROP(EPERM)", &["nft_do_chain_bridge"])],
    )
}

/// A bridged packet among IP's functions (br_netfilter): the table drops it there, and the bridge's
/// hook is told that somebody else has it.
fn bridged(turn: &Turn) -> Result<()> {
    let cluster = topology::pods()?;
    topology::filter_bridged(&cluster.node1)?;
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    frontend.apply(&cluster.node1, "-t filter -A FORWARD -p udp -j DROP\n")?;
    // Two functions became one in 6.12.
    let by_the_bridge = &["br_nf_forward", "br_nf_forward_ip"];
    dropped_between(
        turn,
        &cluster,
        &[
            ("2.ipv4.FORWARD.DROP(EPERM)", LEGACY),
            ("7.bridge.FORWARD.STOLEN", by_the_bridge),
        ],
    )
}

/// IPVS takes what is for a Service and sends it on by itself.
fn ipvs(turn: &Turn) -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_ipvs()?;
    let addresses = routed.addresses();
    let ends = Ends {
        left: addresses.client()?,
        right: addresses.service()?,
    };
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
    exchange.ask(ends.right)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let told = outcome.whole_hooks(&routed.node, &ends);
        // 5.10 has a function for each hook, later kernels one for all.
        let by = ["ip_vs_in_hook", "ip_vs_remote_request4"];
        named(&told, "2.ipv4.INPUT.STOLEN", &by)
    })())
}

/// A datagram between two pods of a node, which the node drops: these hooks are told, each with one
/// of these functions.
fn dropped_between(turn: &Turn, cluster: &Cluster, wanted: &[(&str, &[&str])]) -> Result<()> {
    let ends = Ends {
        left: at(topology::CLIENT, CLIENT_PORT)?,
        right: at(topology::SERVER, PORT)?,
    };
    let sender = traffic::udp_socket(&cluster.client, ends.left)?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    traffic::send(&sender, ends.right, b"unwanted")?;
    kernel.wait_for(1, |drop| PLACES.contains(&drop.function.as_str()))?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let told = outcome.whole_hooks(&cluster.node1, &ends);
        wanted
            .iter()
            .try_for_each(|(verdict, by)| named(&told, verdict, by))
    })())
}

/// This verdict is told, with one of these functions.
fn named(told: &[(&str, Option<&str>)], verdict: &str, by: &[&str]) -> Result<()> {
    let found = told.iter().find(|(what, _)| *what == verdict);
    let (_, decider) = found.with_context(|| format!("no {verdict}: {told:?}"))?;
    ensure!(
        decider.is_some_and(|decider| by.contains(&decider)),
        "{verdict} by {decider:?} and not {by:?}"
    );
    Ok(())
}
