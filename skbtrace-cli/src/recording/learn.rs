//! Learning: asking the machine what a record will be decoded with, before it is.
//!
//! **Invariant:** whatever decoding or rendering asks [`Names`] about a record was asked here
//! before, so that it finds the same answer in [`Learnt`], in the run and in its replay.

use skbtrace_common::{
    hooks::HOOKS,
    record::{
        HAS_DEV, HAS_NETNS, HAS_REASON, KIND_CLONE, KIND_DROP, NO_ROW, RawEvent, SOCKET_INODE,
    },
};

use super::{
    delta::{Found, PLACES},
    learnt::Learnt,
    note::{Note, Place, Process},
};
use crate::{
    decode::{Names, decode, frames},
    event::Verdict,
    kernel::rulesets::Question,
    record::{Extra, RecordRef},
    render::QUARTER,
    row_set::RowSet,
};

const SECOND: i128 = 1_000_000_000;

/// What has been asked for.
pub struct Learner {
    learnt: Learnt,
    /// The machine's generation plus one, as of which all that was asked for is known.
    generation: u64,
    /// Until when nothing will come any more, and until when that was noted.
    settled_ns: u64,
    noted_ns: u64,
    /// Rows whose events only journeys show.
    hidden: RowSet,
    /// By slot of the place: the machine's generation plus one, as of which all was answered about the
    /// last event there.
    answered: [u64; PLACES],
    /// What to add to an event's time for Unix time, nanoseconds.
    unix_offset_ns: i64,
    /// Times of events from and until which the local time is known.
    quarter: (u64, u64),
}

impl Learner {
    /// Nothing has been.
    pub fn new(learnt: Learnt, hidden: RowSet, unix_offset_ns: i64) -> Self {
        Self {
            learnt,
            generation: 0,
            settled_ns: 0,
            noted_ns: 0,
            hidden,
            answered: [0; PLACES],
            unix_offset_ns,
            quarter: (0, 0),
        }
    }

    /// Has a row's events shown only where journeys are.
    pub fn hide(&mut self, row: u16) {
        self.hidden.insert(row);
    }

    /// What is known.
    pub fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// Whether all is known, as of the machine's generation plus one, that an event is decoded with whose
    /// place is as it was last time.
    #[inline]
    pub fn knows(&self, time_ns: u64, place: u8, generation: u64) -> bool {
        let (from, until) = self.quarter;
        self.answered[usize::from(place)] == generation && (from..until).contains(&time_ns)
    }

    /// Asks for what is not known yet, or may have changed; `tell` hears of what is new. What was asked
    /// of the event before at the same place need not be asked again of one that is the same there.
    #[inline]
    pub fn learn(
        &mut self,
        record: RecordRef<'_>,
        found: Found,
        machine: &dyn Names,
        tell: &mut dyn FnMut(&Note),
    ) {
        let event = record.event;
        let generation = machine.generation() + 1;
        if self.generation != generation {
            self.generation = generation;
            self.ask_again(machine, tell);
        }
        if !(found.as_place() && self.knows(event.time_ns, found.place, generation)) {
            self.ask(event, machine, tell);
            // What is not known may become known.
            let is_settled = event.caller == 0
                || matches!(self.learnt.symbols.get(&event.caller), Some(Some(_)));
            self.answered[usize::from(found.place)] = if is_settled { generation } else { 0 };
        }
        if record.has_more() {
            self.ask_more(record, machine, tell);
        }
    }

    /// No event has been at any place: what comes next may be as none was.
    pub fn forget_places(&mut self) {
        self.answered.fill(0);
    }

    /// About all places so far: what explains an event may be asked of one where a packet was before.
    #[cold]
    fn ask_again(&mut self, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let mut places: Vec<_> = self.learnt.places().collect();
        places.sort_unstable();
        for (netns, ifindex) in places {
            self.place(netns, ifindex, machine, tell);
        }
    }

    /// About an event.
    #[inline(never)]
    fn ask(&mut self, event: &RawEvent, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let has = |flag: u16| event.flags & flag != 0;
        self.hook(event.hook, machine, tell);
        self.zone(event.time_ns, machine, tell);
        if has(HAS_NETNS) {
            let ifindex = if has(HAS_DEV) { event.ifindex } else { 0 };
            self.place(event.netns, ifindex, machine, tell);
        }
        match event.kind {
            KIND_CLONE => {
                // Who copies is told of copies that arrive twice.
                self.symbol(event.caller, machine, tell);
                if self.learnt.hook(event.hook) == "skb_clone" {
                    self.bridge(event.caller, machine, tell);
                }
            }
            KIND_DROP => {
                self.symbol(event.caller, machine, tell);
                if has(HAS_REASON) {
                    self.drop_reason(event.verdict, machine, tell);
                }
            }
            _ => {}
        }
    }

    /// About what a record has besides the event.
    fn ask_more(
        &mut self,
        record: RecordRef<'_>,
        machine: &dyn Names,
        tell: &mut dyn FnMut(&Note),
    ) {
        match record.extra() {
            Extra::Names(names) => {
                self.hook(names.decider, machine, tell);
                if matches!(Verdict::from_raw(record.event.verdict), Verdict::Drop(_))
                    && let Some(question) = Question::of(&decode(record, machine))
                {
                    self.ending(question, machine, tell);
                }
            }
            Extra::Socket(socket) if socket.known & SOCKET_INODE != 0 && socket.inode != 0 => {
                self.owner(socket.inode, machine, tell);
            }
            _ => {}
        }
        if let Some(stack) = record.stack() {
            for &address in frames(stack, record.event) {
                self.symbol(address, machine, tell);
            }
        }
    }

