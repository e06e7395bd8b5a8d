//! Roles: what passing a hook says about how a packet's journey ends.
//!
//! Read off the catalogue's rows. The formats that tell journeys need the events of those that
//! [`is_needed`] names even where nobody chose their sets: few, and each of them tells an end, or
//! that another journey begins here.

use std::sync::LazyLock;

use skbtrace_common::hooks::{HOOKS, Hook, Kind};

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The packet passes, no more.
    Pass,
    /// It goes into the receive queue of a socket, if that has room.
    Queue,
    /// It is read out of a socket's queue, and is not needed after that.
    Read,
    /// A part of it is read out of a socket's queue, or all.
    ReadPart,
    /// It is for this function: it need not go on from here.
    Take,
    /// Somebody asks where it would go.
    Question,
    /// The driver gets it.
    Transmit,
    /// It is copied.
    Copy,
    /// It is cut up: its pieces go on.
    Cut,
    /// It is dropped.
    Drop,
    /// It is freed, dropped or not.
    Release,
}

/// The role of a row.
#[must_use]
pub fn of(hook: &Hook) -> Role {
    match hook.kind {
        Kind::Free => return Role::Release,
        Kind::Drop | Kind::QueueDrop => return Role::Drop,
        Kind::Segments => return Role::Cut,
        _ => {}
    }
    match hook.name {
        "__udp_enqueue_schedule_skb" | "tcp_queue_rcv" | "__sock_queue_rcv_skb" => Role::Queue,
        // net/ipv4/udp.c, skb_consume_udp: called at the end of recvmsg, for that packet.
        "skb_consume_udp" => Role::Read,
        "skb_copy_datagram_iter" => Role::ReadPart,
        "tcp_v4_do_rcv" | "tcp_v6_do_rcv" | "tcp_add_backlog" | "icmp_rcv" | "icmpv6_rcv"
        | "arp_rcv" | "arp_process" | "ndisc_rcv" => Role::Take,
        // ARP asks with each request, whether it is to be answered (net/ipv4/arp.c, arp_process, all
        // four kernels).
        "ip_route_input_noref" | "ip_route_input_slow" => Role::Question,
        "net_dev_start_xmit" | "dev_hard_start_xmit" | "tun_net_xmit" => Role::Transmit,
        "ip_frag_next" | "ip6_frag_next" | "ip_do_fragment" | "ip6_fragment" => Role::Cut,
        _ => match hook.kind {
            Kind::Clone | Kind::Morph => Role::Copy,
            _ => Role::Pass,
        },
    }
}

/// The role of the row of that number; of one behind the catalogue, [`Role::Pass`].
#[must_use]
pub fn of_row(row: u16) -> Role {
    /// By row: names are compared once, and not at every event.
    static ROLES: LazyLock<Vec<Role>> = LazyLock::new(|| HOOKS.iter().map(of).collect());
    let role = ROLES.get(usize::from(row));
    role.copied().unwrap_or(Role::Pass)
}

/// Whether journeys cannot be told without the row's events. Where everything is listened to
/// (`filtered` is false), not those that would also show what passes between processes of this
/// machine (netlink, UNIX sockets).
#[must_use]
pub fn is_needed(hook: &Hook, filtered: bool) -> bool {
    let is_narrow = filtered || !hook.bare;
    match of(hook) {
        Role::Release => true,
        Role::Drop => hook.kind == Kind::Drop,
        Role::Queue | Role::Read | Role::ReadPart => is_narrow,
        Role::Take => hook.kind == Kind::Socket,
        Role::Transmit => hook.name == "net_dev_start_xmit",
        // Already attached, to follow packets.
        Role::Copy | Role::Cut => is_narrow && hook.follows && hook.kind != Kind::Fragments,
        Role::Question | Role::Pass => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_in_the_catalogue() {
        let count = |role| HOOKS.iter().filter(|hook| of(hook) == role).count();
        assert_eq!(count(Role::Queue), 3);
        assert_eq!(count(Role::Read), 1);
        assert_eq!(count(Role::ReadPart), 1);
        assert_eq!(count(Role::Take), 8);
        assert_eq!(count(Role::Question), 2);
        assert_eq!(count(Role::Transmit), 3);
        assert_eq!(count(Role::Release), 3);
    }

    #[test]
    fn needed_are_few_and_without_a_filter_fewer() {
        let names = |filtered| {
            let needed = HOOKS.iter().filter(|hook| is_needed(hook, filtered));
            needed.map(|hook| hook.name).collect::<Vec<_>>()
        };
        insta::assert_snapshot!(names(true).join(" "), @"net_dev_start_xmit __udp_enqueue_schedule_skb tcp_add_backlog tcp_v4_do_rcv tcp_v6_do_rcv tcp_queue_rcv __sock_queue_rcv_skb skb_copy_datagram_iter skb_consume_udp skb_clone skb_copy __pskb_copy_fclone skb_copy_expand skb_morph skb_segment skb_segment_list ip_frag_next ip6_frag_next kfree_skb skb_release_head_state __consume_stateless_skb napi_skb_free_stolen_head");
        insta::assert_snapshot!(names(false).join(" "), @"net_dev_start_xmit __udp_enqueue_schedule_skb tcp_add_backlog tcp_v4_do_rcv tcp_v6_do_rcv tcp_queue_rcv skb_consume_udp ip_frag_next ip6_frag_next kfree_skb skb_release_head_state __consume_stateless_skb napi_skb_free_stolen_head");
    }
}
