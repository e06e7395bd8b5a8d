//! What rules read: the hooks that are listened to for them, besides those that tell journeys.
//!
//! Their events are shown by what tells journeys, and by the table only when somebody chose their
//! sets.

use skbtrace_common::hooks::{CONNTRACK, Hook, IPTABLE, Kind, ROUTE};

use crate::waits::is_dequeue;

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
    "tcp_retransmit_skb",
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

#[cfg(test)]
mod tests {
    use skbtrace_common::hooks::HOOKS;

    use super::*;

    #[test]
    fn what_is_named_is_in_the_catalogue() {
        for name in OTHERS {
            assert!(HOOKS.iter().any(|hook| hook.name == *name), "{name}");
        }
    }
}
