//! Starting: from settings to attached hooks and an open buffer.

use std::{collections::HashSet, os::fd::AsFd as _, sync::atomic::Ordering};

use anyhow::{Result, anyhow, bail};
use aya::maps::MapData;
use skbtrace_common::{
    config::{
        COUNT_HITS, Config, FOLLOW, HAS_DROP_REASONS, READ_TOGETHER, USE_CAST, USE_PERF,
        WANT_CALL_STACK, WANT_COMM, WANT_DEBUG, WANT_DROP_STACK,
    },
    hooks::{Hook, Kind},
    layout::Layout,
};

use super::{
    Stop,
    choosing::{self, Chosen},
    debug::DebugLog,
};
use crate::{
    attach::{
        Attached, Attacher, Backend, Choice, Hooked, Wanted,
        link::{self, Link},
        object::{KernelFunctions, Loaded, MapName, Shape, size_of_followed},
        rows::Rows,
        sys,
    },
    kernel::{drop_reasons::DropReasons, features, functions::LeftOut, layout::Types},
    listening::{Heard, Listening, Unheard},
    process,
    record::{RecordRef, Room},
    settings::{self, Settings, Transport},
    stats::LiveCounters,
    tell,
    transport::Reader,
};

/// The kernel side, built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/skbtrace"));

/// Files that a hook takes at most: event, program and link, at the entry and at the return.
const FILES_PER_HOOK: usize = 6;
/// Files besides, and room for what a library may open.
const FILES: usize = 256;

/// Everything that runs in the kernel, and the way back from there.
pub struct Engine {
    /// What is listened on.
    pub hooks: Vec<Hooked>,
    /// What keeps it so.
    pub links: Vec<Link>,
    /// Records.
    pub reader: Reader,
    /// What the kernel side counts.
    pub counters: LiveCounters,
    /// Where this kernel keeps its fields.
    pub layout: Layout,
    /// What this kernel calls its reasons for drops; empty when drops are not listened to.
    pub drop_reasons: DropReasons,
    /// What makes records of bytes.
    pub records: Records,
    /// What is listened to, for whom it concerns.
    pub listening: Listening,
    switch: MapData,
    debug: Option<DebugLog>,
}

impl Engine {
    /// Attaches what the settings ask for. `None` when told to stop meanwhile.
    pub fn start(settings: &Settings, stop: &Stop) -> Result<Option<Self>> {
        let sections = Types::sections(settings.btf.as_deref(), settings.wants_drops())?;
        let types = Types::of(&sections, settings.wants_drops())?;
        let Chosen { wanted, left_out } = choosing::choose(settings, &sections, &types)?;
        drop(sections);

        process::unlimit_locked_memory();
        process::raise_open_files(FILES + wanted.len() * FILES_PER_HOOK);
        let transport = match settings.transport {
            Transport::Auto if features::has_ring_buffer() => Transport::Ringbuf,
            Transport::Auto => Transport::Perf,
            chosen => chosen,
        };
        let config = configuration(settings, &types, transport);
        let shape = Shape {
            buffer: settings.buffer,
            debug: settings.verbose > 1,
            specialise: !settings.whole_programs,
            functions: KernelFunctions {
                cast: types.cast.map(|cast| cast.function),
                session: types.session,
            },
        };
        let mut loaded = Loaded::new(OBJECT, &config, shape)?;
        let layout = types.layout;
        let drop_reasons = types.drop_reasons.clone();

        let mut take = |name| loaded.take(name).ok_or_else(|| anyhow!("no map {name:?}"));
        let counters = LiveCounters::new(take(MapName::Counters)?)?;
        let switch = take(MapName::Switch)?;
        let followed = take(MapName::Followed)?;
        let debug = if shape.debug {
            Some(DebugLog::new(take(MapName::Debug)?)?)
        } else {
            None
        };
        let reader = match transport {
            Transport::Perf => Reader::perf(take(MapName::Perf)?, settings.buffer)?,
            Transport::Auto | Transport::Ringbuf => Reader::ring(take(MapName::Ring)?)?,
        };

        // A fentry program may interrupt another; the perf transport has one place for each CPU to
        // put a record together.
        let nesting = transport != Transport::Perf;
        let entries = wanted
            .iter()
            .filter(|hook| hook.hook.kind != Kind::HookFunction);
        let count = entries.count();
        let attacher = Attacher::new(&mut loaded, &types, choice(settings), count, nesting);
        drop(types);
        let flag = stop.flag();
        let attached = attacher.attach(&wanted, &flag);
        if let Some(refusal) = loaded.take_refusal() {
            tell!(
                "skbtrace: a specialised program was refused and loaded whole, which costs packets \
                 more; please report it: {refusal}"
            );
        }
        drop(loaded);
        process::return_free_memory();
        forget_all(&followed, &config);
        if flag.load(Ordering::Relaxed) {
            tell!("skbtrace: stopped while attaching");
            link::detach_in_background(attached.links);
            return Ok(None);
        }
        report(&attached, &wanted, &left_out, settings);
        if attached.hooks.iter().all(|hook| is_silent(&wanted, hook)) {
            let first = attached.skipped.first();
            let why = first.map_or(String::new(), |skip| {
                format!(" ({}: {})", skip.hook.name, skip.reason)
            });
            link::detach_in_background(attached.links);
            bail!("no hook could be attached{why}; -v names them all, and see `skbtrace check`");
        }
        Ok(Some(Self {
            listening: listening(&attached, &left_out),
            hooks: attached.hooks,
            links: attached.links,
            records: Records {
                rows: attached.rows,
                damaged: 0,
            },
            reader,
            counters,
            layout,
            drop_reasons,
            switch,
            debug,
        }))
    }

