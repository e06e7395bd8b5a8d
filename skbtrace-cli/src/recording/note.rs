//! Notes: what a recording holds besides records.

use serde::{Deserialize, Serialize};
use skbtrace_common::{
    layout::{FIELDS, Layout},
    record::Counters,
};

use crate::{
    gap::Gap,
    kernel::{
        interfaces::{Program, State},
        rulesets::{Base, Ending},
    },
    listening::Listening,
    stats::Account,
};

/// Something that the machine said, or that happened to the run. A new variant comes last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The run, or a further file of it, began.
    Start(Start),
    /// A row of the catalogue that wrote it.
    Hook {
        /// The number that records have.
        row: u16,
        /// The catalogue's name; empty for a function that had no row there.
        name: String,
        /// The function that was listened to, as it is printed.
        function: String,
        /// Only what tells journeys shows its events.
        hidden: bool,
    },
    /// What a network namespace is called.
    Netns {
        /// Inode number.
        inode: u32,
        /// `None` for one that nobody named.
        name: Option<String>,
    },
    /// What an interface is.
    Link {
        /// Inode number of its netns.
        netns: u32,
        /// Index.
        ifindex: u32,
        /// Any bytes; `None` when unknown.
        text: Option<Vec<u8>>,
    },
    /// Whether a code address is the bridge's.
    BridgeCode {
        /// The address.
        address: u64,
        /// Whether it is.
        is: bool,
    },
    /// The function that a code address is in.
    Symbol {
        /// The address.
        address: u64,
        /// `None` for one that is in no known function.
        place: Option<Place>,
    },
    /// The process that has a socket.
    Owner {
        /// Number of the socket's inode.
        inode: u64,
        /// `None` when there is none that could be found.
        process: Option<Process>,
    },
    /// What the kernel calls a drop reason.
    DropReason {
        /// The number.
        number: u32,
        /// Its name.
        name: Option<String>,
        /// Its subsystem's name.
        subsystem: Option<String>,
    },
    /// Local time.
    Zone {
        /// From this Unix time on.
        unix: i64,
        /// Seconds that it is ahead of UTC.
        seconds: i32,
    },
    /// Events were lost.
    Lost(Gap),
    /// The run ended by itself.
    Finish(Finish),
    /// How an interface is.
    Interface {
        /// Inode number of its netns.
        netns: u32,
        /// Index.
        ifindex: u32,
        /// `None` when unknown.
        state: Option<State>,
    },
    /// What the run listens to.
    Listening(Listening),
    /// What looks at an interface's packets and can drop them.
    Programs {
        /// Inode number of its netns.
        netns: u32,
        /// Index.
        ifindex: u32,
        /// In the order of their sides.
        programs: Vec<Program>,
    },
    /// What can have ended the packets that a chain drops from here on.
    Ending {
        /// The chain.
        base: Base,
        /// `None` when unknown.
        ending: Option<Ending>,
    },
    /// What ended until then was told by the names there were.
    Settled {
        /// Nanoseconds of `CLOCK_MONOTONIC`.
        until_ns: u64,
    },
}

/// The run, as far as it was known at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Of the skbtrace that wrote it.
    pub version: String,
    /// The kernel's release (`uname -r`).
    pub kernel: String,
    /// The command line, without the program.
    pub arguments: Vec<String>,
    /// What to add to `CLOCK_MONOTONIC` for Unix time, nanoseconds.
    pub unix_offset_ns: i64,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Which file of the run, from 0: each further one begins when the one before is full.
    pub part: u32,
    /// Where the kernel keeps its fields: the structure and the path joined by a dot, bytes.
    pub layout: Vec<(String, u16)>,
}

impl Start {
    /// Of a kernel that keeps its fields there.
    #[must_use]
    pub fn with_layout(mut self, layout: &Layout) -> Self {
        let mut layout = *layout;
        let names = FIELDS
            .iter()
            .map(|field| field_name(field.structure, field.path));
        let offsets = layout.slots().map(|offset| *offset);
        self.layout = names.zip(offsets).collect();
        self
    }

    /// Where the kernel kept its fields; what the file does not tell is unknown.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let mut layout = Layout::UNKNOWN;
        for (field, slot) in FIELDS.iter().zip(layout.slots()) {
            let name = field_name(field.structure, field.path);
            if let Some((_, offset)) = self.layout.iter().find(|(known, _)| *known == name) {
                *slot = *offset;
            }
        }
        layout
    }
}

fn field_name(structure: &str, path: &str) -> String {
    format!("{structure}.{path}")
}

/// A place within a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The function.
    pub function: String,
    /// Bytes from its start.
    pub offset: u64,
    /// Its module; `None` for the kernel itself.
    pub module: Option<String>,
}

/// A process that has a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// How many others have the socket too.
    pub others: u32,
    /// Its name, padded with zeros.
    pub comm: [u8; 16],
}

/// The account at the end of a run; what [`Account`] has besides the printed events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// Events in the recording, all files together.
    pub recorded: u64,
    /// Records that could not be understood.
    pub damaged: u64,
    /// Hits the kernel skipped; `None` where it does not tell.
    pub missed: Option<u64>,
    /// By CPU: hits, produced, lost, unpaired, followed, evicted.
    pub cpus: Vec<[u64; 6]>,
}

impl Finish {
    /// Of a live run.
    #[must_use]
    pub fn of(account: &Account, recorded: u64) -> Self {
        let counters = account.cpus.iter().map(|cpu| {
            let Counters {
                hits,
                produced,
                lost,
                unpaired,
                followed,
                evicted,
            } = *cpu;
            [hits, produced, lost, unpaired, followed, evicted]
        });
        Self {
            recorded,
            damaged: account.damaged,
            missed: account.missed,
            cpus: counters.collect(),
        }
    }

    /// The account of a replay.
    #[must_use]
    pub fn account(&self, printed: u64, verbose: u8) -> Account {
        let counters = self.cpus.iter().map(
            |&[hits, produced, lost, unpaired, followed, evicted]| Counters {
                hits,
                produced,
                lost,
                unpaired,
                followed,
                evicted,
            },
        );
        Account {
            printed,
            damaged: self.damaged,
            missed: self.missed,
            cpus: counters.collect(),
            verbose,
            ..Account::default()
        }
    }
}
