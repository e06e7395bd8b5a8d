//! Recordings of made-up runs.

use std::{collections::HashSet, fs, path::Path};

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    hooks::HOOKS,
    layout::Layout,
    record::{HAS_STACK, KIND_HOP, KIND_NEIGHBOUR, RawEvent},
};

use super::{learn::Learner, *};
use crate::{
    decode::{
        Names as _,
        testing::{self, Machine},
    },
    gap::Gap,
    kernel::rulesets::Question,
    record::Record,
    render::{Format, Renderer as _, TableOptions, TimeFormat},
    row_set::RowSet,
};

/// What a run with these records prints, in all columns.
fn text(records: &[Record], names: &dyn crate::decode::Names) -> String {
    let mut table = Format::Table(TableOptions {
        time: TimeFormat::WallClock { unix_offset_ns: 7 },
        wide: true,
        color: false,
    })
    .renderer(None);
    let mut out = Vec::new();
    for record in records {
        let event = crate::decode::decode(record, names);
        table.event(&event, names, &mut out);
    }
    String::from_utf8(out).expect("escaped")
}

fn start() -> Start {
    Start {
        version: "test".to_owned(),
        unix_offset_ns: 7,
        ..Start::default()
    }
    .with_layout(&Machine::new().layout)
}

fn record(path: &Path, records: &[Record], rotation: Option<Rotation>) -> Recording {
    let machine = Machine::new();
    let mut recording =
        Recording::create(path, rotation, start(), RowSet::default()).expect("a new file");
    for record in records {
        recording.record(record.into(), &machine);
    }
    recording
}

/// All items up to the end or the error.
fn read(bytes: &[u8]) -> (Vec<Item>, Option<RecordingError>) {
    let mut items = Vec::new();
    let mut reader = match Reader::open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (items, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, None),
            Err(error) => return (items, Some(error)),
        }
    }
}

/// What the items print.
fn printed(items: Vec<Item>) -> String {
    let mut learnt = Learnt::new(start().layout());
    let mut text_ = String::new();
    for item in items {
        match item {
            Item::Note(note) => learnt.take(&note),
            Item::Record(record) => text_ += &text(&[record], &learnt),
        }
    }
    text_
}

/// A packet's way through a few functions, and a verdict and a drop.
fn run() -> Vec<Record> {
    let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let mut records = Vec::new();
    for (nth, function) in ["ip_output", "br_handle_frame", "ip_rcv"]
        .iter()
        .enumerate()
    {
        let mut raw = testing::on(testing::packet(0x0800, &udp), 4_026_532_281, 3, b"eth0");
        raw.time_ns = 1000 * (nth as u64 + 1);
        raw.hook = testing::row(function);
        raw.packet_id = 77;
        records.push(testing::parse(raw.as_bytes()));
    }
    let raw = testing::on(testing::packet(0x0800, &udp), 4_026_531_840, 7, b"veth");
    records.push(testing::verdict_over(raw, 2, 0, 1, b"nat", b"", 1));
    records.push(testing::with_bytes(raw, 14, 1514, &[0x5a; 128]));
    records.push(testing::parse(
        testing::clone_of(raw, 0xffff_8880_0000_0000, Machine::BRIDGE.start).as_bytes(),
    ));
    records
}

