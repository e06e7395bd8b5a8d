//! Any file given to `skbtrace replay`, in every format, filtered, and recorded again.
#![no_main]

use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::{cell::RefCell, fs::File};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use skbtrace_cli::args::{self, Invocation};
use skbtrace_cli::replay::{self, ReplaySettings};
use skbtrace_fuzz::recording::{pack, unpack};

/// Options of the replays; `-w` gets a file of memory.
const WAYS: &[&[&str]] = &[
    &["--wide"],
    &["--format", "json"],
    &["--format", "tree"],
    &["--format", "summary"],
    &[
        "--timestamp",
        "-H",
        "10.0.0.0/8",
        "--set",
        "route,drop,life",
    ],
    &[
        "-P", "9999", "--mark", "0/1", "--iface", "eth0", "--color", "always",
    ],
    &["--pcapng", "/dev/null"],
    &["-w"],
];

/// The replays of a file of memory, whose bytes change.
struct Replays {
    input: File,
    ways: Vec<ReplaySettings>,
    /// Kept open for `-w`.
    _output: File,
}

impl Replays {
    fn new() -> Self {
        let memory = || File::from(memfd_create(c"fuzz", MFdFlags::empty()).expect("memory"));
        let (input, output) = (memory(), memory());
        let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
        let settings = |options: &&[&str]| {
            let mut line = vec!["skbtrace".to_owned(), "replay".to_owned(), path(&input)];
            line.extend(["-o", "/dev/null"].map(str::to_owned));
            line.extend(options.iter().map(|&option| option.to_owned()));
            if options.contains(&"-w") {
                line.push(path(&output));
            }
            match args::parse(&line) {
                Ok(Invocation::Replay(args)) => ReplaySettings::try_from(args).expect("settings"),
                other => panic!("{line:?}: {other:?}"),
            }
        };
        Self {
            ways: WAYS.iter().map(settings).collect(),
            input,
            _output: output,
        }
    }

    fn of(&mut self, file: &[u8]) {
        self.input.set_len(0).expect("memory");
        self.input.rewind().expect("memory");
        self.input.write_all(file).expect("memory");
        for settings in &self.ways {
            // An error is an answer too.
            let _ = replay::run(settings);
        }
    }
}

thread_local! {
    static REPLAYS: RefCell<Replays> = RefCell::new(Replays::new());
}

fuzz_target!(|file: &[u8]| REPLAYS.with_borrow_mut(|replays| replays.of(file)));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Now and then the frame itself.
    if seed % 8 != 0
        && let Some(file) = mutate_content(&data[..size])
        && let Some(place) = data
            .get_mut(..file.len())
            .filter(|_| file.len() <= max_size)
    {
        place.copy_from_slice(&file);
        return file.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fn mutate_content(file: &[u8]) -> Option<Vec<u8>> {
    let (version, mut content) = unpack(file)?;
    let size = content.len();
    content.resize(size + 256, 0);
    let most = content.len();
    let size = fuzzer_mutate(&mut content, size, most);
    pack(version, &content[..size])
}
