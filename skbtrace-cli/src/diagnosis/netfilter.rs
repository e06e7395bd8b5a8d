//! Netfilter: rules and policies.

mod by;

use super::{
    Cause,
    loss::Loss,
    words::{netns, place, towards},
};

pub use by::By;

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
        Some((at, decided)) => {
            let by = By::rejecting(decided);
            (by.who(), by.how_to_see(), Some(at))
        }
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
    let by = By::dropping(loss, decided);
    let sentence = format!(
        "{what} is dropped by {} in {}",
        by.who(),
        netns(loss.place().netns, names)
    );
    let cause = Cause::certain("netfilter-drop", sentence, by.how_to_see());
    loss.shows(cause, [at])
}

const SEE_ALL: &str = "in that netns: nft list ruleset; iptables-legacy-save";