/// Which rule can have dropped a packet, each time as it was then; nothing of tables that cannot be read.
#[test]
fn what_ended_packets_is_told_as_it_was_then() {
    let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let dropped = |time_ns, table: &[u8], verdict| {
        let mut raw = testing::on(testing::packet(0x0800, &udp), 4_026_532_281, 3, b"eth0");
        raw.time_ns = time_ns;
        raw.hook = testing::row("nft_do_chain");
        testing::verdict_over(raw, 2, 1, 3, table, b"INPUT", verdict)
    };
    let records = [
        dropped(1000, b"guarded", 0),
        dropped(1500, b"guarded", 0),
        // NF_ACCEPT.
        dropped(2000, b"guarded", 1),
        dropped(3000, b"other", 0),
        // NF_DROP_REASON, which says NF_STOLEN.
        dropped(4000, b"guarded", 2 | 1 << 16),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let recording = record(&path, &records, None);
    recording.finish(Finish::default()).expect("written");
    let (items, error) = read(&fs::read(&path).expect("a file"));
    assert!(error.is_none(), "{error:?}");
    let mut learnt = Learnt::new(start().layout());
    let mut notes = 0;
    let mut found = Vec::new();
    for item in items {
        match item {
            Item::Note(note) => {
                notes += usize::from(matches!(note, Note::Ending { .. }));
                learnt.take(&note);
            }
            Item::Record(record) => {
                let event = crate::decode::decode(&record, &learnt);
                let ending = Question::of(&event).and_then(|question| learnt.ending(&question));
                found.push(ending.map(|ending| ending.rules[0].number));
            }
        }
    }
    assert_eq!(found, [Some(1), Some(1), None, None, Some(4)]);
    // The second packet of a cause is told without another.
    assert_eq!(notes, 2);
    let again = learnt.notes();
    let again = again
        .iter()
        .filter(|note| matches!(note, Note::Ending { .. }));
    assert_eq!(again.count(), 1);
}

#[test]
fn what_had_been_told_is_told_before_names_change() {
    let mut learner = Learner::new(Learnt::new(Layout::UNKNOWN), RowSet::default(), 0);
    let mut told = Vec::new();
    let mut note = |learner: &mut Learner, note: &Note| {
        learner.note(note, &mut |note| told.push(note.clone()));
    };
    let name = Note::Netns {
        inode: 1,
        name: None,
    };
    let zone = Note::Zone {
        unix: 0,
        seconds: 0,
    };
    note(&mut learner, &name);
    learner.settled(5);
    note(&mut learner, &zone);
    note(&mut learner, &name);
    note(&mut learner, &name);
    let settled = Note::Settled { until_ns: 5 };
    assert_eq!(told, [name.clone(), zone, settled, name.clone(), name]);
}

#[test]
fn a_recording_tells_what_was_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let mut recording = record(&path, &run(), None);
    let gap = Gap {
        since_ns: 1,
        until_ns: 2,
        lost: vec![0, 3],
    };
    recording.lost(&gap);
    assert_eq!(recording.recorded(), 6);
    let finish = Finish {
        recorded: 5,
        ..Finish::default()
    };
    recording.finish(finish.clone()).expect("written");
    let (items, error) = read(&fs::read(&path).expect("a file"));
    assert!(error.is_none(), "{error:?}");
    let notes: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Note(note) => Some(note),
            Item::Record(_) => None,
        })
        .collect();
    assert!(notes.contains(&&Note::Lost(gap)));
    assert_eq!(notes.last(), Some(&&Note::Finish(finish)));
    let bytes = |records: &mut dyn Iterator<Item = Record>| -> Vec<_> {
        records.map(|record| record.bytes).collect()
    };
    let mut read_again = items.iter().filter_map(|item| match item {
        Item::Record(record) => Some(record.clone()),
        Item::Note(_) => None,
    });
    assert_eq!(bytes(&mut read_again), bytes(&mut run().into_iter()));
    let text_ = printed(items);
    assert_eq!(text_, text(&run(), &Machine::new()));
    assert!(
        text_.contains("deliver_clone") && text_.contains("pod\\x20a"),
        "{text_}"
    );
}

#[test]
fn a_killed_run_leaves_what_was_flushed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let mut recording = record(&path, &run(), None);
    recording.flush();
    let machine = Machine::new();
    recording.record((&run()[0]).into(), &machine);
    // Not dropped in order: killed.
    let bytes = fs::read(&path).expect("a file");
    let (items, error) = read(&bytes);
    assert!(error.is_none());
    assert_eq!(printed(items), text(&run(), &machine));
}

/// Nothing is idle, and yet no more than a second is lost.
#[test]
fn a_killed_run_leaves_what_is_a_second_old() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let mut recording = record(&path, &run(), None);
    for milliseconds in [5000, 5999] {
        recording.settled(milliseconds * 1_000_000);
        let (items, _) = read(&fs::read(&path).expect("a file"));
        assert_eq!(printed(items), "");
    }
    recording.settled(6_000_000_000);
    let (items, error) = read(&fs::read(&path).expect("a file"));
    assert!(error.is_none());
    assert_eq!(printed(items), text(&run(), &Machine::new()));
}

#[test]
fn an_event_is_recorded_unread_when_all_is_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let machine = Machine::new();
    let generation = machine.generation();
    let mut recording = record(&path, &[], None);
    let mut events = run();
    events.truncate(3);
    for (nth, unread) in [(0, false), (1, true), (2, true)] {
        for event in &events {
            let mut event = event.clone();
            event.event.time_ns += 10_000 * nth;
            let bytes = event.event.as_bytes();
            // Not of another machine, and not of half an event.
            assert_eq!(recording.record_unread(bytes, generation + 1), None);
            assert_eq!(recording.record_unread(&bytes[1..], generation), None);
            let row = recording.record_unread(bytes, generation);
            assert_eq!(row, unread.then_some(event.event.hook), "{nth}");
            if row.is_none() {
                recording.record((&event).into(), &machine);
            }
        }
    }
    assert_eq!(recording.recorded(), 9);
    recording.finish(Finish::default()).expect("written");
    let (items, error) = read(&fs::read(&path).expect("a file"));
    assert!(error.is_none());
    let again: Vec<_> = (0..3)
        .flat_map(|nth| {
            events.iter().cloned().map(move |mut event| {
                event.event.time_ns += 10_000 * nth;
                event
            })
        })
        .collect();
    assert_eq!(printed(items), text(&again, &machine));
}

