//! Makes the inputs that fuzzing begins with: `seeds RECORDINGS CORPUS` takes the recordings under
//! the first directory, and makes one directory for each target under the second.
//!
//! All of this workspace is built to be counted by libFuzzer, so this is a target in form, which
//! ends before anything is fuzzed.
#![no_main]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use skbtrace_cli::{
    args::{self, Invocation},
    record::RecordRef,
    recording::{Item, Reader},
    replay::{self, ReplaySettings},
};
use skbtrace_common::Plain as _;
use skbtrace_fuzz::chunks;

/// Records in an input for `decode`.
const RECORDS: usize = 8;

libfuzzer_sys::fuzz_target!(init: make_and_end(), |_bytes: &[u8]| {});

fn make_and_end() {
    let made = make();
    if let Err(error) = &made {
        eprintln!("seeds: {error:#}");
    }
    std::process::exit(i32::from(made.is_err()));
}

fn make() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let recordings = arguments.next().context("no directory of recordings")?;
    let corpus = arguments.next().context("no directory for the corpus")?;
    let [replay, decode, btf] = ["replay", "decode", "btf"].map(|target| corpus.join(target));
    for directory in [&replay, &decode, &btf] {
        fs::create_dir_all(directory)?;
    }
    let mut kinds = HashSet::new();
    for kernel in fs::read_dir(&recordings).context("no recordings")? {
        let kernel = kernel?;
        for file in fs::read_dir(kernel.path())? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "skb") {
                continue;
            }
            let name = format!(
                "{}-{}",
                kernel.file_name().display(),
                path.file_stem().unwrap_or_default().display()
            );
            fs::copy(&path, replay.join(&name))?;
            record_again(&path, &replay.join(format!("{name}-again")))
                .with_context(|| path.display().to_string())?;
            records(&path, &decode, &name, &mut kinds)
                .with_context(|| path.display().to_string())?;
        }
    }
    fs::write(
        btf.join("every-kind"),
        chunks::join([&kernel_types()[..], &module_types()]),
    )?;
    Ok(())
}

/// What a recording holds, in the version that is written: the recording may be of an older one.
fn record_again(path: &Path, to: &Path) -> Result<()> {
    let words = [
        "skbtrace".as_ref(),
        "replay".as_ref(),
        path,
        "-w".as_ref(),
        to,
    ];
    match args::parse(&words.map(Path::as_os_str)) {
        Ok(Invocation::Replay(args)) => replay::run(&ReplaySettings::try_from(args)?).map(drop),
        _ => bail!("not the arguments of a replay"),
    }
}

/// Some records of a recording, of each hook and kind one.
fn records(
    path: &Path,
    directory: &Path,
    name: &str,
    kinds: &mut HashSet<(u16, u8)>,
) -> Result<()> {
    let mut reader = Reader::open(fs::File::open(path)?)?;
    let mut records = Vec::new();
    while let Some(item) = reader.next()? {
        if let Item::Record(record) = item
            && kinds.insert((record.event.hook, record.event.kind))
        {
            let mut bytes = record.event.as_bytes().to_vec();
            RecordRef::from(&record).push_behind(&mut bytes);
            records.push(bytes);
        }
    }
    for (number, records) in records.chunks(RECORDS).enumerate() {
        let input = chunks::join(records.iter().map(Vec::as_slice));
        fs::write(directory.join(format!("{name}-{number}")), input)?;
    }
    Ok(())
}

/// A section of types given as words, and of strings.
fn section(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = |bytes: &[u8]| bytes.len() as u32;
    let header = [24, 0, length(&types), length(&types), length(strings)];
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    bytes.extend(header.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend_from_slice(&types);
    bytes.extend_from_slice(strings);
    bytes
}

/// One type of every kind (Documentation/bpf/btf.rst).
fn kernel_types() -> Vec<u8> {
    const NAMES: &[u8] = b"\0sk_buff\0mark\0ip_rcv\0skb_drop_reason\0ONE\0";
    let [sk_buff, mark, ip_rcv, reason, one]: [u32; 5] = [1, 9, 14, 21, 37];
    let kind = |kind: u32, length: u32| kind << 24 | length;
    let types = [
        [one, kind(1, 0), 4, 32].as_slice(),
        &[sk_buff, kind(4, 2), 16, mark, 1, 0, one, 8, 64],
        &[0, kind(2, 0), 2],
        &[0, kind(3, 0), 0, 1, 1, 4],
        &[0, kind(5, 1), 4, mark, 1, 0],
        &[reason, kind(6, 1), 4, one, 1],
        &[mark, kind(7, 0), 0],
        &[mark, kind(8, 0), 1],
        &[0, kind(9, 0), 8],
        &[0, kind(10, 0), 9],
        &[0, kind(11, 0), 10],
        &[0, kind(13, 2), 1, mark, 3, 0, 10],
        &[ip_rcv, kind(12, 1), 12],
        &[mark, kind(14, 0), 1, 1],
        &[mark, kind(15, 1), 4, 14, 0, 4],
        &[mark, kind(16, 0), 8],
        &[mark, kind(17, 0), 2, 0],
        &[mark, kind(18, 0), 2],
        &[reason, kind(19, 1), 8, one, 1, 1],
    ]
    .concat();
    section(&types, NAMES)
}

/// A module's, whose function takes the kernel's structure.
fn module_types() -> Vec<u8> {
    let types = [[0, 13 << 24 | 1, 0, 0, 3].as_slice(), &[42, 12 << 24, 20]].concat();
    section(&types, b"nft\0")
}
