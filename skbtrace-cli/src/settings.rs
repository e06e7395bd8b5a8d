//! The settings of one run: checked arguments, with everything that depends on the machine looked
//! up and every choice brought into the form that the rest of the program works with.
//!
//! **Invariant:** whoever holds a [`Settings`] need not check it again: its filter can be matched,
//! its buffer has a usable size, its namespaces were found.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use crate::{
    args::{ExplainArgs, FilterArgs, TopArgs, TraceArgs},
    capture::CaptureFile,
    diagnosis::{self, Options},
    filter::{self, Values, can_match},
    journey::role,
    kernel::{
        netns::{self, NetnsSpec},
        sections,
    },
    recording::Rotation,
    render::Explain,
};
use clap::{ValueEnum, builder::PossibleValue};
use regex::Regex;
use skbtrace_common::{
    config::Filter,
    hooks::{HOOKS, Hook, Kind, SETS, TUNNEL},
};

// By hand and not derived: clap would turn the documentation of the variants into help texts, and
// one of those switches the whole help to its long form.
macro_rules! values {
    ($type:ident: $($variant:ident = $name:literal),+) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }
            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(match self {
                    $(Self::$variant => $name),+
                }))
            }
        }
    };
}

mod error;
mod files;
mod look;

pub use error::SettingsError;
use files::snaplen;
pub use files::{capture, check_files, rotation};
pub use look::{ColorChoice, FormatChoice, Look, TimeStyle};

/// Everything a run is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bits of [`SETS`].
    pub sets: u32,
    /// Every function that takes a packet, too.
    pub all: Option<All>,
    /// Of all these, only the functions whose name matches.
    pub only: Option<Regex>,
    /// Which packets.
    pub filter: Filter,
    /// Stop after so many events.
    pub count: Option<u64>,
    /// Stop after so long.
    pub duration: Option<Duration>,
    /// How events are printed.
    pub look: Look,
    /// The kernel stack under each drop.
    pub drop_stack: bool,
    /// The kernel stack under every event.
    pub call_stack: bool,
    /// What is explained.
    pub explain: Option<Explain>,
    /// Whether what was found shows in the exit code.
    pub exit_code: bool,
    /// Whether to print the line of column names.
    pub header: bool,
    /// Where to print; standard output when absent.
    pub output: Option<PathBuf>,
    /// Where to record; not at all when absent.
    pub write: Option<PathBuf>,
    /// Where to write packets for Wireshark; not at all when absent.
    pub capture: Option<CaptureFile>,
    /// How many bytes of a packet are taken along, 0 for its headers alone.
    pub snaplen: u32,
    /// When to go on in a further file.
    pub rotation: Option<Rotation>,
    /// Whether events are printed.
    pub print: bool,
    /// Whether a screen of its own shows what is printed.
    pub screen: bool,
    /// The kernel's type information; the running kernel's own when absent.
    pub btf: Option<PathBuf>,
    /// How to attach.
    pub backend: Backend,
    /// How many packets are followed at most: four or more, a power of two. `None` not to follow.
    pub follow: Option<NonZeroU32>,
    /// How events come from the kernel.
    pub transport: Transport,
    /// Bytes for events on their way, over all CPUs: a power of two, at least a page.
    pub buffer: usize,
    /// Created once everything is attached.
    pub ready_file: Option<PathBuf>,
    /// Whether programs are loaded as they are, and not specialised.
    pub whole_programs: bool,
    /// How often `-v` was given.
    pub verbose: u8,
}

/// A choice of every function that takes a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct All {
    /// Of these modules alone, when there are any; [`sections::KERNEL`] is the kernel itself.
    pub modules: Vec<String>,
}

impl All {
    /// Whether a row of the catalogue stands for its functions, as far as the catalogue knows: it
    /// reports a packet's passing, or its end.
    fn has(&self, hook: &Hook) -> bool {
        let module = hook.module.unwrap_or(sections::KERNEL);
        reports_calls(hook)
            && hook.sites.iter().any(|site| !site.tracepoint)
            && (self.modules.is_empty() || self.modules.iter().any(|chosen| chosen == module))
    }
}

/// Whether a row reports each call of its function, at its entry.
#[must_use]
pub fn reports_calls(hook: &Hook) -> bool {
    matches!(
        hook.kind,
        Kind::Hop | Kind::Neighbour | Kind::Socket | Kind::Tunnel | Kind::Free
    )
}

