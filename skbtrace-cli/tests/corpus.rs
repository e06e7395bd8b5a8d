//! The corpus (tests/data/recordings, made by `cargo xtask corpus`), replayed: small recordings of
//! every kernel, each with what its run printed.
//!
//! Snapshots are in snapshots/corpus: of one kernel in every format, of the others in two.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, LazyLock},
};

use assert_cmd::Command;
use serde_json::Value;
use skbtrace_cli::{
    output,
    printer::{Printer, Printing},
    recording::{Item, Learnt, Note, Reader, RecordingError, VERSION},
    render::{Format, TableOptions, TimeFormat},
    replay::rows::Rows,
    row_set::RowSet,
};

/// The kernel whose recordings have all snapshots.
const ALL_FORMATS: &str = "6.12";

/// The recordings whose runs explained.
const EXPLAINED: [&str; 3] = ["native_bgp", "two_machines_first", "two_machines_second"];

/// A recording.
struct Recording {
    kernel: String,
    name: String,
    path: PathBuf,
    /// What the run printed, in wide columns.
    live: String,
}

static CORPUS: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/recordings");
    let mut recordings = Vec::new();
    for kernel in entries(directory.as_ref()) {
        for path in entries(&kernel) {
            // Beside what its run printed; what is explained has tests of its own.
            let live = path.with_extension("wide");
            if path.extension().is_some_and(|kind| kind == "skb") && live.exists() {
                let name = |path: &Path| {
                    let name = path.file_name().expect("a name").to_string_lossy();
                    name.trim_end_matches(".skb").to_owned()
                };
                recordings.push(Recording {
                    kernel: name(&kernel),
                    name: name(&path),
                    live: fs::read_to_string(live).expect("what the run printed"),
                    path,
                });
            }
        }
    }
    recordings
});

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("cargo xtask corpus was run");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

impl Recording {
    fn replay(&self, options: &[&str]) -> Output {
        replay(&self.path, options)
    }

    /// What a replay that succeeds prints.
    fn printed(&self, options: &[&str]) -> String {
        let output = self.replay(options);
        assert!(output.status.success(), "{self}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl std::fmt::Display for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kernel, self.name)
    }
}

fn replay(file: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        // Local time is the recording's.
        .env("TZ", "Asia/Kathmandu")
        .arg("replay")
        .arg(file)
        .args(options)
        .timeout(std::time::Duration::from_secs(60))
        .output()
        .expect("it ran")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Lines of events.
fn events(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('[')).collect()
}

#[test]
fn every_kernel_has_the_same_recordings() {
    let kernels: HashSet<&str> = CORPUS.iter().map(|one| &*one.kernel).collect();
    let names: HashSet<&str> = CORPUS.iter().map(|one| &*one.name).collect();
    assert!(
        kernels.len() >= 4 && names.len() >= 15,
        "{kernels:?} {names:?}"
    );
    assert_eq!(CORPUS.len(), kernels.len() * names.len());
}

#[test]
fn replays_print_what_was_printed_live() {
    for recording in CORPUS.iter() {
        let replayed = recording.printed(&["--wide"]);
        let mut lines = recording.live.lines().zip(replayed.lines());
        if let Some((live, replayed)) = lines.find(|(live, replayed)| live != replayed) {
            panic!("{recording}, live and replayed:\n{live}\n{replayed}");
        }
        assert_eq!(recording.live.len(), replayed.len(), "{recording}: the end");
        assert!(!events(&replayed).is_empty(), "{recording} has no events");
    }
}

/// A file of each version that is no longer written is kept, beside what its run printed.
#[test]
fn older_versions_are_read() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/older");
    let mut files = entries(directory.as_ref());
    files.retain(|path| path.extension().is_some_and(|kind| kind == "skb"));
    assert_eq!(files.len() as u32, VERSION - 1);
    for (file, version) in files.iter().zip(1_u32..) {
        let bytes = fs::read(file).expect("kept");
        assert_eq!(bytes.get(8..12), Some(&version.to_le_bytes()[..]));
        let output = replay(file, &["--wide"]);
        assert!(output.status.success(), "{version}: {}", said(&output));
        let live = fs::read(file.with_extension("wide")).expect("kept");
        assert!(output.stdout == live, "{version}");
    }
}

