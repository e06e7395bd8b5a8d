//! Every row of the catalogue lights up on every kernel, or says why not.
//!
//! A row that is attached and never shows a packet may be one that this kernel's compiler has
//! inlined everywhere, or one whose argument is read wrongly. So the tracer listens on everything
//! there is while traffic of every kind passes ([`tour`]), and the rows that stayed dark must be
//! those that [`dark`] names for this kernel, no more and no fewer.

mod dark;
mod extras;
mod tour;
mod wrapped;

pub use self::extras::open_tun;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::process;
use crate::row::Row;
use crate::tracer::{Outcome, Tracer};
use crate::wait::LONG;

pub fn trials() -> Vec<Trial> {
    vec![trial("catalogue_is_lit", lit)]
}

/// Modules whose functions are in the catalogue; those that a kernel lacks are left out.
const MODULES: &[&str] = &[
    "veth",
    "bridge",
    "br_netfilter",
    "8021q",
    "macvlan",
    "ipvlan",
    "tun",
    "vxlan",
    "geneve",
    "ipip",
    "sit",
    "ip_gre",
    "ip6_tunnel",
    "ip6_gre",
    "wireguard",
    "dummy",
    "esp4",
    "esp6",
    "ah4",
    "xfrm_user",
    "xfrm_interface",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nf_flow_table",
    "nft_flow_offload",
    "nf_conntrack",
    "nf_nat",
    "nf_defrag_ipv6",
    "ip_tables",
    "ip6_tables",
    "iptable_filter",
    "iptable_nat",
    "iptable_raw",
    "ip6table_filter",
    "ip6table_nat",
    "arp_tables",
    "arptable_filter",
    "ebtables",
    "ebtable_filter",
    "nf_reject_ipv4",
    "ipt_REJECT",
    "xt_LOG",
    "xt_NFQUEUE",
    "ip_vs",
    "ip_vs_rr",
    "act_mirred",
    "cls_bpf",
    "cls_flower",
    "sch_fq_codel",
    "sch_ingress",
    "sch_netem",
    "sch_prio",
    "sch_tbf",
];

fn lit() -> Result<()> {
    for module in MODULES {
        // Built in, or not there: then its rows are not attached.
        let _ = process::run("modprobe", &["-q", module]);
    }
    let options = ["--set", "all", "-v", "--wide", "--buffer", "64M"];
    let tracer = Tracer::start_within(LONG * 4, &options)?;
    tour::all();
    let outcome = tracer.stop()?;
    let attached = attached(&outcome);
    let seen: BTreeSet<&str> = outcome.rows.iter().map(row_of).collect();
    let dark: BTreeSet<&str> = attached
        .iter()
        .copied()
        .filter(|name| !seen.contains(name))
        .collect();
    let release = process::run("uname", &["-r"])?;
    let reasons = dark::on(release.trim());
    let marked: BTreeSet<&str> = reasons.keys().copied().collect();
    for (function, reason) in &reasons {
        println!("DARK {function}: {reason}");
    }
    println!(
        "LIT {} of {} attached rows, {} events, {:?} lost",
        attached.len() - dark.len(),
        attached.len(),
        outcome.rows.len(),
        outcome.lost
    );
    let unmarked: Vec<_> = dark.difference(&marked).collect();
    let shine: Vec<_> = marked.intersection(&seen).collect();
    let absent: Vec<_> = marked
        .iter()
        .filter(|name| !attached.contains(*name))
        .collect();
    ensure!(
        unmarked.is_empty() && shine.is_empty() && absent.is_empty(),
        "dark and not marked: {unmarked:?}; marked and lit: {shine:?}; marked and not attached: \
         {absent:?}"
    );
    Ok(())
}

/// Functions that were attached to show packets, without the compiler's suffix.
fn attached(outcome: &Outcome) -> BTreeSet<&str> {
    outcome
        .stderr
        .iter()
        .filter_map(|line| line.strip_prefix("skbtrace: attached "))
        .filter(|rest| !rest.ends_with(')'))
        .filter_map(|rest| rest.split_once(" by "))
        .map(|(symbol, _)| symbol.split('.').next().unwrap_or(symbol))
        .collect()
}

/// The function that a row is about. Verdicts name no function but their table, which the tour
/// chooses so that it tells: nftables' own are called `lit…`, the others belong to the legacy tools.
fn row_of(row: &Row) -> &str {
    if row.dropped().is_some() {
        return row.what.split('.').next().unwrap_or("?");
    }
    if row.state().is_some() || row.translated().is_some() {
        let function = row
            .what
            .split(',')
            .find_map(|part| part.strip_prefix("func="));
        return function.unwrap_or("?");
    }
    let name = row.name();
    let mut parts = name.split('.');
    let (first, table) = (parts.next().unwrap_or(name), parts.next());
    match (first, table) {
        (_, None) if name == "deliver_clone" => "skb_clone",
        (_, None) => name,
        (_, Some("ipv4" | "ipv6" | "bridge" | "arp" | "netdev" | "inet")) => "nf_hook_slow",
        (_, Some(table)) if table.starts_with("lit") => "nft_do_chain",
        ("2", Some(_)) => "ipt_do_table",
        ("10", Some(_)) => "ip6t_do_table",
        ("3", Some(_)) => "arpt_do_table",
        ("7", Some(_)) => "ebt_do_table",
        _ => name,
    }
}
