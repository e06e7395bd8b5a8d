//! What a real tshark makes of a capture: of the recordings of the corpus, replayed with `--pcapng`.
//!
//! The corpus has the headers of each packet. Skipped where there is no tshark.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use assert_cmd::Command;

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/recordings");

/// Whether tshark can be asked.
fn is_there() -> bool {
    let there = process::Command::new("tshark").arg("--version").output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        // Not by a macro, whose words the harness keeps to itself.
        let _ = writeln!(
            io::stderr(),
            "SKIP: tshark is not installed; `cargo xtask setup` installs it"
        );
    }
    there
}

/// A capture of a recording: of its events of IP packets, with the lines that are printed of them.
struct Capture {
    _directory: tempfile::TempDir,
    path: PathBuf,
    /// Lines of the wide table.
    lines: Vec<String>,
}

impl Capture {
    fn of(recording: &Path, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trip.pcapng");
        let output = Command::new(env!("CARGO_BIN_EXE_skbtrace"))
            .env("TZ", "UTC")
            .arg("replay")
            .arg(recording)
            .args(["--wide", "--print", "--pcapng"])
            .arg(&path)
            .args(options)
            .assert()
            .success();
        let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        Self {
            _directory: directory,
            path,
            lines: text
                .lines()
                .filter(|line| line.starts_with('['))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What tshark says of each packet: these fields, and nothing on standard error.
    fn ask(&self, fields: &[&str]) -> Vec<Vec<String>> {
        let mut command = process::Command::new("tshark");
        command.args(["-n", "-T", "fields", "-E", "separator=|", "-r"]);
        command.arg(&self.path);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = command.output().expect("tshark runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<_> = said
            .lines()
            .filter(|line| !line.starts_with("Running as user"))
            .collect();
        assert!(output.status.success(), "{said}");
        assert!(complaints.is_empty(), "{complaints:?}");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| line.split('|').map(str::to_owned).collect())
            .collect()
    }
}

fn recording(kernel: &str, name: &str) -> PathBuf {
    Path::new(RECORDINGS)
        .join(kernel)
        .join(format!("{name}.skb"))
}

/// Every recording there is.
fn all() -> Vec<PathBuf> {
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path())
    };
    entries(RECORDINGS.as_ref())
        .flat_map(|kernel| entries(&kernel).collect::<Vec<_>>())
        .filter(|path| path.extension().is_some_and(|kind| kind == "skb"))
        .collect()
}

#[test]
fn tshark_reads_what_was_printed() {
    if !is_there() {
        return;
    }
    let capture = Capture::of(&recording("6.12", "article_1"), &["--proto", "udp"]);
    let packets = capture.ask(&[
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_id",
        "frame.comment",
        "frame.protocols",
        "frame.len",
        "ip.len",
        "ip.src",
        "udp.srcport",
        "ip.dst",
        "udp.dstport",
    ]);
    assert_eq!(packets.len(), capture.lines.len());
    let mut kinds = BTreeSet::new();
    let mut last = String::new();
    for (packet, line) in packets.iter().zip(&capture.lines) {
        let [
            time,
            interface,
            id,
            comment,
            protocols,
            length,
            ip_length,
            src,
            sport,
            dst,
            dport,
        ] = &packet[..]
        else {
            panic!("{packet:?}");
        };
        let cells: Vec<&str> = line.split_whitespace().collect();
        let about = format!("{packet:?}\n{line}");
        assert!(*time >= last, "{about}");
        last = time.clone();
        // The columns PKT_INFO, INTERFACE and ID, and what TRACE_INFO ends with.
        assert_eq!(
            cells[4],
            format!("U:{src}:{sport}->{dst}:{dport}"),
            "{about}"
        );
        assert!(interface.starts_with(&format!("{}@", cells[2])), "{about}");
        let (_, what) = cells[5]
            .split_once(':')
            .expect("an address and what happened");
        assert!(comment.contains(what), "{about}");
        let number = cells[12].trim_start_matches('#').split('<').next();
        assert_eq!(number, Some(id.as_str()), "{about}");
        assert!(comment.starts_with(&format!("{} ", cells[12])), "{about}");
        let before = if protocols.starts_with("eth:ethertype:ip:udp") {
            14
        } else {
            assert!(protocols.starts_with("raw:ip:udp"), "{about}");
            0
        };
        let number = |text: &str| text.parse::<u32>().expect("a number");
        assert_eq!(number(length), number(ip_length) + before, "{about}");
        kinds.insert(before);
    }
    assert_eq!(
        kinds,
        [0, 14].into(),
        "both with and without a header before IP"
    );
}

#[test]
fn tshark_tells_the_copies_apart() {
    if !is_there() {
        return;
    }
    let capture = Capture::of(&recording("7.x", "article_1"), &[]);
    let mut parents = BTreeMap::new();
    for packet in capture.ask(&["frame.packet_id", "frame.comment"]) {
        let (id, parent) = packet[1].split(' ').next().map_or(("", ""), |place| {
            place.split_once('<').unwrap_or((place, ""))
        });
        assert_eq!(id, format!("#{}", packet[0]));
        parents.insert(id.to_owned(), parent.to_owned());
    }
    let copies = parents.values().filter(|parent| *parent == "#1").count();
    assert!(copies > 0, "{parents:?}");
}

/// Whatever was recorded on whatever kernel, tshark takes the file without complaint, and sees the
/// addresses of IPv6 and both ends of a VXLAN tunnel.
#[test]
fn tshark_reads_every_recording() {
    if !is_there() {
        return;
    }
    let recordings = all();
    assert!(recordings.len() > 50);
    for path in recordings {
        let capture = Capture::of(&path, &[]);
        let packets = capture.ask(&["frame.comment", "frame.protocols", "ipv6.dst"]);
        assert!(!packets.is_empty(), "{}", path.display());
        assert!(packets.len() <= capture.lines.len(), "{}", path.display());
        for packet in &packets {
            assert!(!packet[0].is_empty(), "{}: {packet:?}", path.display());
        }
        if path.ends_with("service_ipv6.skb") {
            assert!(packets.iter().any(|packet| !packet[2].is_empty()));
        }
    }
}