    /// Nothing that happened until then will come any more: what waited for that is told with what is
    /// known now.
    pub fn settled(&mut self, until_ns: u64) {
        self.settled_ns = until_ns;
    }

    /// Takes an answer that nobody asked for. Where others depend on it that were told already, a replay
    /// tells them before.
    pub fn note(&mut self, note: &Note, tell: &mut dyn FnMut(&Note)) {
        let is_constant = matches!(
            note,
            Note::Hook { .. } | Note::Zone { .. } | Note::DropReason { .. }
        );
        if !is_constant && self.noted_ns < self.settled_ns {
            self.noted_ns = self.settled_ns;
            tell(&Note::Settled {
                until_ns: self.settled_ns,
            });
        }
        self.learnt.take(note);
        tell(note);
    }

    #[inline]
    fn hook(&mut self, row: u16, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let known = self.learnt.hooks.get(usize::from(row));
        if row == NO_ROW || matches!(known, Some(Some(_))) {
            return;
        }
        let in_catalogue = HOOKS.get(usize::from(row));
        let note = Note::Hook {
            row,
            name: in_catalogue.map_or("", |hook| hook.name).to_owned(),
            function: machine.hook(row).to_owned(),
            hidden: self.hidden.contains(row),
        };
        self.note(&note, tell);
    }

    #[inline]
    fn place(
        &mut self,
        netns: u32,
        ifindex: u32,
        machine: &dyn Names,
        tell: &mut dyn FnMut(&Note),
    ) {
        let name = machine.netns(netns);
        if self.learnt.netns.get(&netns).map(Option::as_deref) != Some(name) {
            let name = name.map(str::to_owned);
            self.note(&Note::Netns { inode: netns, name }, tell);
        }
        let text = machine.link(netns, ifindex);
        let known = self.learnt.links.get(&(netns, ifindex));
        if ifindex != 0 && known.map(Option::as_deref) != Some(text) {
            let note = Note::Link {
                netns,
                ifindex,
                text: text.map(<[u8]>::to_vec),
            };
            self.note(&note, tell);
        }
        let state = machine.interface(netns, ifindex);
        let known = self.learnt.states.get(&(netns, ifindex));
        if ifindex != 0 && known.copied().unwrap_or_default() != state {
            let note = Note::Interface {
                netns,
                ifindex,
                state,
            };
            self.note(&note, tell);
        }
        self.programs(netns, ifindex, machine, tell);
    }

    fn programs(
        &mut self,
        netns: u32,
        ifindex: u32,
        machine: &dyn Names,
        tell: &mut dyn FnMut(&Note),
    ) {
        let programs = machine.programs(netns, ifindex);
        if self.learnt.programs(netns, ifindex) != programs {
            let note = Note::Programs {
                netns,
                ifindex,
                programs: programs.to_vec(),
            };
            self.note(&note, tell);
        }
    }

    fn bridge(&mut self, address: u64, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let is = machine.is_bridge_code(address);
        if self.learnt.bridge.get(&address) != Some(&is) {
            self.note(&Note::BridgeCode { address, is }, tell);
        }
    }

    fn symbol(&mut self, address: u64, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        // What is known stays so; what is not may become known.
        let known = self.learnt.symbols.get(&address);
        if matches!(known, Some(Some(_))) {
            return;
        }
        let place = machine.symbol(address).map(|symbol| Place {
            function: symbol.function.to_owned(),
            offset: symbol.offset,
            module: symbol.module.map(str::to_owned),
        });
        if known != Some(&place) {
            self.note(&Note::Symbol { address, place }, tell);
        }
    }

    fn owner(&mut self, inode: u64, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let process = machine.socket_owner(inode).map(|process| Process {
            pid: process.pid,
            others: process.others,
            comm: process.comm,
        });
        if self.learnt.owners.get(&inode) != Some(&process) {
            self.note(&Note::Owner { inode, process }, tell);
        }
    }

    fn ending(&mut self, question: Question, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let ending = machine.ending(&question);
        let known = self.learnt.endings.get(&question.base);
        if known.map(Option::as_ref).unwrap_or_default() != ending.as_ref() {
            let base = question.base;
            self.note(&Note::Ending { base, ending }, tell);
        }
    }

    fn drop_reason(&mut self, number: u32, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        if self.learnt.reasons.contains_key(&number) {
            return;
        }
        let note = Note::DropReason {
            number,
            name: machine.drop_reason(number).map(str::to_owned),
            subsystem: machine.drop_subsystem(number).map(str::to_owned),
        };
        self.note(&note, tell);
    }

    #[inline]
    fn zone(&mut self, time_ns: u64, machine: &dyn Names, tell: &mut dyn FnMut(&Note)) {
        let (from, until) = self.quarter;
        if from <= time_ns && time_ns < until {
            return;
        }
        let offset = i128::from(self.unix_offset_ns);
        let length = i128::from(QUARTER) * SECOND;
        let start = (i128::from(time_ns) + offset).div_euclid(length) * length;
        let time = |unix: i128| u64::try_from(unix - offset);
        self.quarter = (
            time(start).unwrap_or(0),
            time(start + length).unwrap_or(u64::MAX),
        );
        // Sums of 64-bit nanoseconds are far below 64 bits of seconds.
        let unix = (start / SECOND) as i64;
        let seconds = machine.utc_offset(unix);
        if self.learnt.zones.get(&unix) != Some(&seconds) {
            self.note(&Note::Zone { unix, seconds }, tell);
        }
    }
}