/// A value of `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// For each hook the cheapest that works on this kernel.
    #[default]
    Auto,
    /// A trampoline at the function's entry, where it can be had.
    Fentry,
    /// One program on many functions, where it can be had.
    KprobeMulti,
    /// One kprobe for each function.
    Kprobe,
}

/// A value of `--transport`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The ring buffer where the kernel has it.
    #[default]
    Auto,
    /// The BPF ring buffer (Linux 5.8).
    Ringbuf,
    /// The perf event array.
    Perf,
}

values!(
    Backend: Auto = "auto",
    Fentry = "fentry",
    KprobeMulti = "kprobe-multi",
    Kprobe = "kprobe"
);
values!(Transport: Auto = "auto", Ringbuf = "ringbuf", Perf = "perf");

impl Settings {
    /// Whether to listen on `hook`: in a chosen set, with a name that was asked for, and at a
    /// place that a packet accepted by the filter can pass.
    #[must_use]
    pub fn wants(&self, hook: &Hook) -> bool {
        self.is_chosen(hook) && self.can_match(hook)
    }

    /// Whether a packet that is shown can pass a hook.
    #[must_use]
    pub fn can_match(&self, hook: &Hook) -> bool {
        // A tunnel makes other packets of those that match.
        let has_tunnels = self.all.is_some() || self.sets & TUNNEL != 0;
        self.follow.is_some() && has_tunnels || can_match(&self.filter, hook.layer3, hook.layer4)
    }

    /// Whether events show more than fits the article's columns: who was running, what network
    /// namespaces are called and what interfaces are.
    #[must_use]
    pub fn wants_details(&self) -> bool {
        self.look.format != FormatChoice::Table || self.write.is_some() || self.explain.is_some()
    }

    /// Whether what network namespaces are called and what interfaces are is asked for.
    #[must_use]
    pub fn wants_places(&self) -> bool {
        self.wants_details() || self.capture.is_some()
    }

    /// Whether the rules that ended packets are asked for.
    #[must_use]
    pub fn wants_endings(&self) -> bool {
        self.explain.is_some() || self.write.is_some()
    }

    /// Whether the ends of packets are events even where nobody asked for them by a set: what
    /// tells journeys must know when they are over.
    #[must_use]
    pub fn wants_ends(&self) -> bool {
        let recorded = self.write.is_some() && self.follow.is_some();
        match self.look.format {
            FormatChoice::Table | FormatChoice::Wide | FormatChoice::Json => {
                recorded || self.explain.is_some()
            }
            FormatChoice::Tree | FormatChoice::Summary => true,
        }
    }

    /// Whether events of `hook` are wanted even where nobody asked for them by a set: what tells
    /// journeys must know how packets end, and what is made from them, and what explains them more.
    #[must_use]
    pub fn needs(&self, hook: &Hook) -> bool {
        let tells = self.wants_ends() && role::is_needed(hook, self.filter.active() != 0);
        let explains = self.explain.is_some() && diagnosis::is_needed(hook);
        (tells || explains) && self.can_match(hook)
    }

    /// Whether drops are listened to.
    #[must_use]
    pub fn wants_drops(&self) -> bool {
        let mut drops = HOOKS
            .iter()
            .filter(|hook| matches!(hook.kind, Kind::Drop | Kind::QueueDrop));
        drops.any(|hook| self.wants(hook) || self.needs(hook))
    }

    fn is_chosen(&self, hook: &Hook) -> bool {
        let matches = |only: &Regex| {
            only.is_match(hook.name)
                || hook
                    .sites
                    .iter()
                    .any(|site| only.is_match(site.display_name()))
        };
        let is_in_set = hook.sets & self.sets != 0;
        (is_in_set || self.all.as_ref().is_some_and(|all| all.has(hook)))
            && self.only.as_ref().is_none_or(matches)
    }
}

impl TryFrom<TraceArgs> for Settings {
    type Error = SettingsError;

