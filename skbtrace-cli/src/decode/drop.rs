//! Drops: why and where, and the stack that led there.

use skbtrace_common::record::{HAS_REASON, KIND_DROP, RawEvent, RawStack};

use super::Names;
use crate::event::{Action, CodePlace, DropReason, Symbol};

/// What a drop's record says; `function` is what told of it.
pub fn action<'a>(raw: &RawEvent, names: &'a dyn Names, function: &'a str) -> Action<'a> {
    let address = (raw.caller != 0).then_some(raw.caller);
    let symbol = address.and_then(|address| names.symbol(address));
    let number = raw.verdict;
    let reason = if raw.flags & HAS_REASON == 0 {
        symbol
            .and_then(told_by)
            .map_or(DropReason::Unknown, DropReason::Told)
    } else {
        names.drop_reason(number).map_or_else(
            || DropReason::Number {
                subsystem: names.drop_subsystem(number),
                number,
            },
            DropReason::Named,
        )
    };
    Action::Drop {
        function,
        reason,
        at: CodePlace { address, symbol },
    }
}

/// What it means that a function drops a packet, on a kernel without reasons (5.10 to 5.16): only
/// of functions that drop at one place for one cause. In small letters, for it is our word and
/// not the kernel's.
fn told_by(symbol: Symbol<'_>) -> Option<&'static str> {
    // The compiler's suffix (nf_hook_slow.cold) stands for a piece of the same function.
    let (function, _) = symbol
        .function
        .split_once('.')
        .unwrap_or((symbol.function, ""));
    match function {
        // net/netfilter/core.c: a function of the hook said NF_DROP.
        "nf_hook_slow" => Some("netfilter"),
        // net/ipv4/arp.c, net/ipv6/ndisc.c: the neighbour did not answer.
        "arp_error_report" | "ndisc_error_report" => Some("neighbour"),
        _ => None,
    }
}

/// The frames of a stack that are valid; of a drop, from its place on: what lies further in is the
/// tracepoint and what listens to it.
pub fn frames<'a>(stack: &'a RawStack, raw: &RawEvent) -> &'a [u64] {
    let count = usize::try_from(stack.size).unwrap_or(0) / size_of::<u64>();
    let frames = stack.frames.get(..count).unwrap_or(&stack.frames);
    let is_place = |frame: &u64| raw.kind == KIND_DROP && *frame == raw.caller;
    let place = frames.iter().position(is_place).unwrap_or(0);
    frames.get(place..).unwrap_or(frames)
}
