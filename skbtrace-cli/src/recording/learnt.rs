//! What the machine answered, as plain data.

use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashMap;

use skbtrace_common::layout::Layout;

use super::note::{self, Note, Place};
use crate::{
    decode::Names,
    event::{Process, Symbol},
    kernel::{
        interfaces::{Program, State},
        rulesets::{Base, Ending, Question},
    },
    listening::Listening,
};

/// The answers that were noted, which decoding and rendering then go by.
pub struct Learnt {
    /// By row.
    pub(super) hooks: Vec<Option<HookNote>>,
    pub(super) netns: FxHashMap<u32, Option<String>>,
    pub(super) links: FxHashMap<(u32, u32), Option<Vec<u8>>>,
    pub(super) states: FxHashMap<(u32, u32), Option<State>>,
    /// Of interfaces that have, or had, any.
    programs: FxHashMap<(u32, u32), Vec<Program>>,
    pub(super) bridge: FxHashMap<u64, bool>,
    pub(super) symbols: FxHashMap<u64, Option<Place>>,
    pub(super) owners: FxHashMap<u64, Option<note::Process>>,
    pub(super) reasons: FxHashMap<u32, (Option<String>, Option<String>)>,
    /// Of the last packet that was dropped there.
    pub(super) endings: HashMap<Base, Option<Ending>>,
    pub(super) zones: BTreeMap<i64, i32>,
    /// How often a netns, a link, a state or programs were noted.
    generation: u64,
    listening: Option<Listening>,
    layout: Layout,
}

/// What is known of a row.
pub(super) struct HookNote {
    pub name: String,
    pub function: String,
    pub hidden: bool,
}

impl Learnt {
    /// Nothing yet, of a kernel that keeps its fields there.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            hooks: Vec::new(),
            netns: FxHashMap::default(),
            links: FxHashMap::default(),
            states: FxHashMap::default(),
            programs: FxHashMap::default(),
            bridge: FxHashMap::default(),
            symbols: FxHashMap::default(),
            owners: FxHashMap::default(),
            reasons: FxHashMap::default(),
            endings: HashMap::new(),
            zones: BTreeMap::new(),
            generation: 0,
            listening: None,
            layout,
        }
    }

    /// Takes a note over; what is not an answer is left alone.
    pub fn take(&mut self, note: &Note) {
        match note.clone() {
            Note::Hook {
                row,
                name,
                function,
                hidden,
            } => {
                let row = usize::from(row);
                if self.hooks.len() <= row {
                    self.hooks.resize_with(row + 1, || None);
                }
                self.hooks[row] = Some(HookNote {
                    name,
                    function,
                    hidden,
                });
            }
            Note::Netns { inode, name } => {
                self.generation += 1;
                self.netns.insert(inode, name);
            }
            Note::Link {
                netns,
                ifindex,
                text,
            } => {
                self.generation += 1;
                self.links.insert((netns, ifindex), text);
            }
            Note::Interface {
                netns,
                ifindex,
                state,
            } => {
                self.generation += 1;
                self.states.insert((netns, ifindex), state);
            }
            Note::Programs {
                netns,
                ifindex,
                programs,
            } => {
                self.generation += 1;
                self.programs.insert((netns, ifindex), programs);
            }
            Note::BridgeCode { address, is } => {
                self.bridge.insert(address, is);
            }
            Note::Symbol { address, place } => {
                self.symbols.insert(address, place);
            }
            Note::Owner { inode, process } => {
                self.owners.insert(inode, process);
            }
            Note::DropReason {
                number,
                name,
                subsystem,
            } => {
                self.reasons.insert(number, (name, subsystem));
            }
            Note::Zone { unix, seconds } => {
                self.zones.insert(unix, seconds);
            }
            Note::Listening(listening) => self.listening = Some(listening),
            Note::Ending { base, ending } => {
                self.endings.insert(base, ending);
            }
            Note::Start(_) | Note::Lost(_) | Note::Finish(_) | Note::Settled { .. } => {}
        }
    }

    /// Interfaces that were noted, by netns and index.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        self.links.keys().copied()
    }

    /// All of it as notes again: what a further file begins with.
    pub(super) fn notes(&self) -> Vec<Note> {
        let hooks = self.hooks.iter().enumerate().filter_map(|(row, hook)| {
            let hook = hook.as_ref()?;
            Some(Note::Hook {
                row: u16::try_from(row).ok()?,
                name: hook.name.clone(),
                function: hook.function.clone(),
                hidden: hook.hidden,
            })
        });
        let netns = self.netns.iter().map(|(&inode, name)| Note::Netns {
            inode,
            name: name.clone(),
        });
        let links = self.links.iter();
        let links = links.map(|(&(netns, ifindex), text)| Note::Link {
            netns,
            ifindex,
            text: text.clone(),
        });
        let states = self.states.iter();
        let states = states.map(|(&(netns, ifindex), &state)| Note::Interface {
            netns,
            ifindex,
            state,
        });
        let programs = self.programs.iter();
        let programs = programs.map(|(&(netns, ifindex), programs)| Note::Programs {
            netns,
            ifindex,
            programs: programs.clone(),
        });
        let bridge = self.bridge.iter();
        let bridge = bridge.map(|(&address, &is)| Note::BridgeCode { address, is });
        let symbols = self.symbols.iter().map(|(&address, place)| Note::Symbol {
            address,
            place: place.clone(),
        });
        let owners = self.owners.iter();
        let owners = owners.map(|(&inode, &process)| Note::Owner { inode, process });
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|(&number, (name, subsystem))| Note::DropReason {
            number,
            name: name.clone(),
            subsystem: subsystem.clone(),
        });
        let endings = self.endings.iter();
        let endings = endings.map(|(base, ending)| Note::Ending {
            base: base.clone(),
            ending: ending.clone(),
        });
        let zones = self.zones.iter();
        let zones = zones.map(|(&unix, &seconds)| Note::Zone { unix, seconds });
        hooks
            .chain(netns)
            .chain(links)
            .chain(states)
            .chain(programs)
            .chain(bridge)
            .chain(symbols)
            .chain(owners)
            .chain(reasons)
            .chain(endings)
            .chain(zones)
            .chain(self.listening.clone().map(Note::Listening))
            .collect()
    }
}