#[test]
fn formats() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/corpus");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for recording in CORPUS.iter() {
            let formats: &[&str] = if recording.kernel == ALL_FORMATS {
                &["table", "json", "tree", "summary"]
            } else {
                &["table", "tree"]
            };
            for format in formats {
                let name = format!("{}-{}-{format}", recording.kernel, recording.name);
                let mut text = recording.printed(&["--format", format]);
                if *format == "json" {
                    text = shapes(&text);
                }
                insta::assert_snapshot!(name, text);
            }
        }
    });
}

/// Those of runs that explained, explained again: each packet's way as `cargo xtask demo` shows it, and
/// nothing that is wrong.
#[test]
fn explained_trees() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/corpus");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for recording in CORPUS.iter().filter(|one| EXPLAINED.contains(&&*one.name)) {
            let text = recording.printed(&["--format", "tree", "--explain"]);
            assert!(!text.contains("FINDING"), "{recording}: {text}");
            if recording.kernel == ALL_FORMATS {
                insta::assert_snapshot!(
                    format!("{ALL_FORMATS}-{}-explained", recording.name),
                    text
                );
            }
        }
    });
}

/// Of lines of JSON, the first of each kind that has the same values unknown, and the sum of all.
fn shapes(text: &str) -> String {
    let mut seen = HashSet::new();
    let mut first = |line: &&str| {
        let Value::Object(line) = serde_json::from_str(line).expect("JSON") else {
            panic!("no object: {line}");
        };
        let known = line.iter().filter(|(_, value)| !value.is_null());
        let known: Vec<String> = known.map(|(key, _)| key.clone()).collect();
        seen.insert((line.get("event").cloned(), known))
    };
    let mut lines: Vec<&str> = text.lines().filter(&mut first).collect();
    let sum = crc32fast::hash(text.as_bytes());
    let all = format!("all {} lines: CRC-32 {sum:08x}", text.lines().count());
    lines.push(&all);
    lines.join("\n")
}

#[test]
fn lines_of_json_follow_the_schema() {
    let schema = Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        .arg("schema")
        .output()
        .expect("it ran");
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    for recording in CORPUS.iter() {
        let text = recording.printed(&["--format", "json"]);
        let mut told = 0;
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            if let Err(error) = validator.validate(&value) {
                panic!("{recording}: {error} at {}\n{line}", error.instance_path());
            }
            told += usize::from(value["type"] == "event");
        }
        assert_eq!(told, events(&recording.live).len(), "{recording}");
    }
}

/// An account of what was lost is not only among the events.
#[test]
fn losses_are_told() {
    for recording in CORPUS.iter() {
        let said = said(&recording.replay(&[]));
        let none = said.contains(" 0 lost");
        assert_eq!(none, recording.name != "lost", "{recording}: {said}");
    }
}

