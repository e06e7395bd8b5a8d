//! Sockets' owners: which process has a socket open, by the number of the socket's inode.
//!
//! The kernel does not keep it, so all of `/proc/PID/fd` is read, and what was found of every socket
//! is kept.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use rustc_hash::FxHashMap;

use crate::{allowance::Allowance, event::Process};

/// The sockets of this machine and who has them, as far as they were asked for.
#[derive(Debug)]
pub struct Owners {
    /// By inode; `None` of a socket that no process was found to have.
    known: FxHashMap<u64, Option<Process>>,
    searching: Allowance,
}

impl Owners {
    /// What searches may take at once, and what part of all the time: sockets that come faster than
    /// they can be searched for stay unknown for a while.
    const AT_ONCE: Duration = Duration::from_secs(1);
    const PART: u32 = 10;

    /// The owners that there are now.
    #[must_use]
    pub fn read() -> Self {
        let mut owners = Self::none();
        owners.search();
        owners
    }

    fn none() -> Self {
        Self {
            known: FxHashMap::default(),
            searching: Allowance::of(Self::AT_ONCE, Self::PART),
        }
    }

    /// Who has a socket. One that is not known is searched for, once.
    pub fn find(&mut self, inode: u64) -> Option<Process> {
        if let Some(known) = self.known.get(&inode) {
            return *known;
        }
        if !self.searching.is_left() {
            return None;
        }
        self.search();
        *self.known.entry(inode).or_insert(None)
    }

    fn search(&mut self) {
        let found = self.searching.spend(|| found_in(Path::new("/proc")));
        let found = found.into_iter();
        self.known
            .extend(found.map(|(inode, process)| (inode, Some(process))));
    }
}

/// Every socket that a process has open, by inode. What may not be looked at, or is gone before it
/// is, is not there.
fn found_in(proc: &Path) -> HashMap<u64, Process> {
    let mut pids: Vec<u32> = fs::read_dir(proc)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut found = HashMap::<u64, Process>::new();
    for pid in pids {
        let directory = proc.join(pid.to_string());
        let files = fs::read_dir(directory.join("fd")).into_iter().flatten();
        let mut sockets: Vec<u64> = files
            .flatten()
            .filter_map(|file| socket_inode(fs::read_link(file.path()).ok()?.to_str()?))
            .collect();
        sockets.sort_unstable();
        sockets.dedup();
        if sockets.is_empty() {
            continue;
        }
        let process = Process {
            pid,
            others: 0,
            comm: comm(&directory),
        };
        for inode in sockets {
            found
                .entry(inode)
                .and_modify(|first| first.others += 1)
                .or_insert(process);
        }
    }
    found
}

/// The number in `socket:[4711]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// What a process is called; empty when it has gone.
fn comm(directory: &Path) -> [u8; 16] {
    let text = fs::read(directory.join("comm")).unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(text) {
        *to = *from;
    }
    comm
}

#[cfg(test)]
mod tests;