    /// Shows what the kernel side has said in words, with `-vv`.
    pub fn show_debug_lines(&mut self) {
        if let Some(debug) = &mut self.debug {
            debug.flush();
        }
    }

    /// Lets the kernel side produce no more events; it goes on being called until it is detached.
    /// What it was about to produce is produced when this returns.
    pub fn stop_producing(&self) {
        // Should it fail, there are only more events to print.
        let _ = sys::set_only_element(self.switch.fd().as_fd(), &1_u32.to_ne_bytes());
        sys::wait_for_running_programs();
    }

    /// Hits that the kernel skipped; `None` where it does not tell.
    pub fn missed(&self) -> Option<u64> {
        self.links.iter().map(Link::missed).sum()
    }
}

/// Makes records of bytes.
pub struct Records {
    rows: Rows,
    /// Those that could not be understood.
    pub damaged: u64,
}

impl Records {
    /// The record that `bytes` are; what is none is counted.
    #[inline]
    pub fn read<'a>(&mut self, bytes: &[u8], room: &'a mut Room) -> Option<RecordRef<'a>> {
        match room.read(bytes) {
            Ok(event) => {
                self.rows.complete(event);
                Some(room.record())
            }
            Err(_) => {
                self.damaged += 1;
                None
            }
        }
    }
}

/// Has no packet followed any more: while hooks were attached one after the other, packets passed whose
/// end nothing saw yet, and whose addresses would be others' later. Should it fail, some are.
fn forget_all(followed: &MapData, config: &Config) {
    let nobody = vec![0; size_of_followed(config) as usize];
    let _ = sys::set_only_element(followed.fd().as_fd(), &nobody);
}

fn choice(settings: &Settings) -> Choice {
    match settings.backend {
        // The kernel takes a tenth of a second to detach each function (`attach/link.rs`).
        settings::Backend::Auto if settings.all.is_some() => Choice::Prefer(Backend::KprobeMulti),
        settings::Backend::Auto => Choice::Auto,
        settings::Backend::Fentry => Choice::Prefer(Backend::Fentry),
        settings::Backend::KprobeMulti => Choice::Prefer(Backend::KprobeMulti),
        settings::Backend::Kprobe => Choice::Prefer(Backend::Kprobe),
    }
}

fn is_silent(wanted: &[Wanted], hooked: &Hooked) -> bool {
    wanted
        .iter()
        .any(|wanted| wanted.row == hooked.row && wanted.silent)
}

