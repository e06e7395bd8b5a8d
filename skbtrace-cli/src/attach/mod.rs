//! Attaching: from the hooks of a run to programs on kernel functions.
//!
//! **Invariant:** a hook that cannot be attached never takes another along; each ends as a
//! [`Hooked`] with what was taken or as a [`Skipped`] with the reason.

mod attached;
mod fentry;
pub mod kprobe;
pub mod link;
mod multi;
pub mod object;
mod one_by_one;
mod progress;
pub mod rows;
mod specialise;
pub mod sys;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use skbtrace_common::hooks::{Binding, Hook, Kind, Site};

pub use self::attached::{Attached, Hooked, Skipped};
use self::{
    fentry::Trampolines,
    kprobe::{AttachError, Kprobes, NoKprobes},
    multi::{Resolver, Shared, TELLS_ADDRESS, Target},
    object::Loaded,
    progress::Progress,
    sys::Ends,
};
use crate::kernel::layout::Types;

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A trampoline at the function's entry.
    Fentry,
    /// One program on many functions.
    KprobeMulti,
    /// A breakpoint or ftrace call at one function.
    Kprobe,
    /// A trampoline at the function's return.
    Fexit,
    /// A kprobe at the entry and one at the return.
    KprobePair,
    /// One program on the entries and returns of many functions.
    KprobeSession,
    /// One program on the returns of many functions.
    KretprobeMulti,
    /// A place that the kernel's authors marked.
    Tracepoint,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::KprobeMulti => "kprobe.multi",
            Self::Kprobe => "kprobe",
            Self::KprobePair => "kprobe and kretprobe",
            Self::KprobeSession => "kprobe.session",
            Self::KretprobeMulti => "kretprobe.multi",
            Self::Tracepoint => "tracepoint",
        })
    }
}

/// Which way is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// For each hook the cheapest that works.
    Auto,
    /// This one where it works, kprobes elsewhere.
    Prefer(Backend),
}

/// A hook to attach: a row of this run and the places to try, best first.
#[derive(Debug)]
pub struct Wanted {
    /// The row: of the catalogue, or behind it ([`crate::session`]).
    pub row: usize,
    /// What is in it.
    pub hook: &'static Hook,
    /// Its sites, with positions as this kernel has them.
    pub sites: Vec<Site>,
    /// No events are wanted of it; it is needed to follow packets.
    pub silent: bool,
    /// Its symbol is others' too, so only its address tells it from them.
    pub by_address: bool,
}

/// The program for a kind of hook, and where it is run.
const fn program(kind: Kind) -> (&'static str, Ends) {
    match kind {
        Kind::Hop => ("hop", Ends::Entry),
        Kind::Neighbour => ("neighbour", Ends::Entry),
        Kind::Socket => ("socket", Ends::Entry),
        Kind::Tunnel => ("tunneled", Ends::Entry),
        Kind::Drop => ("dropped", Ends::Entry),
        Kind::QueueDrop => ("queue_dropped", Ends::Entry),
        Kind::Free => ("freed", Ends::Entry),
        Kind::Fragments => ("fragmented", Ends::Entry),
        Kind::Merge => ("merged", Ends::Entry),
        Kind::Clone => ("copy", Ends::Both),
        Kind::Morph => ("morph", Ends::Both),
        Kind::Segments => ("segments", Ends::Both),
        Kind::Verdict(_) => ("table", Ends::Both),
        Kind::HookFunction => ("hook_function", Ends::Return),
        Kind::Conntrack => ("conntrack", Ends::Both),
        Kind::Nat => ("nat", Ends::Both),
    }
}

/// Attaches hooks.
pub struct Attacher<'a> {
    loaded: &'a mut Loaded,
    kprobes: Result<Kprobes, NoKprobes>,
    trampolines: Option<Trampolines>,
    /// Whether every hook that can be is to be attached by them, or only returns.
    by_fentry: bool,
    /// Whether what fentry is not for is to be attached by kprobe.multi.
    by_multi: bool,
    /// Whether that goes for returns, too.
    by_session: bool,
    /// Whether this kernel is older than 6.2 (`symbols::places`).
    finds_names_slowly: bool,
    attached: Attached,
}

/// Most functions that are attached by fentry where detaching takes the kernel a tenth of a second
/// for each, one after the other (6.1 and 6.12): three seconds, in the background.
const MOST_TRAMPOLINES: usize = 32;

/// Looking for so many kprobes' names costs a slow kernel what it costs to show all of its symbols.
const MANY: usize = 4;

