//! Waits: how long packets were in a queue.
//!
//! What a packet passed on its way into a device's queue is remembered until it comes out of it.
//!
//! **Invariant:** a wait is between two events of the same packet at the same device, and between
//! them it was not seen to leave the queue. Where the first was not seen, there is none. Memory is
//! bounded as that of [`crate::lineage`] is.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use skbtrace_common::hooks::{HOOKS, Hook, Kind, Stage};

use crate::{
    event::{Action, Event},
    lineage::PacketId,
};

/// Packets in queues.
#[derive(Debug, Default)]
pub struct Waits {
    queued: FxHashMap<PacketId, Queued>,
    /// In the order in which they were first queued; may name packets that are not any more.
    order: VecDeque<PacketId>,
}

/// A packet in a queue.
#[derive(Clone, Copy, Debug)]
struct Queued {
    /// The row that told.
    row: u16,
    /// Of which device's queue: netns and index.
    device: (Option<u32>, Option<u32>),
    time_ns: u64,
}

impl Waits {
    /// How many packets are remembered at most.
    pub const REMEMBERED: usize = 1 << 16;

    /// Knows no packet yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what goes into a queue, and makes what comes out of one an [`Action::Dequeued`] when it
    /// is known since when it was there. Events must come in the order in which they happened.
    pub fn place(&mut self, event: &mut Event<'_>) {
        let (Action::Hop { function }, Some(id)) = (event.action, event.id) else {
            return;
        };
        let Some(hook) = HOOKS.get(usize::from(event.hook)) else {
            return;
        };
        if is_enqueue(hook) {
            self.enqueue(id, event);
        } else if is_dequeue(hook) {
            let since = self.queued.remove(&id);
            if let Some(since) = since.filter(|queued| queued.device == device(event))
                && let Some(wait_ns) = event.time_ns.checked_sub(since.time_ns)
            {
                event.action = Action::Dequeued { function, wait_ns };
            }
        }
    }

    fn enqueue(&mut self, id: PacketId, event: &Event<'_>) {
        let queued = Queued {
            row: event.hook,
            device: device(event),
            time_ns: event.time_ns,
        };
        if let Some(known) = self.queued.get_mut(&id) {
            // A queue within a queue, or the tracepoint after the discipline's function: it waits
            // since the first. The same one again is a new start: its leaving was not seen.
            if known.device != queued.device || known.row == queued.row {
                *known = queued;
            }
            return;
        }
        self.queued.insert(id, queued);
        self.order.push_back(id);
        while self.order.len() > Self::REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.queued.remove(&oldest);
            }
        }
    }
}

/// Whether waits can be told of what these hooks report.
#[must_use]
pub fn is_dequeue(hook: &Hook) -> bool {
    hook.name == "qdisc_dequeue"
}

fn is_enqueue(hook: &Hook) -> bool {
    hook.stage == Stage::Qdisc && hook.kind == Kind::Hop && hook.name.ends_with("_enqueue")
}

fn device(event: &Event<'_>) -> (Option<u32>, Option<u32>) {
    (event.netns, event.device.map(|device| device.ifindex))
}

#[cfg(test)]
mod tests {
    use skbtrace_common::{Plain as _, record::HAS_DEV};

    use super::*;
    use crate::decode::{
        decode,
        testing::{self, Machine},
    };

    /// A packet at a hook of a device, at that time.
    fn pass(waits: &mut Waits, packet: u64, hook: &str, ifindex: u32, time: u64) -> Option<u64> {
        let mut raw = testing::blank();
        raw.packet_id = packet;
        raw.hook = testing::row(hook);
        raw.flags = HAS_DEV;
        (raw.ifindex, raw.time_ns) = (ifindex, time);
        let record = testing::parse(raw.as_bytes());
        let machine = Machine::new();
        let mut event = decode(&record, &machine);
        waits.place(&mut event);
        match event.action {
            Action::Dequeued { wait_ns, function } => {
                assert_eq!(function, "qdisc_dequeue");
                Some(wait_ns)
            }
            _ => None,
        }
    }

    #[test]
    fn a_wait_is_from_the_first_enqueue_to_the_dequeue() {
        let mut waits = Waits::new();
        pass(&mut waits, 1, "netem_enqueue", 2, 100);
        pass(&mut waits, 2, "qdisc_enqueue", 2, 105);
        pass(&mut waits, 1, "qdisc_enqueue", 2, 110);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 1100), Some(1000));
        assert_eq!(pass(&mut waits, 2, "qdisc_dequeue", 2, 1105), Some(1000));
    }

    #[test]
    fn what_was_not_seen_is_not_invented() {
        let mut waits = Waits::new();
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 100), None);
        pass(&mut waits, 0, "qdisc_enqueue", 2, 100);
        let unfollowed = pass(&mut waits, 0, "qdisc_dequeue", 2, 200);
        assert_eq!(unfollowed, None, "not followed");
        pass(&mut waits, 1, "qdisc_enqueue", 2, 100);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 3, 200), None);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 300), None, "twice");
    }

    #[test]
    fn a_dequeue_that_was_not_seen_is_forgotten() {
        let mut waits = Waits::new();
        pass(&mut waits, 1, "qdisc_enqueue", 2, 100);
        pass(&mut waits, 1, "qdisc_enqueue", 2, 500);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 600), Some(100));
        pass(&mut waits, 1, "qdisc_enqueue", 2, 700);
        pass(&mut waits, 1, "tbf_enqueue", 3, 800);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 3, 900), Some(100));
    }

    #[test]
    fn other_hooks_do_not_matter() {
        let mut waits = Waits::new();
        pass(&mut waits, 1, "enqueue_to_backlog", 2, 100);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 200), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut waits = Waits::new();
        for packet in 1..(Waits::REMEMBERED as u64 + 10) {
            pass(&mut waits, packet, "qdisc_enqueue", 2, packet);
        }
        assert_eq!(waits.queued.len(), Waits::REMEMBERED);
        assert_eq!(pass(&mut waits, 1, "qdisc_dequeue", 2, 1 << 20), None);
        // What came out of its queue is not counted for ever.
        for packet in 1..(Waits::REMEMBERED as u64 * 3) {
            pass(&mut waits, packet, "qdisc_enqueue", 2, packet);
            pass(&mut waits, packet, "qdisc_dequeue", 2, packet);
        }
        assert!(waits.order.len() <= Waits::REMEMBERED);
    }
}
