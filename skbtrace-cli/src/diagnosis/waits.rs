//! Waits: packets that stay at one place for long.

use super::{
    Case, Cause,
    words::{device, netns, place, target},
};
use crate::journey::{
    Hop, What,
    role::{self, Role},
};

/// It stayed somewhere for longer than somebody has patience for.
pub fn slow(case: &Case<'_>) -> Option<Cause> {
    let hops = &case.journey.hops;
    let pairs = hops.iter().zip(hops.iter().skip(1)).enumerate();
    let mut longest: Option<(u64, usize, &Hop, &Hop)> = None;
    for (at, (from, to)) in pairs {
        let waited = to.time_ns.saturating_sub(from.time_ns);
        // What comes after the end, and what lay between and was not seen, is no wait.
        let is_part =
            role::of_row(to.row) != Role::Release && !case.journey.is_gap_between(from, to);
        if is_part && waited > longest.map_or(case.options.patience_ns, |(known, ..)| known) {
            longest = Some((waited, at, from, to));
        }
    }
    let (waited_ns, at, from, to) = longest?;
    let names = case.names;
    let (where_, check) = if let What::Dequeued { .. } = to.what {
        let dev = device(to.device);
        (
            format!("in the queue of {}", place(to, names)),
            format!(
                "in that netns: tc -s qdisc show dev {dev}: a rate that is too small, or a delay that somebody asked for"
            ),
        )
    } else if role::of_row(from.row) == Role::Queue {
        (
            format!(
                "in the receive queue of the socket {} in {}",
                target(&from.packet),
                netns(from.netns, names)
            ),
            "the program reads late: is it busy, stopped, or short of CPU (cgroup limits)?"
                .to_owned(),
        )
    } else if matches!(&from.what, What::Neighbour(_)) {
        (
            format!("for its next hop's address behind {}", place(from, names)),
            "ip neigh in that netns: who answers late, or only after several questions?".to_owned(),
        )
    } else {
        (
            format!(
                "between {} and {} at {}",
                from.function(),
                to.function(),
                place(from, names)
            ),
            "what runs there: softirqs that get no CPU, queues without a hook; --callstack"
                .to_owned(),
        )
    };
    let limit = case.options.patience_ns / 1_000_000;
    let sentence = format!("packets wait {where_} for more than {limit} ms");
    let check = format!("{} ms here; {check}", waited_ns / 1_000_000);
    let cause = Cause::certain("slow", sentence, check);
    Some(cause.shown_by(case.index, [at, at + 1]))
}
