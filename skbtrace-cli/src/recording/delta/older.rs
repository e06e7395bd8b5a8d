//! Records of files of the versions before 3.
//!
//! Both slots are told of every record, and which words differ; who called is one of the words about the
//! packet. Version 1 has one slot for packet and place. What stands behind an event is told whole:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | packet slot |
//! | 1 | place slot; not there in version 1, where it is the packet slot |
//! | 4, 1 + 1 to 8 each | as in version 3 |
//! | 2 | if more follows: its length |
//! | … | that |

use std::mem::offset_of;

use skbtrace_common::record::{LEAD, RawEvent};

use super::{MORE, PACKETS, Told, WORDS, bits, take_changes};
use crate::record::Record;

/// The words about the place.
const PLACE: u32 = bits(offset_of!(RawEvent, hook) / 8..(offset_of!(RawEvent, packet) + LEAD) / 8);

impl Told {
    /// Takes a record off `bytes`, whose packet and place have one slot or two.
    pub(super) fn take_older(&mut self, bytes: &mut &[u8], slots: usize) -> Option<Record> {
        let packet = *bytes.split_off_first()?;
        let place = match slots {
            1 => packet,
            _ => *bytes.split_off_first()?,
        };
        let differ = u32::from_le_bytes(*bytes.split_off(..4)?.as_array()?);
        let changes = take_changes(bytes, differ)?;
        if packet >= PACKETS {
            return None;
        }
        let (last, there) = self.0.slots(packet, place);
        let there = &mut there.words;
        let mut record = Vec::with_capacity(size_of::<RawEvent>());
        for nth in 0..WORDS {
            let expected = if PLACE >> nth & 1 != 0 {
                there[nth]
            } else {
                last[nth]
            };
            let word = expected ^ changes[nth];
            (last[nth], there[nth]) = (word, word);
            record.extend_from_slice(&word.to_ne_bytes());
        }
        if differ & MORE != 0 {
            let length = u16::from_le_bytes(*bytes.split_off(..2)?.as_array()?);
            record.extend_from_slice(bytes.split_off(..usize::from(length))?);
        }
        Record::parse(&record).ok()
    }
}