impl Names for Learnt {
    fn hook(&self, row: u16) -> &str {
        let known = self.hooks.get(usize::from(row)).and_then(Option::as_ref);
        known.map_or("", |hook| &hook.function)
    }

    fn is_bridge_code(&self, address: u64) -> bool {
        self.bridge.get(&address).copied().unwrap_or(false)
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn netns(&self, inode: u32) -> Option<&str> {
        self.netns.get(&inode)?.as_deref()
    }

    fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        self.links.get(&(netns, ifindex))?.as_deref()
    }

    fn interface(&self, netns: u32, ifindex: u32) -> Option<State> {
        *self.states.get(&(netns, ifindex))?
    }

    fn programs(&self, netns: u32, ifindex: u32) -> &[Program] {
        let found = self.programs.get(&(netns, ifindex));
        found.map_or(&[], Vec::as_slice)
    }

    fn listening(&self) -> Option<&Listening> {
        self.listening.as_ref()
    }

    fn sock_layout(&self) -> &Layout {
        &self.layout
    }

    fn socket_owner(&self, inode: u64) -> Option<Process> {
        let process = (*self.owners.get(&inode)?)?;
        Some(Process {
            pid: process.pid,
            others: process.others,
            comm: process.comm,
        })
    }

    fn ending(&self, question: &Question) -> Option<Ending> {
        self.endings.get(&question.base)?.clone()
    }

    fn symbol(&self, address: u64) -> Option<Symbol<'_>> {
        let place = self.symbols.get(&address)?.as_ref()?;
        Some(Symbol {
            function: &place.function,
            offset: place.offset,
            module: place.module.as_deref(),
        })
    }

    fn drop_reason(&self, number: u32) -> Option<&str> {
        self.reasons.get(&number)?.0.as_deref()
    }

    fn drop_subsystem(&self, number: u32) -> Option<&str> {
        self.reasons.get(&number)?.1.as_deref()
    }

    fn utc_offset(&self, unix: i64) -> i32 {
        let noted = self.zones.range(..=unix).next_back();
        noted
            .or_else(|| self.zones.first_key_value())
            .map_or(0, |(_, seconds)| *seconds)
    }
}