#[test]
fn a_cut_file_names_the_place_and_keeps_what_came_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let mut recording = record(&path, &run(), None);
    recording.flush();
    let whole = fs::metadata(&path).expect("a file").len();
    recording.record((&run()[0]).into(), &Machine::new());
    recording.finish(Finish::default()).expect("written");
    let bytes = fs::read(&path).expect("a file");
    for cut in whole as usize + 1..bytes.len() {
        let (items, error) = read(&bytes[..cut]);
        assert!(
            matches!(error, Some(RecordingError::CutOff { offset }) if offset == whole),
            "{cut}: {error:?}"
        );
        assert_eq!(printed(items), text(&run(), &Machine::new()));
    }
    for cut in 0..16 {
        let (_, error) = read(&bytes[..cut]);
        assert!(matches!(error, Some(RecordingError::NotARecording)));
    }
}

#[test]
fn other_versions_are_named() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
    let (_, error) = read(&bytes);
    let error = error.expect("not version 1").to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn each_file_of_a_run_stands_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run");
    let rotation = Rotation {
        size: 1,
        keep: Some(2),
    };
    let mut recording = record(&path, &run(), Some(rotation));
    recording.flush();
    for record in &run()[..2] {
        recording.record(record.into(), &Machine::new());
    }
    recording.flush();
    recording.record((&run()[5]).into(), &Machine::new());
    recording.finish(Finish::default()).expect("written");
    assert!(!path.exists(), "the oldest is not kept");
    let part = |number: u32| {
        let bytes = fs::read(directory.path().join(format!("run.{number}"))).expect("a part");
        let (items, error) = read(&bytes);
        assert!(error.is_none());
        printed(items)
    };
    assert_eq!(part(1), text(&run()[..2], &Machine::new()));
    assert_eq!(part(2), text(&run()[5..], &Machine::new()));
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_once() {
    for path in ["/dev/full", "/no/such/directory/run"] {
        let created = Recording::create(Path::new(path), None, start(), RowSet::default());
        let error = created.err().map(|error| format!("{error:#}"));
        assert!(error.is_some_and(|error| error.contains(path)), "{path}");
    }
}

#[test]
fn names_of_rows_are_one_each() {
    let names: HashSet<_> = HOOKS.iter().map(|hook| hook.name).collect();
    assert_eq!(names.len(), HOOKS.len(), "a row is found again by its name");
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let bytes = proptest::collection::vec(any::<u8>(), 700);
    let one = (bytes, KIND_HOP..=KIND_NEIGHBOUR, 0..300_u16, 0..4_u64).prop_map(
        |(mut bytes, kind, hook, id)| {
            bytes[std::mem::offset_of!(RawEvent, kind)] = kind;
            let mut put =
                |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
            put(std::mem::offset_of!(RawEvent, hook), &hook.to_ne_bytes());
            put(std::mem::offset_of!(RawEvent, packet_id), &id.to_ne_bytes());
            let mut record = Record::parse(&bytes).expect("long enough");
            if record.event.flags & HAS_STACK == 0 {
                record.stack = None;
            }
            record
        },
    );
    proptest::collection::vec(one, 0..12)
}

proptest! {
    /// Whatever is in the records, what is printed of the recording is what is printed of them:
    /// all that a renderer asks for was learnt, and the bytes that are left out say nothing.
    #[test]
    fn any_records_are_told_again(records in records()) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run");
        let recording = record(&path, &records, None);
        prop_assert_eq!(text(&records, recording.names()), text(&records, &Machine::new()));
        recording.finish(Finish::default()).expect("written");
        let (items, error) = read(&fs::read(&path).expect("a file"));
        prop_assert!(error.is_none());
        prop_assert_eq!(printed(items), text(&records, &Machine::new()));
    }

    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut file = frame::preamble();
        file.extend_from_slice(&bytes);
        let (items, error) = read(&file);
        prop_assert!(items.is_empty() && error.is_some());
    }

    /// Content that a frame's checksum vouches for, and that no skbtrace wrote.
    #[test]
    fn any_content_ends(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0..400_usize) {
        let mut file = frame::preamble();
        let mut content = content::Content::new(0);
        content.note(&Note::Start(start()));
        let mut content = content.bytes().to_vec();
        content.extend_from_slice(&bytes);
        // The items end before the bytes, within them, or behind them.
        let length = u32::try_from(content.len() - 4 - cut.min(bytes.len())).expect("short");
        content[..4].copy_from_slice(&length.to_le_bytes());
        let mut encoder = frame::Encoder::new().expect("memory");
        file.extend_from_slice(encoder.frame(&content).expect("short"));
        let (items, error) = read(&file);
        prop_assert!(error.is_some() || items.len() <= bytes.len());
        printed(items);
    }
}
