//! Devices: queues, programs, and what is switched off.

use super::{
    Cause,
    loss::Loss,
    words::{device, netns, place, program, towards},
};
use crate::kernel::interfaces::{Program, Side};
use skbtrace_common::hooks::Stage;

/// Functions that free what a queue drops.
const QUEUES: [&str; 4] = [
    "__dev_queue_xmit",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "__tcf_kfree_skb_list",
];

/// A queueing discipline dropped it.
pub fn queued(loss: &Loss<'_>) -> Option<Cause> {
    let is_named = loss.reason.starts_with("QDISC_");
    let mut stages = loss.hops().rev().map(|(_, hop)| hop.stage());
    let last = stages.find(|stage| *stage != Stage::Free);
    let is_there = last == Some(Stage::Qdisc) && loss.is_at(&QUEUES);
    let is_it = is_named || loss.reason.is_empty() && is_there;
    if !is_it {
        return None;
    }
    let dev = device(loss.place().device);
    let sentence = format!(
        "the queueing discipline of {} drops packets",
        place(loss.place(), loss.case.names)
    );
    let check = format!(
        "in that netns: tc -s qdisc show dev {dev} (dropped, overlimits, backlog): a limit or a rate \
         that is too small, or loss that somebody asked for (netem)"
    );
    let entered = loss
        .hops()
        .rev()
        .find(|(_, hop)| hop.stage() == Stage::Qdisc);
    let cause = Cause::known(is_named, "queue-drop", sentence, check);
    loss.shows(cause, entered.map(|(at, _)| at))
}

/// A classifier, an action or a program of tc dropped it.
pub fn classified(loss: &Loss<'_>) -> Option<Cause> {
    let side = match loss.reason {
        "TC_INGRESS" => Some(Side::Ingress),
        "TC_EGRESS" => Some(Side::Egress),
        _ => None,
    };
    let classifies = [
        "tcf_classify",
        "tcf_classify_ingress",
        "tc_run",
        "cls_bpf_classify",
    ];
    let looked = loss.last_at(&classifies);
    let side = match (side, looked) {
        (Some(side), _) => side,
        // Without reasons: nothing was seen of it after the classifier.
        (None, Some(at)) if loss.reason.is_empty() && at + 1 >= loss.at => {
            let receives = loss.is_at(&["__netif_receive_skb_core", "sch_handle_ingress"]);
            if receives {
                Side::Ingress
            } else {
                Side::Egress
            }
        }
        _ => return None,
    };
    let way = if side == Side::Ingress {
        "ingress"
    } else {
        "egress"
    };
    let programs = loss.programs(side);
    let sentence = format!(
        "{} is dropped by {} at {way} of {}",
        towards(&loss.packet()),
        only(&programs).map_or_else(
            || "a tc filter or program".to_owned(),
            |one| format!("the {one}")
        ),
        place(loss.place(), loss.case.names)
    );
    let dev = device(loss.place().device);
    let check = format!(
        "{}in that netns: tc -s filter show dev {dev} {way}; bpftool net show dev {dev}",
        one_of(&programs)
    );
    loss.shows(Cause::certain("tc-drop", sentence, check), looked)
}

/// An XDP program dropped it, where XDP has an `sk_buff`.
pub fn xdp(loss: &Loss<'_>) -> Option<Cause> {
    let runs = [
        "do_xdp_generic",
        "netif_receive_generic_xdp",
        "bpf_prog_run_generic_xdp",
        "veth_xdp_rcv_skb",
    ];
    if loss.reason != "XDP" && !loss.is_at(&runs) {
        return None;
    }
    let programs = loss.programs(Side::Xdp);
    let sentence = format!(
        "the {} of {} drops {}",
        only(&programs).unwrap_or_else(|| "XDP program".to_owned()),
        place(loss.place(), loss.case.names),
        towards(&loss.packet()),
    );
    let dev = device(loss.place().device);
    let check = format!(
        "{}in that netns: ip link show dev {dev} names the program (prog/xdp id), bpftool prog show id ID says what it is",
        one_of(&programs)
    );
    loss.shows(Cause::certain("xdp-drop", sentence, check), [])
}

/// The one that there is.
fn only(programs: &[&Program]) -> Option<String> {
    let [one] = programs else { return None };
    Some(program(one))
}

/// Those of which one did it.
fn one_of(programs: &[&Program]) -> String {
    if programs.len() < 2 {
        return String::new();
    }
    let all: Vec<_> = programs.iter().map(|one| program(one)).collect();
    format!("one of: {}; ", all.join(", "))
}

/// The device, or its other end, is down.
pub fn down(loss: &Loss<'_>) -> Option<Cause> {
    let crosses = [
        "__dev_forward_skb",
        "__dev_forward_skb2",
        "veth_xmit",
        "veth_forward_skb",
    ];
    // A device without carrier has a discipline that drops all (net/sched/sch_generic.c, noop_enqueue).
    let is_queue = loss.reason.starts_with("QDISC_") || loss.is_at(&QUEUES);
    let is_off = loss
        .device_state()
        .is_some_and(|state| !state.up || !state.carrier);
    let is_certain = is_queue && is_off || loss.reason == "DEV_READY";
    if !is_certain && !loss.is_at(&crosses) {
        return None;
    }
    let dev = device(loss.place().device);
    let sentence = format!(
        "{} cannot hand packets on: it or its other end is down",
        place(loss.place(), loss.case.names)
    );
    let check = format!(
        "ip link show dev {dev} (UP, LOWER_UP, and the MTU of both ends) in that netns and at the \
         other end"
    );
    let cause = Cause::known(is_certain, "device-down", sentence, check);
    loss.shows(cause, loss.last_at(&["__dev_queue_xmit"]))
}

/// No rule knows why; what the kernel says is told.
pub fn unexplained(loss: &Loss<'_>) -> Option<Cause> {
    // Kernels free some good packets as if they were dropped, without a reason that says anything,
    // TCP drops what it has already, and a socket that is closed what nobody has read.
    let is_usual = ["QUEUE_PURGE", "SOCKET_CLOSE"].contains(&loss.reason);
    if loss.reason.is_empty() || loss.reason.starts_with("TCP_") || is_usual {
        return None;
    }
    let sentence = format!(
        "{} is dropped in {}: the kernel's reason is {}, in {}",
        towards(&loss.packet()),
        netns(loss.place().netns, loss.case.names),
        loss.reason,
        if loss.function.is_empty() {
            "an unknown function"
        } else {
            loss.function
        },
    );
    let check = "no rule knows more; --dropstack shows what led there";
    loss.shows(Cause::likely("dropped", sentence, check), [])
}