fn configuration(settings: &Settings, types: &Types, transport: Transport) -> Config {
    let mut config = Config::new();
    let mut option = |bit, on| {
        if on {
            config.options |= bit;
        }
    };
    option(COUNT_HITS, settings.verbose > 0);
    option(USE_PERF, transport == Transport::Perf);
    option(WANT_COMM, settings.wants_details());
    option(WANT_DEBUG, settings.verbose > 1);
    option(FOLLOW, settings.follow.is_some());
    option(USE_CAST, types.cast.is_some());
    let layout = &types.layout;
    let together = layout.skb_mac_header == layout.skb_network_header + 2
        && layout.skb_tail == layout.skb_network_header + 4;
    option(READ_TOGETHER, types.cast.is_some() && together);
    option(HAS_DROP_REASONS, !types.drop_reasons.is_empty());
    config.queue_drop = types.drop_reasons.number("QDISC_DROP").unwrap_or(u32::MAX);
    config.cast_type = types.cast.map_or(0, |cast| cast.structure);
    config.follow_mask = settings.follow.map_or(0, |packets| packets.get() / 4 - 1);
    option(WANT_DROP_STACK, settings.drop_stack);
    option(WANT_CALL_STACK, settings.call_stack);
    config.snaplen = settings.snaplen;
    config.active = settings.filter.active();
    config.filter = settings.filter;
    config.filter.seal();
    config.layout = types.layout;
    config
}

fn listening(attached: &Attached, left_out: &[LeftOut]) -> Listening {
    let heard = attached.hooks.iter().map(|hooked| Heard {
        function: hooked.site.symbol.to_owned(),
        by: hooked.by.to_string(),
    });
    let skipped = attached.skipped.iter().map(|skipped| Unheard {
        hook: skipped.hook.name.to_owned(),
        reason: skipped.reason.clone(),
        is_absent: skipped.is_absent,
    });
    let left_out = left_out.iter().map(|left_out| Unheard {
        hook: left_out.name.clone(),
        reason: left_out.reason.to_owned(),
        is_absent: false,
    });
    Listening {
        attached: heard.collect(),
        skipped: skipped.chain(left_out).collect(),
    }
}

/// Says what came of attaching: a count, or with -v a line for each.
fn report(attached: &Attached, wanted: &[Wanted], left_out: &[LeftOut], settings: &Settings) {
    let silent_rows: HashSet<usize> = wanted
        .iter()
        .filter(|hook| hook.silent)
        .map(|hook| hook.row)
        .collect();
    let is_silent = |row: usize| silent_rows.contains(&row);
    let (silent, shown): (Vec<_>, Vec<_>) =
        attached.hooks.iter().partition(|hook| is_silent(hook.row));
    let skipped: Vec<_> = attached
        .skipped
        .iter()
        .map(|skip| (skip, is_silent(skip.row)))
        .collect();
    let hidden = !left_out.is_empty() || skipped.iter().any(|(_, silent)| !silent);
    let hint = if settings.verbose == 0 && hidden {
        " (-v names the others)"
    } else {
        ""
    };
    tell!(
        "skbtrace: attached {} of {} hooks{hint}",
        shown.len(),
        wanted.len() - silent_rows.len() + left_out.len()
    );
    // Without it packets would be taken for others at the same address.
    for (skip, silent) in &skipped {
        if *silent && settings.verbose == 0 && skip.hook.kind == Kind::Free {
            tell!(
                "skbtrace: {}: {}: packets are not followed to their end",
                skip.hook.name,
                skip.reason
            );
        }
    }
    if settings.verbose == 0 {
        return;
    }
    for hooked in shown {
        tell!("skbtrace: attached {} by {}", hooked.site.symbol, hooked.by);
    }
    for hooked in silent {
        tell!(
            "skbtrace: attached {} by {}{}",
            hooked.site.symbol,
            hooked.by,
            purpose(hooked.hook)
        );
    }
    for (skip, silent) in skipped {
        let why = if silent { purpose(skip.hook) } else { "" };
        tell!("skbtrace: skipped {}{why}: {}", skip.hook.name, skip.reason);
    }
    for LeftOut { name, reason } in left_out {
        tell!("skbtrace: skipped {name}: {reason}");
    }
}

/// What a hook without events of its own is for.
fn purpose(hook: &Hook) -> &'static str {
    match hook.kind {
        Kind::HookFunction => " (to tell who decided)",
        _ => " (to follow packets)",
    }
}
