//! Rules and policies that drop: which of them it was is told.

use anyhow::{Context as _, Result, ensure};

use super::super::stage::Stage;
use crate::frontend::Frontend;
use crate::kernel_trace::KernelTrace;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::told::Told;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, Ip, PORT, at};
use crate::traffic;

/// Who drops, as it is to be told, when the guard stands at that host.
type Who = fn(&Netns) -> Result<String>;

/// A datagram to a host at which `guard` stands.
fn guarded(guard: impl FnOnce(&Netns) -> Result<()>, who: Who) -> Result<Stage> {
    guarded_and(guard, move |host, told| {
        let expected = format!(
            "UDP to {RIGHT}:{PORT} is dropped by {} in netns ",
            who(host)?
        );
        ensure!(told.sentence.starts_with(&expected), "not {expected}");
        Ok(())
    })
}

/// The same, and what is told is looked at.
fn guarded_and(
    guard: impl FnOnce(&Netns) -> Result<()>,
    look: impl Fn(&Netns, &Told) -> Result<()> + 'static,
) -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let link = Link::build()?;
            guard(&link.right)?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, sender))
        },
        |(_, sender)| {
            let kernel = KernelTrace::start()?;
            traffic::send(sender, at(RIGHT, PORT)?, b"unwanted")?;
            let by_netfilter = |function: &str| matches!(function, "nf_hook_slow" | "nft_do_chain");
            let dropped = kernel.wait_for(1, |drop| by_netfilter(&drop.function));
            dropped.map(drop)
        },
        move |(link, _), told| {
            ensure!(told.len() == 1, "{} findings", told.len());
            told.iter().try_for_each(|told| look(&link.right, told))
        },
    )
}

fn iptables(host: &Netns, frontend: Frontend, rules: &str) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    frontend.apply(host, rules)
}

/// Commands of `nft`, one a line.
fn nft(host: &Netns, commands: &str) -> Result<()> {
    for command in commands.lines() {
        if let Err(error) = host.run("nft", &[command]) {
            return skip(format!("no nftables here: {error:#}"));
        }
    }
    Ok(())
}

/// The handle of the only rule with that text.
fn handle(host: &Netns, table: &str, text: &str) -> Result<String> {
    handle_where(host, table, |line| line.contains(text)).with_context(|| text.to_owned())
}

/// The handle of the only rule that is told so.
fn handle_where(host: &Netns, table: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
    let all = host.run("nft", &["-a", &format!("list table {table}")])?;
    let mut lines = all.lines().filter(|line| is_it(line));
    let line = lines.next().with_context(|| format!("none of {all}"))?;
    ensure!(lines.next().is_none(), "two of {all}");
    let (_, handle) = line.split_once("# handle ").context("a handle")?;
    Ok(handle.to_owned())
}

/// That the first rule of INPUT is told to have done it.
pub fn by_the_first_rule(frontend: Frontend, ip: Ip, told: &[Told]) -> Result<()> {
    let command = frontend.command_for(ip);
    for Told { sentence, .. } in told {
        let (_, by) = sentence.split_once(" by ").context(sentence.clone())?;
        let is_first = match frontend {
            Frontend::Legacy => by.starts_with(&format!(
                "rule 1 of chain INPUT of table filter ({command}) in netns "
            )),
            Frontend::Nft => by.starts_with("rule 1 (handle "),
        };
        ensure!(is_first, "{sentence}");
    }
    Ok(())
}

/// Rules before it count, and drop nothing, or drop, and count nothing.
const RULES: &str = "\
-A INPUT -p udp
-A INPUT -p udp --dport 7 -j DROP
-A INPUT -p udp --dport 9999 -j DROP
-A INPUT -p udp --dport 8 -j DROP
";

pub fn legacy_rule() -> Result<Stage> {
    guarded(
        |host| iptables(host, Frontend::Legacy, RULES),
        |_| Ok("rule 3 of chain INPUT of table filter (iptables-legacy)".to_owned()),
    )
}

pub fn iptables_nft_rule() -> Result<Stage> {
    guarded(
        |host| iptables(host, Frontend::Nft, RULES),
        |host| {
            let handle = handle(host, "ip filter", "dport 9999")?;
            Ok(format!(
                "rule 3 (handle {handle}) of chain INPUT of table ip filter (nftables)"
            ))
        },
    )
}

pub fn legacy_policy() -> Result<Stage> {
    let rules = "-P INPUT DROP\n-A INPUT -p udp --dport 7 -j DROP\n";
    guarded(
        move |host| iptables(host, Frontend::Legacy, rules),
        |_| Ok("the policy of chain INPUT of table filter (iptables-legacy)".to_owned()),
    )
}