    fn try_from(args: TraceArgs) -> Result<Self, SettingsError> {
        let (hooks, output, engine) = (args.hooks, args.output, args.engine);
        let recording = args.recording;
        check_files(&recording, &output)?;
        let settings = Self {
            sets: hooks.sets.0,
            all: hooks.all.then(|| All {
                // The kernel writes names of modules with underscores.
                modules: hooks
                    .modules
                    .iter()
                    .map(|name| name.replace('-', "_"))
                    .collect(),
            }),
            only: hooks.func,
            filter: filter(args.filters, &mut resolve_here)?,
            count: output.count,
            duration: output.duration,
            look: Look::of(&output),
            drop_stack: args.stacks.drop_stack,
            call_stack: args.stacks.call_stack,
            explain: explain(&args.explain),
            exit_code: args.explain.exit_code,
            header: !output.no_header,
            // As elsewhere, "-" is standard output.
            output: output.output.filter(|path| path.as_os_str() != "-"),
            print: recording.prints(),
            snaplen: snaplen(&recording),
            capture: capture(&recording).map(|capture| CaptureFile {
                snaplen: Some(snaplen(&recording)),
                ..capture
            }),
            screen: false,
            rotation: rotation(&recording),
            write: recording.write,
            btf: engine.btf,
            backend: engine.backend,
            follow: (!engine.no_follow).then_some(engine.follow_max),
            transport: engine.transport,
            buffer: engine.buffer.next_power_of_two().max(page_size()),
            ready_file: engine.ready_file,
            whole_programs: engine.whole_programs,
            verbose: args.verbose,
        };
        settings.check()?;
        Ok(settings)
    }
}

impl TryFrom<TopArgs> for Settings {
    type Error = SettingsError;

    fn try_from(args: TopArgs) -> Result<Self, SettingsError> {
        if args.engine.no_follow {
            return Err(SettingsError::NotFollowed("top"));
        }
        let settings = Self::try_from(TraceArgs::from(args))?;
        Ok(Self {
            screen: true,
            ..settings
        })
    }
}

/// The filter that was asked for; `resolve` knows the network namespaces.
pub fn filter(
    given: FilterArgs,
    resolve: &mut dyn FnMut(NetnsSpec) -> Result<u32, SettingsError>,
) -> Result<Filter, SettingsError> {
    let netns = given.netns.into_iter().map(resolve);
    Ok(filter::build(&Values {
        host: given.host,
        src: given.src,
        dst: given.dst,
        port: given.port,
        sport: given.sport,
        dport: given.dport,
        proto: given.proto,
        icmpid: given.icmpid,
        iface: given.iface,
        netns: netns.collect::<Result<_, _>>()?,
        pid: given.pid,
        mark: given.mark,
    })?)
}

/// What is explained.
#[must_use]
pub fn explain(given: &ExplainArgs) -> Option<Explain> {
    let patience_ns = u64::try_from(given.slow.as_nanos()).unwrap_or(u64::MAX);
    given.explain.then_some(Explain {
        options: Options { patience_ns },
        brief: given.brief,
    })
}

/// Finds a network namespace of this machine.
fn resolve_here(spec: NetnsSpec) -> Result<u32, SettingsError> {
    netns::resolve(&spec).map_err(|error| SettingsError::Netns { spec, error })
}

impl Settings {
    /// Refuses choices that leave nothing to listen on, which would look like silence.
    fn check(&self) -> Result<(), SettingsError> {
        if self.follow.is_none() && self.wants_ends() {
            let format = match self.look.format {
                FormatChoice::Summary => "--format summary",
                FormatChoice::Tree => "--format tree",
                _ => "--explain",
            };
            return Err(SettingsError::NotFollowed(format));
        }
        if self.all.is_some() {
            // Which functions there are is not known yet.
            return match self.backend {
                Backend::Fentry => Err(SettingsError::AllByFentry),
                _ => Ok(()),
            };
        }
        if let Some(only) = &self.only
            && !HOOKS.iter().any(|hook| self.is_chosen(hook))
        {
            return Err(SettingsError::NoFunction {
                pattern: only.to_string(),
                sets: set_options(self.sets),
            });
        }
        if !HOOKS.iter().any(|hook| self.wants(hook)) {
            return Err(SettingsError::NothingMatches);
        }
        Ok(())
    }
}

/// The chosen sets as they are typed: `--route --iptable`.
fn set_options(sets: u32) -> String {
    let chosen = SETS.iter().filter(|set| set.bit & sets != 0);
    chosen
        .map(|set| format!("--{}", set.name))
        .collect::<Vec<_>>()
        .join(" ")
}

fn page_size() -> usize {
    // SAFETY: sysconf reads no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