impl<'a> Attacher<'a> {
    /// Prepares to attach `count` hooks in the chosen way. Programs that might interrupt each
    /// other on a CPU must not share a scratch buffer: `nesting` says that they do not.
    pub fn new(
        loaded: &'a mut Loaded,
        types: &Types,
        choice: Choice,
        count: usize,
        nesting: bool,
    ) -> Self {
        let by_fentry = nesting
            && match choice {
                Choice::Auto => {
                    count <= MOST_TRAMPOLINES || !types.has_module_btf || types.has_fentry_multi
                }
                Choice::Prefer(backend) => backend == Backend::Fentry,
            };
        // Only where there is neither, or neither is wanted, are hooks kprobes, one by one.
        let others = choice != Choice::Prefer(Backend::Kprobe);
        Self {
            kprobes: Kprobes::new(),
            trampolines: others.then(|| Trampolines::new(types)),
            by_fentry,
            by_multi: others,
            by_session: others && types.session.is_some(),
            // The function that tells came with 6.2, too.
            finds_names_slowly: types.cast.is_none(),
            attached: Attached::default(),
            loaded,
        }
    }

    /// Attaches hooks, one after the other: the kernel attaches one at a time, and threads that
    /// wait for their turn spin (measured on 5.10 and 6.12: twice the CPU time, no sooner ready).
    /// Stops early when `stop` is set; what is attached by then is returned.
    pub fn attach(mut self, wanted: &[Wanted], stop: &AtomicBool) -> Attached {
        let mut groups: BTreeMap<Shared, Vec<Target>> = BTreeMap::new();
        let mut taken = BTreeMap::new();
        let mut left: Vec<usize> = Vec::new();
        let by_fentry = self.by_fentry_together(wanted, stop);
        let mut others = Vec::new();
        for (index, hook) in wanted.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if !by_fentry.contains(&index) && !self.by_trampoline(hook) {
                others.push((index, hook));
            }
        }
        let can_be_shared = |(_, hook): &(usize, &Wanted)| self.can_be_shared(hook);
        let resolver = if others.iter().any(can_be_shared) {
            Resolver::new(self.loaded)
        } else {
            None
        };
        for (index, hook) in others {
            let found = resolver
                .as_ref()
                .filter(|_| self.can_be_shared(hook))
                .and_then(|resolver| target(resolver, index, hook));
            match found {
                Some((shared, target, site)) => {
                    groups.entry(shared).or_default().push(target);
                    taken.insert(index, site);
                }
                None => left.push(index),
            }
        }
        for (shared, targets) in groups {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (links, refused) = shared.attach(self.loaded, &targets);
            let refused: HashSet<usize> = refused.iter().map(|target| target.index).collect();
            self.attached.links.extend(links);
            if shared.program == TELLS_ADDRESS {
                self.attached.rows.add(&targets);
            }
            let by = match shared.ends {
                Ends::Entry => Backend::KprobeMulti,
                Ends::Return => Backend::KretprobeMulti,
                Ends::Both => Backend::KprobeSession,
            };
            for target in targets {
                if refused.contains(&target.index) {
                    left.push(target.index);
                } else if let Some(site) = taken.get(&target.index) {
                    self.took(&wanted[target.index], *site, by);
                }
            }
        }
        left.sort_unstable();
        if self.finds_names_slowly
            && left.len() >= MANY
            && let Ok(kprobes) = &mut self.kprobes
        {
            let sites = left.iter().flat_map(|index| &wanted[*index].sites);
            kprobes.look_up(sites.map(|site| site.symbol));
        }
        let mut progress = Progress::new(left.len());
        for index in left {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.one_by_one(&wanted[index]);
            progress.step();
        }
        drop(progress);
        self.attached.hooks.sort_by_key(|hook| hook.row);
        self.attached.skipped.sort_by_key(|hook| hook.row);
        self.attached
    }

    /// Whether a hook's program can serve other functions too, by kprobe.multi or kprobe.session.
    fn can_be_shared(&self, wanted: &Wanted) -> bool {
        match program(wanted.hook.kind).1 {
            Ends::Entry => self.by_multi,
            Ends::Return | Ends::Both => self.by_session,
        }
    }

    fn took(&mut self, wanted: &Wanted, site: Site, by: Backend) {
        self.attached.hooks.push(Hooked {
            row: wanted.row,
            hook: wanted.hook,
            site,
            by,
        });
    }

    /// Attaches what it can by fentry, one program to many functions, where the kernel offers
    /// that; which hooks it could.
    fn by_fentry_together(&mut self, wanted: &[Wanted], stop: &AtomicBool) -> HashSet<usize> {
        let mut done = HashSet::new();
        let Some(trampolines) = self.trampolines.as_ref().filter(|_| self.by_fentry) else {
            return done;
        };
        let mut groups: BTreeMap<_, Vec<(Target, Site)>> = BTreeMap::new();
        for (index, wanted) in wanted.iter().enumerate() {
            let (program, Ends::Entry) = program(wanted.hook.kind) else {
                continue;
            };
            let sites = wanted.sites.iter().filter(|site| !site.tracepoint);
            let found = sites.map(|site| (site, trampolines.place(site)));
            let Some((site, (module, id))) = found
                .filter_map(|(site, place)| Some((site, place?)))
                .next()
            else {
                continue;
            };
            let binding = binding(wanted, site)
                .shared()
                .with_arguments()
                .with_argument_helper();
            if let Ok(row) = u16::try_from(wanted.row) {
                let target = Target {
                    place: u64::from(id),
                    row,
                    index,
                };
                let group = groups.entry((program, module, binding.0));
                group.or_default().push((target, *site));
            }
        }
        let mut taken = Vec::new();
        for ((program, module, binding), group) in groups {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let targets: Vec<Target> = group.iter().map(|(target, _)| *target).collect();
            let binding = Binding(binding);
            let (links, refused) =
                trampolines.attach_many(self.loaded, program, module, binding, &targets);
            self.attached.links.extend(links);
            let refused: HashSet<usize> = refused.iter().map(|target| target.index).collect();
            taken.extend(
                group
                    .into_iter()
                    .filter(|(target, _)| !refused.contains(&target.index)),
            );
        }
        for (target, site) in taken {
            self.took(&wanted[target.index], site, Backend::Fentry);
            done.insert(target.index);
        }
        done
    }

    /// Whether a hook could be attached by fentry or fexit. A refusal is no news: kprobes come
    /// next, and what they are refused for is told.
    fn by_trampoline(&mut self, wanted: &Wanted) -> bool {
        let Some(trampolines) = &self.trampolines else {
            return false;
        };
        let kind = wanted.hook.kind;
        let (program, at_return, by) = match (kind, program(kind)) {
            // A return that has the arguments needs no entry, and these report nothing.
            (Kind::Clone | Kind::Morph, _) if wanted.silent => ("copied", true, Backend::Fexit),
            (Kind::Segments, _) if wanted.silent => ("segmented", true, Backend::Fexit),
            (_, (program, Ends::Entry)) if self.by_fentry => (program, false, Backend::Fentry),
            _ => return false,
        };
        for site in &wanted.sites {
            if site.tracepoint || !trampolines.describes(site) {
                continue;
            }
            let binding = |site: &Site| binding(wanted, site);
            let link = if at_return {
                trampolines.attach_return(self.loaded, program, site, kind, binding)
            } else {
                trampolines.attach(self.loaded, program, site, binding(site))
            };
            if let Ok(link) = link {
                self.attached.links.push(link);
                self.took(wanted, *site, by);
                return true;
            }
        }
        false
    }

    /// Attaches a hook by itself: to a tracepoint, or by kprobes.
    fn one_by_one(&mut self, wanted: &Wanted) {
        let hook = wanted.hook;
        let result = match &self.kprobes {
            _ if wanted.by_address => Err(Some(AttachError::Ambiguous.to_string())),
            Ok(kprobes) => one_by_one::attach(self.loaded, Some(kprobes), wanted, hook),
            // Tracepoints need none.
            Err(error) => one_by_one::attach(self.loaded, None, wanted, hook)
                .map_err(|reason| reason.unwrap_or_else(|| error.to_string()))
                .map_err(Some),
        };
        match result {
            Ok((site, by, links)) => {
                self.attached.links.extend(links);
                self.took(wanted, site, by);
            }
            Err(reason) => self.attached.skipped.push(Skipped {
                row: wanted.row,
                hook,
                is_absent: reason.is_none(),
                reason: reason.unwrap_or_else(|| absent(hook)),
            }),
        }
    }
}

/// What a hook is for kprobe.multi and kprobe.session, where it can be tried.
fn target(resolver: &Resolver, index: usize, wanted: &Wanted) -> Option<(Shared, Target, Site)> {
    let hook = wanted.hook;
    let (program, ends) = program(hook.kind);
    wanted
        .sites
        .iter()
        .filter(|site| !site.tracepoint)
        .find_map(|site| {
            let address = resolver.address(site.symbol, hook.module)?;
            let row = u16::try_from(wanted.row).ok()?;
            let target = Target {
                place: address,
                row,
                index,
            };
            let shared = Shared::new(program, ends, binding(wanted, site));
            Some((shared, target, *site))
        })
}

fn absent(hook: &Hook) -> String {
    match hook.module {
        Some(module) => format!("no such function (module {module} not loaded?)"),
        None => String::from("no such function"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a run has fewer rows")]
fn binding(wanted: &Wanted, site: &Site) -> Binding {
    let binding = Binding::new(wanted.row as u16, wanted.hook, site);
    if wanted.silent {
        binding.silent()
    } else {
        binding
    }
}