/// Chains that are called, and one that is not come to.
const CALLED: &str = "\
-N GUARD
-N GATE
-N IDLE
-A GATE -p udp --dport 7 -j DROP
-A GATE -p udp -j DROP
-A GUARD -p udp -j GATE
-A IDLE -j DROP
-A INPUT -p tcp -j IDLE
-A INPUT -p udp -j GUARD
";

pub fn legacy_called() -> Result<Stage> {
    guarded(
        |host| iptables(host, Frontend::Legacy, CALLED),
        |_| {
            Ok(
                "rule 2 of chain GATE, reached from chain INPUT, of table filter (iptables-legacy)"
                    .to_owned(),
            )
        },
    )
}

pub fn iptables_nft_called() -> Result<Stage> {
    guarded(
        |host| iptables(host, Frontend::Nft, CALLED),
        |host| {
            let handle = handle_where(host, "ip filter", |rule| {
                rule.contains(" drop # ") && rule.contains("udp") && !rule.contains("dport")
            })?;
            Ok(format!(
                "rule 2 (handle {handle}) of chain GATE, reached from chain INPUT, of table ip filter (nftables)"
            ))
        },
    )
}

pub fn nft_rule() -> Result<Stage> {
    let commands = "\
add table inet guard
add chain inet guard in_put { type filter hook input priority 0; policy accept; }
add rule inet guard in_put udp dport 9999 counter
add rule inet guard in_put tcp dport 7 counter drop
add rule inet guard in_put udp dport 9999 counter drop";
    guarded(
        move |host| nft(host, commands),
        |host| {
            let handle = handle_where(host, "inet guard", |rule| {
                rule.contains(" drop # ") && rule.contains("udp")
            })?;
            Ok(format!(
                "rule 3 (handle {handle}) of chain in_put of table inet guard (nftables)"
            ))
        },
    )
}

pub fn nft_policy() -> Result<Stage> {
    let commands = "\
add table ip guard
add chain ip guard in_put { type filter hook input priority 0; policy drop; }
add rule ip guard in_put udp dport 7 counter drop
add rule ip guard in_put tcp dport 9999 accept";
    guarded(
        move |host| nft(host, commands),
        |_| Ok("the policy of chain in_put of table ip guard (nftables)".to_owned()),
    )
}

/// A map decides where packets go.
pub fn nft_map() -> Result<Stage> {
    let commands = "\
add table ip guard
add chain ip guard in_put { type filter hook input priority 0; policy accept; }
add chain ip guard gate
add chain ip guard idle
add rule ip guard gate ip ttl 64 log
add rule ip guard gate drop
add rule ip guard idle counter drop
add rule ip guard in_put udp dport vmap { 7 : jump idle, 9999 : jump gate }
add rule ip guard in_put accept";
    guarded(
        move |host| nft(host, commands),
        |host| {
            let handle = handle(host, "ip guard", "\t\tdrop # handle")?;
            Ok(format!(
                "rule 2 (handle {handle}) of chain gate, reached from chain in_put, of table ip guard (nftables)"
            ))
        },
    )
}

/// Nothing counts, but what is asked tells.
pub fn nft_asked() -> Result<Stage> {
    let commands = "\
add table inet guard
add chain inet guard in_put { type filter hook input priority 0; policy drop; }
add rule inet guard in_put udp dport 7 drop
add rule inet guard in_put ip daddr 10.71.0.0/24 udp dport 9999 drop
add rule inet guard in_put udp dport 9000-9999 drop";
    guarded(
        move |host| nft(host, commands),
        |host| {
            let handle = handle(host, "inet guard", "dport 9999 ")?;
            Ok(format!(
                "rule 2 (handle {handle}) of chain in_put of table inet guard (nftables)"
            ))
        },
    )
}

/// Nothing counts, and what is asked is not known: it can be either, and the table is all that is certain.
pub fn nft_either() -> Result<Stage> {
    let commands = "\
add table ip guard
add chain ip guard in_put { type filter hook input priority 0; policy accept; }
add rule ip guard in_put iifname \"lo\" drop
add rule ip guard in_put udp dport 9999 drop";
    guarded_and(
        move |host| nft(host, commands),
        |host, told| {
            let expected = "is dropped by chain in_put of table ip guard (nftables) in netns ";
            ensure!(told.sentence.contains(expected), "not {expected}");
            let first = handle(host, "ip guard", "iifname ")?;
            let second = handle(host, "ip guard", "dport 9999 ")?;
            let expected = format!("it can be rule 1 (handle {first}) or rule 2 (handle {second})");
            ensure!(
                told.check.ends_with(&expected),
                "{}: not {expected}",
                told.check
            );
            Ok(())
        },
    )
}
