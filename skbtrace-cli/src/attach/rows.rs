//! Rows by address: which of the functions that share a program an event is of.
//!
//! For kprobe.multi. The kernel searches for a function's cookie at each event, hands its address
//! over for nothing, and user space has the time.

use skbtrace_common::record::{KIND_HOP, NO_ROW, RawEvent};

use super::multi::Target;

/// The rows of functions, by their addresses.
#[derive(Debug, Default)]
pub struct Rows {
    /// In the order of addresses.
    by_address: Vec<(u64, u16)>,
}

impl Rows {
    /// Adds functions that tell their addresses.
    pub fn add(&mut self, targets: &[Target]) {
        self.by_address
            .extend(targets.iter().map(|target| (target.place, target.row)));
        self.by_address.sort_unstable();
    }

    /// Gives an event that tells its function's address the row instead. One of an address that is
    /// not known keeps it.
    pub fn complete(&self, event: &mut RawEvent) {
        if event.kind != KIND_HOP || event.hook != NO_ROW {
            return;
        }
        let found = self
            .by_address
            .binary_search_by_key(&event.caller, |(address, _)| *address);
        if let Some((_, row)) = found.ok().and_then(|at| self.by_address.get(at)) {
            event.hook = *row;
            event.caller = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing;

    fn rows() -> Rows {
        let target = |place, row| Target {
            place,
            row,
            index: 0,
        };
        let mut rows = Rows::default();
        rows.add(&[target(0x300, 3), target(0x100, 1)]);
        rows.add(&[target(0x200, 2)]);
        rows
    }

    fn told(hook: u16, caller: u64) -> (u16, u64) {
        let mut event = RawEvent {
            hook,
            caller,
            ..testing::blank()
        };
        rows().complete(&mut event);
        (event.hook, event.caller)
    }

    #[test]
    fn an_address_tells_the_row() {
        assert_eq!(told(NO_ROW, 0x200), (2, 0));
        assert_eq!(told(NO_ROW, 0x300), (3, 0));
    }

    #[test]
    fn an_address_that_is_not_known_is_kept() {
        assert_eq!(told(NO_ROW, 0x204), (NO_ROW, 0x204));
    }

    #[test]
    fn a_row_is_a_row() {
        assert_eq!(told(7, 0x200), (7, 0x200));
    }
}
