//! Sockets: nobody listens, nobody reads, somebody hangs up.

use super::{
    Case, Cause,
    loss::{Loss, RST, SYN},
    memory::{Flow, shown},
    words::{netns, place, target, towards},
};
use crate::{
    event::{Owner, Packet, Sock, Transport},
    journey::{Fate, What},
    render::escaped_text,
};
use skbtrace_common::hooks::Stage;

const TELL: [&str; 4] = [
    "__icmp_send",
    "icmp6_send",
    "tcp_v4_send_reset",
    "tcp_v6_send_reset",
];

/// Nobody listens at the destination.
pub fn none(loss: &Loss<'_>) -> Option<Cause> {
    let told = loss.last_at(&TELL);
    let receives = [
        "__udp4_lib_rcv",
        "__udp6_lib_rcv",
        "udp_rcv",
        "udpv6_rcv",
        "tcp_v4_rcv",
        "tcp_v6_rcv",
    ];
    // Without reasons: a sender is told only of this by these functions.
    let is_it = loss
        .has_reason(&["NO_SOCKET"])
        .unwrap_or_else(|| loss.is_at(&receives) && told.is_some());
    if !is_it {
        return None;
    }
    let packet = loss.packet();
    if let Packet::Ip(ip) = packet
        && let Transport::Tcp(_, Some(flags)) = ip.transport
        && flags.0 & SYN == 0
    {
        return unknown_connection(loss, told);
    }
    let (answer, command) = match (&packet, told) {
        (Packet::Ip(ip), Some(_)) if matches!(ip.transport, Transport::Tcp(..)) => {
            ("; the sender gets a reset", "ss -ltnp")
        }
        (_, Some(_)) => ("; the sender gets ICMP port unreachable", "ss -lunp"),
        (_, None) if loss.is_tcp() => ("", "ss -ltnp"),
        (_, None) => ("", "ss -lunp"),
    };
    let place = netns(loss.place().netns, loss.case.names);
    let sentence = format!("nobody listens at {} in {place}{answer}", target(&packet));
    let check = format!(
        "in that netns: {command}: does the program run, at this port, and at this address or all?"
    );
    loss.shows(Cause::certain("no-socket", sentence, check), told)
}

/// Data of a connection that the host knows nothing of.
fn unknown_connection(loss: &Loss<'_>, told: Option<usize>) -> Option<Cause> {
    let flow = Flow::of(&loss.packet())?;
    let sentence = format!(
        "{} knows nothing of a TCP connection to {}, and resets it",
        netns(loss.place().netns, loss.case.names),
        shown(flow.to),
    );
    let check = "the program, or the host, was started anew; or the connection is another backend's, \
                 as after a change of a Service";
    let cause = Cause::likely("tcp-reset", sentence, check);
    loss.shows(cause, told)
}

/// The socket has no room.
pub fn full(loss: &Loss<'_>) -> Option<Cause> {
    let reasons = ["SOCKET_RCVBUFF", "SOCKET_BACKLOG", "PROTO_MEM"];
    let queues = [
        "__udp_enqueue_schedule_skb",
        "tcp_queue_rcv",
        "__sock_queue_rcv_skb",
        "sock_rcvqueue_full",
        "tcp_add_backlog",
    ];
    let queued = loss.last_at(&queues);
    let is_it = loss.has_reason(&reasons).unwrap_or_else(|| {
        let takes = ["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"];
        loss.is_at(&takes) && queued.is_some()
    });
    if !is_it {
        return None;
    }
    let told = queued.and_then(|at| loss.case.journey.hops.get(at));
    let sock = told.and_then(crate::journey::Hop::sock);
    let sentence = format!(
        "the receive queue of the socket {}{} in {} is full",
        target(&loss.packet()),
        of(sock),
        netns(loss.place().netns, loss.case.names),
    );
    let check = loss.case.check("socket-full", &sentence, || {
        let memory = sock.and_then(|sock| sock.memory);
        let size = memory.map_or_else(String::new, |memory| {
            format!("; its limit is {} bytes", memory.limit)
        });
        format!(
            "the program reads too slowly, or not at all: ss -uampn, -tampn in that netns{size}; \
             SO_RCVBUF, sysctl net.core.rmem_max"
        )
    });
    loss.shows(Cause::certain("socket-full", sentence, check), queued)
}

/// `, of nc`: who has a socket; without the number, which differs from run to run.
fn of(sock: Option<Sock>) -> String {
    match sock.map(|sock| sock.owner) {
        Some(Owner::Process(process)) => {
            format!(" of {}", escaped_text(process.comm().bytes()))
        }
        _ => String::new(),
    }
}

/// A filter of the socket, a program of its cgroup, or a security module.
pub fn filtered(loss: &Loss<'_>) -> Option<Cause> {
    let asked = loss.last_at(&["sk_filter_trim_cap"]);
    // Without reasons: udp_queue_rcv_one_skb (net/ipv4/udp.c, net/ipv6/udp.c, 5.10) drops after the filter
    // for nothing but what it says, until there is a place in the queue. TCP has more to look at.
    let is_last = || {
        let queues = ["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"];
        asked.is_some_and(|at| at + 1 == loss.at) && loss.is_at(&queues)
    };
    let is_it = loss
        .has_reason(&["SOCKET_FILTER", "BPF_CGROUP_EGRESS", "SECURITY_HOOK"])
        .unwrap_or_else(is_last);
    if !is_it {
        return None;
    }
    let sock = asked.and_then(|at| loss.case.journey.hops.get(at)?.sock());
    let sentence = format!(
        "{} is refused by a filter of the socket{}, a cgroup's BPF program or a security module in {}",
        towards(&loss.packet()),
        of(sock),
        netns(loss.place().netns, loss.case.names),
    );
    let check = "in that netns: `ss -anp` tells the program: a filter that it attaches to a UDP or TCP \
                 socket (SO_ATTACH_FILTER, SO_ATTACH_BPF) shows nowhere but in strace -e setsockopt; \
                 `bpftool cgroup tree` lists the programs of cgroups";
    loss.shows(Cause::certain("socket-filter", sentence, check), asked)
}

/// A connection is reset, and nothing that was told before is the cause.
pub fn reset(case: &Case<'_>) -> Option<Cause> {
    let packet = case.journey.packet();
    let Packet::Ip(ip) = packet else { return None };
    let Transport::Tcp(_, Some(flags)) = ip.transport else {
        return None;
    };
    let fate = &case.journey.fate;
    let arrived = matches!(
        fate,
        Fate::Sent { .. } | Fate::HandedOver { .. } | Fate::Taken { .. }
    );
    if flags.0 & RST == 0 || !arrived {
        return None;
    }
    let flow = Flow::of(&packet)?;
    if case.memory.is_refused(&flow.reversed()) {
        return None;
    }
    let first = case.journey.hops.first()?;
    let who = match first.stage() {
        Stage::Socket | Stage::LocalOut => {
            let told = match &first.what {
                What::Socket(told) => of(told.sock),
                _ => String::new(),
            };
            format!("a socket{told} in {}", netns(first.netns, case.names))
        }
        _ => format!("somebody beyond {}", place(first, case.names)),
    };
    let sentence = format!("{who} resets the connection from {}", shown(flow.to));
    let check = "a program that ends without reading all, or that closes with SO_LINGER 0; a host that \
                 knows nothing of the connection, as after a restart or a failover";
    let cause = Cause::likely("tcp-reset", sentence, check);
    Some(cause.shown_by(case.index, [0]))
}
