//! Netfilter: rules and policies.

use super::{
    Cause,
    loss::Loss,
    words::{netns, place, towards},
};
use crate::{
    journey::{Decided, OwnChain},
    render::escaped_text,
};

/// A rule refused the packet, and the sender was told.
pub fn reject(loss: &Loss<'_>) -> Option<Cause> {
    let said = loss.last_at(&["nf_send_reset", "nf_send_unreach"])?;
    let hop = loss.case.journey.hops.get(said)?;
    let answer = if &**hop.function() == "nf_send_reset" {
        "a reset"
    } else {
        "ICMP unreachable"
    };
    let names = loss.case.names;
    let (by, check, decision) = match loss.decision() {
        Some((at, decided)) => (who(decided), how_to_see(decided), Some(at)),
        None => ("a netfilter rule".to_owned(), SEE_ALL.to_owned(), None),
    };
    let sentence = format!(
        "{} is refused by {by} in {}; the sender gets {answer}",
        towards(&loss.packet()),
        netns(loss.place().netns, names),
    );
    let cause = Cause::certain("netfilter-reject", sentence, check);
    loss.shows(cause, [Some(said), decision].into_iter().flatten())
}

/// A rule or a policy dropped it.
pub fn dropped(loss: &Loss<'_>) -> Option<Cause> {
    let told = loss.reason == "NETFILTER_DROP"
        || loss.is_at(&["nf_hook_slow", "nft_do_chain"])
        || loss.dropped.reason == crate::journey::OwnReason::Told("netfilter");
    if !told {
        return None;
    }
    let names = loss.case.names;
    let what = towards(&loss.packet());
    let Some((at, decided)) = loss.decision() else {
        let sentence = format!(
            "{what} is dropped by netfilter at {}; by which table was not seen",
            place(loss.place(), names)
        );
        let cause = Cause::likely("netfilter-drop", sentence, SEE_ALL);
        return loss.shows(cause, []);
    };
    let sentence = format!(
        "{what} is dropped by {} in {}",
        who(decided),
        netns(loss.place().netns, names)
    );
    let cause = Cause::certain("netfilter-drop", sentence, how_to_see(decided));
    loss.shows(cause, [at])
}

const SEE_ALL: &str = "in that netns: nft list ruleset; iptables-legacy-save";

/// Who decided: table and chain, by the name of the command that shows them.
pub fn who(decided: &Decided) -> String {
    let chain = chain(decided);
    let table = escaped_text(&decided.table.bytes);
    match &*decided.function {
        "ipt_do_table" => format!("chain {chain} of table {table} (iptables-legacy)"),
        "ip6t_do_table" => format!("chain {chain} of table {table} (ip6tables-legacy)"),
        "arpt_do_table" => format!("chain {chain} of table {table} (arptables-legacy)"),
        "ebt_do_table" => format!("chain {chain} of table {table} (ebtables-legacy)"),
        "nft_do_chain" => format!("chain {chain} of table {table} (nftables)"),
        _ => match &decided.decider {
            Some(decider) => format!("{} at hook {chain}", escaped_text(decider.as_bytes())),
            None => format!("a function of hook {chain}"),
        },
    }
}

fn chain(decided: &Decided) -> String {
    match &decided.chain {
        OwnChain::Own(name) => escaped_text(&name.bytes),
        OwnChain::Hook(name) => (*name).to_owned(),
        OwnChain::HookNumber(number) => format!("of hook {number}"),
    }
}

/// The command that shows the rules, with their counters.
pub fn how_to_see(decided: &Decided) -> String {
    let chain = chain(decided);
    let table = escaped_text(&decided.table.bytes);
    let command = match &*decided.function {
        "ipt_do_table" => format!("iptables-legacy -t {table} -vnL {chain}"),
        "ip6t_do_table" => format!("ip6tables-legacy -t {table} -vnL {chain}"),
        "arpt_do_table" => format!("arptables-legacy -t {table} -vnL {chain}"),
        "ebt_do_table" => format!("ebtables-legacy -t {table} -L {chain} --Lc"),
        "nft_do_chain" => format!("nft -a list ruleset, table {table}, chain {chain}"),
        _ => return SEE_ALL.to_owned(),
    };
    format!("in that netns: {command}: which of its rules counts up, or its policy")
}
