//! Recordings of everything that is explained, one a kernel (made by `cargo xtask corpus`, from the
//! scenes of the trials): what a replay tells, and that it is what the run told.

use std::{collections::BTreeSet, fs, path::PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use skbtrace_cli::diagnosis::RULES;

/// As the runs were told.
const OPTIONS: [&str; 3] = ["--explain", "--slow", "3"];

/// A kernel's recording, and what its run told.
fn recordings() -> Vec<(String, PathBuf, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/recordings");
    let kernels = fs::read_dir(directory).expect("cargo xtask corpus was run");
    let mut recordings: Vec<_> = kernels
        .map(|kernel| {
            let kernel = kernel.expect("an entry");
            let file = kernel.path().join("explained.skb");
            let told = fs::read_to_string(file.with_extension("told")).expect("what was told");
            let name = kernel.file_name().to_string_lossy().into_owned();
            (name, file, told)
        })
        .collect();
    recordings.sort();
    recordings
}

fn replay(file: &PathBuf, options: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        .env("TZ", "Asia/Kathmandu")
        .arg("replay")
        .arg(file)
        .args(OPTIONS)
        .args(options)
        .output()
        .expect("it ran");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), text)
}

/// The rules in lines of findings.
fn rules(text: &str) -> BTreeSet<&str> {
    let findings = text
        .lines()
        .filter_map(|line| line.strip_prefix("FINDING "));
    findings.filter_map(|rest| rest.split(' ').next()).collect()
}

#[test]
fn a_replay_tells_what_the_run_told() {
    for (kernel, file, told) in recordings() {
        let (code, text) = replay(&file, &[]);
        assert_eq!(code, Some(0), "{kernel}");
        let lines = text.lines().skip(1).filter(|line| !line.starts_with('['));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.join("\n"), told.trim_end(), "{kernel}");
    }
}

#[test]
fn every_rule_is_provoked() {
    let recordings = recordings();
    let provoked: BTreeSet<&str> = recordings
        .iter()
        .flat_map(|(.., told)| rules(told))
        .collect();
    for rule in RULES {
        assert!(provoked.contains(rule.id), "{}", rule.id);
    }
    for rule in provoked {
        assert!(RULES.iter().any(|known| known.id == rule), "{rule}");
    }
}

/// One sentence each, which later versions may better, and must not lose.
#[test]
fn sentences() {
    for (kernel, file, _) in recordings() {
        let (_, text) = replay(&file, &["--brief"]);
        let findings: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("FINDING "))
            .collect();
        insta::assert_snapshot!(format!("{kernel}-findings"), findings.join("\n"));
    }
}

#[test]
fn formats_agree_on_what_is_found() {
    for (kernel, file, told) in recordings() {
        let expected = rules(&told);
        for format in ["wide", "tree", "summary"] {
            let (_, text) = replay(&file, &["--format", format]);
            assert_eq!(rules(&text), expected, "{kernel} {format}");
        }
        let (_, text) = replay(&file, &["--format", "json"]);
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line
        });
        let lines: Vec<Value> = lines.filter(|line| line["type"] == "finding").collect();
        let found: BTreeSet<&str> = lines
            .iter()
            .filter_map(|line| line["rule"].as_str())
            .collect();
        assert_eq!(found, expected, "{kernel} json");
        for line in &lines {
            assert!(!line["evidence"].as_array().expect("events").is_empty());
        }
    }
}

#[test]
fn the_exit_code_tells() {
    let recordings = recordings();
    let (_, file, _) = recordings.first().expect("a kernel");
    assert_eq!(replay(file, &["--exit-code", "--brief"]).0, Some(3));
    // Of those that arrive nothing is to be said.
    let none = ["--exit-code", "--src", "10.71.0.1", "--dport", "7777"];
    assert_eq!(replay(file, &none).0, Some(1));
}

/// The rules and the page about them are about the same.
#[test]
fn the_page_lists_every_rule() {
    let page = include_str!("../../docs/diagnosis.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let known: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(listed, known);
}
