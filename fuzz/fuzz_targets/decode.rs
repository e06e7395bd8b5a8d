//! Any bytes as records of the kernel side, decoded and written in every format.
#![no_main]

use std::sync::{Arc, atomic::AtomicBool};

use libfuzzer_sys::fuzz_target;
use skbtrace_cli::{
    diagnosis::Options,
    output::Output,
    printer::{Printer, Printing},
    record::Record,
    recording::{Item, Learnt, Reader},
    render::{Explain, Format, JsonOptions, TableOptions, TimeFormat, TreeOptions},
    row_set::RowSet,
};
use skbtrace_fuzz::chunks;

/// For the names, and for where a kernel keeps its fields.
static KNOWN: &[u8] = include_bytes!("../../tests/data/recordings/6.12/article_1.skb");

const TIME: TimeFormat = TimeFormat::WallClock {
    unix_offset_ns: 1_700_000_000_000_000_000,
};

fn names() -> Learnt {
    let mut reader = Reader::open(KNOWN).expect("a recording");
    let mut names = Learnt::new(reader.start().layout());
    while let Some(item) = reader.next().expect("a whole recording") {
        if let Item::Note(note) = item {
            names.take(&note);
        }
    }
    names
}

thread_local! {
    static NAMES: Learnt = names();
}

fn formats() -> [Format; 5] {
    let tree = TreeOptions {
        time: TIME,
        color: false,
    };
    let table = TableOptions {
        time: TIME,
        wide: true,
        color: false,
    };
    let coloured = TableOptions {
        time: TimeFormat::SinceBoot,
        wide: false,
        color: true,
    };
    [
        Format::Table(table),
        Format::Table(coloured),
        Format::Json(JsonOptions {
            unix_offset_ns: 1_700_000_000_000_000_000,
        }),
        Format::Tree(tree),
        Format::Summary(tree),
    ]
}

fn print(format: Format, records: &[Record], names: &Learnt) -> anyhow::Result<()> {
    let output = Output::open(Some("/dev/null".as_ref()), Arc::new(AtomicBool::new(false)))?;
    let printing = Printing {
        format: Some(format),
        header: true,
        waits: true,
        hidden: RowSet::default(),
        count: None,
        // Whatever passed, rules must bear it.
        explain: Some(Explain {
            options: Options { patience_ns: 1000 },
            brief: false,
        }),
    };
    let mut printer = Printer::new(printing, output);
    printer.begin()?;
    for record in records {
        printer.event(record.into(), names)?;
    }
    printer.end(names).map(drop)
}

fuzz_target!(|bytes: &[u8]| {
    let records: Vec<Record> = chunks::split(bytes)
        .into_iter()
        .filter_map(|bytes| Record::parse(bytes).ok())
        .collect();
    NAMES.with(|names| {
        for format in formats() {
            print(format, &records, names).expect("/dev/null takes everything");
        }
    });
});
