//! From the rows of the skbtrace that recorded to those of this one.
//!
//! Records name their hook by its row, and a catalogue grows. A recording says what each row was
//! called, and so it is found again.

use std::collections::HashMap;

use skbtrace_common::{hooks::HOOKS, record::NO_ROW};

use crate::record::{Extra, Record};

/// Rows of one file.
#[derive(Default)]
pub struct Rows {
    known: HashMap<u16, u16>,
    /// Rows behind the catalogue, by function.
    behind: Vec<String>,
}

impl Rows {
    /// Notes what a row of the file is; returns this catalogue's row of it, or one behind.
    pub fn learn(&mut self, row: u16, name: &str, function: &str) -> u16 {
        let same = HOOKS
            .get(usize::from(row))
            .is_some_and(|hook| hook.name == name);
        let found = if same {
            Some(usize::from(row))
        } else {
            let named = |hook: &skbtrace_common::hooks::Hook| hook.name == name;
            HOOKS.iter().position(named).filter(|_| !name.is_empty())
        };
        let here = found.unwrap_or_else(|| {
            let known = self.behind.iter().position(|other| other == function);
            HOOKS.len()
                + known.unwrap_or_else(|| {
                    self.behind.push(function.to_owned());
                    self.behind.len() - 1
                })
        });
        let here = u16::try_from(here).unwrap_or(NO_ROW);
        self.known.insert(row, here);
        here
    }

    /// Gives a record the rows of this catalogue.
    pub fn translate(&self, record: &mut Record) {
        let here = |row: u16| self.known.get(&row).copied().unwrap_or(NO_ROW);
        record.event.hook = here(record.event.hook);
        if let Extra::Names(names) = &mut record.extra {
            names.decider = here(names.decider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing;

    #[test]
    fn rows_are_found_by_name() {
        let mut rows = Rows::default();
        let there = testing::row("ip_rcv");
        assert_eq!(rows.learn(3, "ip_rcv", "ip_rcv"), there);
        assert_eq!(rows.learn(there, "ip_rcv", "ip_rcv"), there);
        let behind = HOOKS.len() as u16;
        assert_eq!(rows.learn(900, "", "some_function"), behind);
        assert_eq!(rows.learn(901, "gone_since", "gone_since"), behind + 1);
        assert_eq!(rows.learn(902, "", "some_function"), behind);
        let mut record = testing::parse(skbtrace_common::Plain::as_bytes(&testing::blank()));
        record.event.hook = 901;
        rows.translate(&mut record);
        assert_eq!(record.event.hook, behind + 1);
        record.event.hook = 777;
        rows.translate(&mut record);
        assert_eq!(record.event.hook, NO_ROW, "not known");
    }
}