/// A replay in this very process, which is quick and says nothing: what is printed to a file, and how
/// the recording ends.
fn replay_here(bytes: &[u8], printed: &Path) -> Result<String, RecordingError> {
    let mut reader = Reader::open(bytes)?;
    let mut names = Learnt::new(reader.start().layout());
    let mut rows = Rows::default();
    let table = TableOptions {
        time: TimeFormat::WallClock {
            unix_offset_ns: reader.start().unix_offset_ns,
        },
        wide: true,
        color: false,
    };
    let printing = Printing {
        format: Some(Format::Table(table)),
        header: true,
        waits: true,
        hidden: RowSet::default(),
        count: None,
        explain: None,
    };
    let output = output::Output::open(Some(printed), Arc::default()).expect("a file");
    let mut printer = Printer::new(printing, output);
    printer.begin().expect("it prints");
    let ending = loop {
        match reader.next() {
            Ok(Some(Item::Record(mut record))) => {
                rows.translate(&mut record);
                printer.event((&record).into(), &names).expect("it prints");
            }
            Ok(Some(Item::Note(Note::Lost(gap)))) => printer.lost(&gap, &names),
            Ok(Some(Item::Note(mut note))) => {
                if let Note::Hook {
                    row,
                    name,
                    function,
                    hidden,
                } = &mut note
                {
                    *row = rows.learn(*row, name, function);
                    if *hidden {
                        printer.hide(*row);
                    }
                }
                names.take(&note);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    printer.end(&names).expect("it prints");
    ending.map(|()| fs::read_to_string(printed).expect("text"))
}

/// Replays a damaged file: an error names the place, and what was printed before it is as it was.
fn damaged(recording: &Recording, directory: &Path, what: &str, bytes: &[u8], may_end: bool) {
    let file = directory.join("printed");
    fs::write(&file, "").expect("a file");
    let ending = replay_here(bytes, &file);
    let printed = fs::read_to_string(&file).expect("text");
    let about = format!("{recording}, {what}: {:?}", ending.as_ref().err());
    assert!(recording.live.starts_with(&printed), "{about}\n{printed}");
    match ending {
        Ok(all) => assert!(may_end || all == recording.live, "{about}\n{all}"),
        Err(RecordingError::NotARecording) => assert!(printed.is_empty(), "{about}"),
        Err(error) => {
            let said = error.to_string();
            assert!(
                said.contains(" at byte ") || said.contains(" version "),
                "{about}"
            );
        }
    }
}

#[test]
fn files_that_are_cut_off() {
    let directory = tempfile::tempdir().expect("a directory");
    for recording in CORPUS.iter() {
        let bytes = fs::read(&recording.path).expect("a recording");
        for length in (0..bytes.len()).step_by(97) {
            let what = format!("{length} of {} bytes", bytes.len());
            damaged(recording, directory.path(), &what, &bytes[..length], true);
        }
    }
}

#[test]
fn files_with_a_bit_flipped() {
    let directory = tempfile::tempdir().expect("a directory");
    for recording in CORPUS.iter() {
        let mut bytes = fs::read(&recording.path).expect("a recording");
        for at in (0..bytes.len()).step_by(101) {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            damaged(
                recording,
                directory.path(),
                &format!("bit {bit:#x} of byte {at}"),
                &bytes,
                false,
            );
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn recorded_again() {
    let directory = tempfile::tempdir().expect("a directory");
    for recording in CORPUS.iter() {
        let again = directory.path().join("again.skb");
        let path = again.to_str().expect("text");
        recording.printed(&["-w", path]);
        for options in [
            &["--wide"][..],
            &["--format", "json"],
            &["--format", "tree"],
        ] {
            let output = replay(&again, options);
            assert!(output.status.success(), "{recording}: {}", said(&output));
            let replayed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(recording.printed(options), replayed, "{recording}");
        }
    }
}

#[test]
fn filters_leave_lines_out() {
    let filters = [
        &["-H", "10.72.1.2,172.18.0.15,10.71.0.1"][..],
        &["--no-follow", "--dport", "9999"],
        &["--proto", "tcp"],
        &["--set", "nat,drop,qdisc"],
        &["--set", "iptable,nft,conntrack"],
        &["--func", "^ip_"],
        &["-i", "eth0"],
    ];
    let (mut some, mut fewer) = (HashSet::new(), HashSet::new());
    for recording in CORPUS.iter() {
        let all = events(&recording.live);
        for options in filters {
            let output = recording.replay(&[options, &["--wide"]].concat());
            let printed = String::from_utf8_lossy(&output.stdout);
            let shown = events(&printed);
            let about = format!("{recording} {options:?}: {}", said(&output));
            let code = i32::from(shown.is_empty());
            assert_eq!(output.status.code(), Some(code), "{about}");
            let mut rest = all.iter();
            for line in &shown {
                // In the same order.
                assert!(
                    rest.any(|other| identityless(other) == identityless(line)),
                    "{about}{line}"
                );
            }
            if !shown.is_empty() {
                some.insert(options);
            }
            if shown.len() < all.len() {
                fewer.insert(options);
            }
        }
    }
    for options in filters {
        assert!(some.contains(options), "{options:?} leaves out all");
        assert!(fewer.contains(options), "{options:?} leaves out nothing");
    }
}

/// A line without the number of its packet, which counts those that are shown.
fn identityless(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line)
}
