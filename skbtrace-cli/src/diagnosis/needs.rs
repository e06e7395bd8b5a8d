//! What rules read: the hooks that are listened to for them, besides those that tell journeys.
//!
//! Their events are shown by what tells journeys, and by the table only when somebody chose their
//! sets.

use skbtrace_common::hooks::{CONNTRACK, HOOKS, Hook, IPTABLE, Kind, LIFE, ROUTE};

use crate::{listening::Listening, waits::is_dequeue};

/// Rows that are in none of the sets below.
const OTHERS: &[&str] = &[
    // Who decided, where no table did, and what connection tracking and translation made of it.
    "nf_hook_slow",
    "nf_send_reset",
    "nf_send_unreach",
    "nf_conntrack_in",
    "nf_nat_manip_pkt",
    // That a sender is told.
    "ip_error",
    "__icmp_send",
    "icmp6_send",
    "tcp_v4_send_reset",
    "tcp_v6_send_reset",
    // Waiting for a neighbour.
    "__neigh_event_send",
    "arp_error_report",
    "ndisc_error_report",
    // Copies, and who drops.
    "__xfrm_policy_check",
    "tcf_classify",
    "tcf_classify_ingress",
    "tcf_mirred_act",
    "do_xdp_generic",
    "macvlan_handle_frame",
    "sk_filter_trim_cap",
    "sock_rcvqueue_full",
    "ip_defrag",
    "ipv6_frag_rcv",
];

/// Whether rules read a row's events.
#[must_use]
pub fn is_needed(hook: &Hook) -> bool {
    let in_sets = hook.sets & (ROUTE | IPTABLE) != 0 && hook.sets & CONNTRACK == 0;
    in_sets
        || OTHERS.contains(&hook.name)
        || hook.kind == Kind::QueueDrop
        || is_dequeue(hook)
        || hook.name.ends_with("_enqueue")
}

/// That hooks which rules read could not be attached.
pub fn unheard(listening: Option<&Listening>) -> Option<String> {
    let is_needed = |name: &str| {
        let mut hooks = HOOKS.iter();
        hooks.any(|hook| hook.name == name && (is_needed(hook) || hook.sets & LIFE != 0))
    };
    let skipped = listening?.skipped.iter();
    let names: Vec<&str> = skipped
        .filter(|unheard| !unheard.is_absent)
        .map(|unheard| unheard.hook.as_str())
        .filter(|name| is_needed(name))
        .collect();
    (!names.is_empty()).then(|| format!("{} could not be listened to", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listening::Unheard;

    #[test]
    fn what_is_named_is_in_the_catalogue() {
        for name in OTHERS {
            assert!(HOOKS.iter().any(|hook| hook.name == *name), "{name}");
        }
    }

    #[test]
    fn what_could_not_be_listened_to_is_named() {
        let unheard = |hook: &str, is_absent| Unheard {
            hook: hook.to_owned(),
            reason: String::new(),
            is_absent,
        };
        let other = HOOKS
            .iter()
            .find(|hook| !is_needed(hook) && hook.sets & LIFE == 0);
        let other = other.expect("not all are needed").name;
        let mut listening = Listening::default();
        assert_eq!(super::unheard(Some(&listening)), None);
        listening.skipped = vec![unheard("ip_rcv", true), unheard(other, false)];
        assert_eq!(super::unheard(Some(&listening)), None);
        listening.skipped.push(unheard("ip_rcv", false));
        let told = super::unheard(Some(&listening));
        assert_eq!(told.as_deref(), Some("ip_rcv could not be listened to"));
        assert_eq!(super::unheard(None), None);
    }
}
