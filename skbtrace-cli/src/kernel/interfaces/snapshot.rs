//! What was found in one look at the whole machine: network namespaces by name, and their
//! interfaces.
//!
//! **Invariant:** looking never fails: a netns that may not be entered has a name and no
//! interfaces.

use std::{collections::HashMap, io, os::unix::fs::MetadataExt as _};

use rustc_hash::FxHashMap;

use super::{Listing, Program, State, netlink::Route, programs, text};
use crate::kernel::netns::{self, Netns};

/// How the interfaces of a network namespace are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetnsState {
    /// Its inode number.
    pub inode: u32,
    /// Each with its index.
    pub interfaces: Vec<(u32, State, Vec<Program>)>,
}

/// Names of network namespaces, and texts for interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By inode number.
    netns: FxHashMap<u32, String>,
    /// By inode number and index.
    links: FxHashMap<(u32, u32), Vec<u8>>,
    /// Likewise.
    states: FxHashMap<(u32, u32), State>,
    /// Likewise; only of interfaces that have any.
    programs: FxHashMap<(u32, u32), Vec<Program>>,
}

impl Snapshot {
    /// What a network namespace is called.
    #[must_use]
    pub fn netns(&self, inode: u32) -> Option<&str> {
        self.netns.get(&inode).map(String::as_str)
    }

    /// What an interface is; any bytes.
    #[must_use]
    pub fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        self.links.get(&(netns, ifindex)).map(Vec::as_slice)
    }

    /// How an interface is.
    #[must_use]
    pub fn state(&self, netns: u32, ifindex: u32) -> Option<State> {
        self.states.get(&(netns, ifindex)).copied()
    }

    /// What looks at an interface's packets and can drop them.
    #[must_use]
    pub fn programs(&self, netns: u32, ifindex: u32) -> &[Program] {
        let found = self.programs.get(&(netns, ifindex));
        found.map_or(&[], Vec::as_slice)
    }

    /// Takes over how a network namespace's interfaces are; whether that is news.
    pub fn take(&mut self, seen: &NetnsState) -> bool {
        let mut is_news = false;
        for (index, state, programs) in &seen.interfaces {
            let place = (seen.inode, *index);
            is_news |= self.states.insert(place, *state) != Some(*state);
            is_news |= self.programs(seen.inode, *index) != programs;
            if programs.is_empty() {
                self.programs.remove(&place);
            } else {
                self.programs.insert(place, programs.clone());
            }
        }
        is_news
    }

    fn of(all: &HashMap<u32, Listing>) -> Self {
        let states = all.iter().flat_map(|(inode, netns)| {
            let interfaces = netns.interfaces.values();
            interfaces.map(|interface| ((*inode, interface.index), interface.state))
        });
        let links = all.iter().flat_map(|(inode, netns)| {
            let interfaces = netns.interfaces.values();
            interfaces.map(|interface| ((*inode, interface.index), text(interface, netns, all)))
        });
        let programs = all.iter().flat_map(|(inode, netns)| {
            let programs = netns.programs.iter();
            programs.map(|(index, programs)| ((*inode, *index), programs.clone()))
        });
        let named = |(inode, netns): (&u32, &Listing)| Some((*inode, netns.name.clone()?));
        Self {
            links: links.collect(),
            states: states.collect(),
            programs: programs.collect(),
            netns: all.iter().filter_map(named).collect(),
        }
    }
}

/// What looks.
#[derive(Debug)]
pub struct Reader {
    /// Our own host name.
    host: String,
}

impl Reader {
    /// A reader for the host that this thread is on.
    #[must_use]
    pub fn new() -> Self {
        let host = netns::host_name();
        Self { host }
    }

    /// Looks. Leaves the calling thread in any network and UTS namespace, so it should be a thread
    /// that does nothing else; it may look again.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        let known = netns::known();
        let mut all = HashMap::new();
        for netns in &known {
            let mut listing = read(netns, &known).unwrap_or_default();
            listing.name = netns.call(&self.host);
            all.insert(netns.inode, listing);
        }
        Snapshot::of(&all)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// What looks at one network namespace at a time, which takes less than a hundredth of the time.
#[derive(Debug, Default)]
pub struct StateReader {
    /// The network namespaces that there were when one was not found.
    known: Vec<Netns>,
}

impl StateReader {
    /// How the interfaces of a network namespace are, by its inode number; `None` when it is not there,
    /// or may not be entered. Leaves the calling thread in it.
    pub fn read(&mut self, inode: u32) -> Option<NetnsState> {
        let find = |known: &[Netns]| {
            let netns = known.iter().find(|netns| netns.inode == inode)?;
            enter(netns).ok()
        };
        let mut route = find(&self.known).or_else(|| {
            self.known = netns::known();
            find(&self.known)
        })?;
        let interfaces = route.interfaces().ok()?;
        let mut programs = programs::read(&mut route, &interfaces);
        let interfaces = interfaces.into_values().map(|interface| {
            let programs = programs.remove(&interface.index).unwrap_or_default();
            (interface.index, interface.state, programs)
        });
        Some(NetnsState {
            inode,
            interfaces: interfaces.collect(),
        })
    }
}

/// Goes there. What a process was in is another one by now, if the number is another process's.
fn enter(netns: &Netns) -> io::Result<Route> {
    let file = netns.open()?;
    if file.metadata()?.ino() != u64::from(netns.inode) {
        return Err(io::ErrorKind::NotFound.into());
    }
    netns::enter(&file, libc::CLONE_NEWNET)?;
    Route::open()
}

fn read(netns: &Netns, known: &[Netns]) -> io::Result<Listing> {
    let mut route = enter(netns)?;
    let interfaces = route.interfaces()?;
    let mut unknown: Vec<i32> = interfaces
        .values()
        .filter_map(|interface| interface.lower_nsid)
        .filter(|nsid| *nsid >= 0)
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut neighbours = HashMap::new();
    // Asked of one after the other, until all are found: a pod's only neighbour is mostly the
    // node, which is the first.
    for other in known {
        if unknown.is_empty() {
            break;
        }
        if let Ok(file) = other.open()
            && let Ok(Some(nsid)) = route.number_of(&file)
        {
            unknown.retain(|wanted| *wanted != nsid);
            neighbours.insert(nsid, other.inode);
        }
    }
    Ok(Listing {
        name: None,
        programs: programs::read(&mut route, &interfaces),
        interfaces,
        neighbours,
    })
}
