//! Recordings of the network models, one a model and a kernel (made by `cargo xtask corpus`): their trees
//! with what is explained, which is nothing, as nothing is wrong.
//!
//! Snapshots are in snapshots/models, of one kernel; the other kernels tell the same ways, by other
//! functions here and there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;

/// The kernel whose trees are snapshots.
const SHOWN: &str = "6.12";
/// How many models there are.
const MODELS: usize = 8;

/// The trees of every model, by kernel and name.
fn trees() -> BTreeMap<String, BTreeMap<String, String>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/recordings");
    let name = |path: &Path| {
        path.file_stem()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let kernels = entries(directory.as_ref()).into_iter().map(|kernel| {
        let models = entries(&kernel).into_iter().filter_map(|file| {
            let model = name(&file)?.strip_prefix("model_")?.to_owned();
            Some((model, tree(&file)))
        });
        let kernel = kernel.file_name().expect("a name").to_string_lossy();
        (kernel.into_owned(), models.collect())
    });
    kernels.collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("cargo xtask corpus was run");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn tree(file: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        // Local time is the recording's.
        .env("TZ", "Asia/Kathmandu")
        .arg("replay")
        .arg(file)
        .args(["--explain", "--format", "tree"])
        .timeout(std::time::Duration::from_secs(60))
        .output()
        .expect("it ran");
    assert!(output.status.success(), "{}", file.display());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_is_shown() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/models");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let trees = trees();
    assert_eq!(trees[SHOWN].len(), MODELS);
    settings.bind(|| {
        for (model, tree) in &trees[SHOWN] {
            insta::assert_snapshot!(model.as_str(), tree);
        }
    });
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for (kernel, trees) in trees() {
        for (model, tree) in trees {
            assert!(!tree.contains("FINDING"), "{kernel} {model}:\n{tree}");
        }
    }
}

#[test]
fn every_kernel_tells_the_same_ways() {
    let trees = trees();
    assert!(trees.len() >= 4, "{} kernels", trees.len());
    for (kernel, models) in &trees {
        let names: Vec<_> = models.keys().collect();
        assert_eq!(names, trees[SHOWN].keys().collect::<Vec<_>>(), "{kernel}");
        for (model, tree) in models {
            let expected = ways(&trees[SHOWN][model]);
            assert_eq!(ways(tree), expected, "{kernel} {model}:\n{tree}");
        }
    }
}

/// What of the trees is the same on every kernel: the packets with who sent them, the network namespaces
/// that they pass, what becomes of their headers, and their ends. Trees come as packets end, and which
/// of them ends first may differ.
fn ways(trees: &str) -> Vec<Vec<String>> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in way(trees) {
        match blocks.last_mut() {
            Some(block) if !line.starts_with('#') => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks.sort();
    blocks
}

fn way(trees: &str) -> Vec<String> {
    let lines = trees.lines().filter_map(|line| {
        let text = line.trim_start_matches(['|', ' ']);
        if let Some((_, heading)) = text.strip_prefix('[').and_then(|text| text.split_once(' ')) {
            // Its number, the packet, whose it is; how long it took; what became of it.
            let (packet, rest) = heading.split_once(", ")?;
            let (_, fate) = rest.split_once(", ")?;
            return Some(format!("{packet}: {fate}"));
        }
        if let Some(netns) = text.strip_prefix("netns ") {
            let role = netns.rsplit('-').next()?;
            return Some(format!("in {role}"));
        }
        if let Some((change, _)) = text.split_once(" before ") {
            return Some(change.to_owned());
        }
        (text.contains(" => ") || text.starts_with("end: ")).then(|| text.to_owned())
    });
    lines.map(|line| without_numbers(&line)).collect()
}

/// Without the numbers of processes, and without ports that are nobody's choice: those that a tunnel
/// sends from.
fn without_numbers(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let word = word.split('[').next().unwrap_or(word);
        match word.split_once("->") {
            Some((from, to)) if to.ends_with(":4789") && !from.ends_with(":4789") => {
                let address = from.rsplit_once(':').map_or(from, |(address, _)| address);
                format!("{address}->{to}")
            }
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
