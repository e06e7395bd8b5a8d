//! Starting: from settings to attached hooks and an open buffer.

use std::{os::fd::AsFd as _, sync::atomic::Ordering};

use anyhow::{Result, anyhow, bail};
use aya::maps::MapData;
use skbtrace_common::{
    config::{COUNT_HITS, Config, USE_PERF, WANT_CALL_STACK, WANT_COMM, WANT_DROP_STACK},
    hooks::{HOOKS, Kind},
    layout::Layout,
};

use super::Stop;
use crate::{
    attach::{
        self, Attached, Hooked, Wanted,
        kprobe::Kprobes,
        object::{Loaded, MapName},
        sys,
    },
    kernel::{drop_reasons::DropReasons, features, layout::Types},
    record::Record,
    settings::{Settings, Transport},
    stats::LiveCounters,
    tell,
    transport::{Drained, Ordered, Reader},
};

/// The kernel side, built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/skbtrace"));

/// Everything that runs in the kernel, and the way back from there.
pub struct Engine {
    /// What is listened on.
    pub hooks: Vec<Hooked>,
    /// Records.
    pub reader: Reader,
    /// What the kernel side counts.
    pub counters: LiveCounters,
    /// Where this kernel keeps its fields.
    pub layout: Layout,
    /// What this kernel calls its reasons for drops; empty when drops are not listened to.
    pub drop_reasons: DropReasons,
    /// Records that could not be understood.
    pub damaged: u64,
    switch: MapData,
}

impl Engine {
    /// Attaches what the settings ask for. `None` when told to stop meanwhile.
    pub fn start(settings: &Settings, stop: &Stop) -> Result<Option<Self>> {
        let kprobes = Kprobes::new()?;
        let types = Types::read_with(settings.btf.as_deref(), settings.wants_drops())?;
        let wanted = choose(settings, &types);

        sys::unlimit_locked_memory();
        let transport = match settings.transport {
            Transport::Auto if features::has_ring_buffer() => Transport::Ringbuf,
            Transport::Auto => Transport::Perf,
            chosen => chosen,
        };
        let config = configuration(settings, &types, transport);
        let mut loaded = Loaded::new(OBJECT, &config, settings.buffer, settings.verbose > 1)?;
        let Types {
            layout,
            drop_reasons,
            ..
        } = types;

        let mut take = |name| loaded.take(name).ok_or_else(|| anyhow!("no map {name:?}"));
        let counters = LiveCounters::new(take(MapName::Counters)?)?;
        let switch = take(MapName::Switch)?;
        let reader = match transport {
            Transport::Perf => Reader::perf(take(MapName::Perf)?, settings.buffer)?,
            Transport::Auto | Transport::Ringbuf => Reader::ring(take(MapName::Ring)?)?,
        };

        let count = wanted.len();
        let Some(attached) = attach_or_stop(&loaded, kprobes, &wanted, stop) else {
            return Ok(None);
        };
        report(&attached, count, settings.verbose);
        if attached.hooks.is_empty() {
            bail!("no hook could be attached; -v says why, and see `skbtrace check`");
        }
        Ok(Some(Self {
            hooks: attached.hooks,
            reader,
            counters,
            layout,
            drop_reasons,
            damaged: 0,
            switch,
        }))
    }

    /// Moves records that there are into `events`.
    pub fn drain(&mut self, events: &mut Ordered) -> Drained {
        let damaged = &mut self.damaged;
        self.reader.drain(|bytes| match Record::parse(bytes) {
            Ok(record) => events.push(record),
            Err(_) => *damaged += 1,
        })
    }

    /// Lets the kernel side produce no more events; it goes on being called until it is detached.
    pub fn stop_producing(&self) {
        // Should it fail, there are only more events to print.
        let _ = sys::set_only_element(self.switch.fd().as_fd(), &1_u32.to_ne_bytes());
    }

    /// Hits that the kernel skipped; `None` where it does not tell.
    pub fn missed(&self) -> Option<u64> {
        self.hooks
            .iter()
            .flat_map(|hook| &hook.probes)
            .map(attach::kprobe::Probe::missed)
            .sum()
    }
}

/// The hooks of the chosen sets that the filter can match.
fn choose(settings: &Settings, types: &Types) -> Vec<Wanted> {
    HOOKS
        .iter()
        .enumerate()
        .filter(|(_, hook)| settings.wants(hook))
        .map(|(row, hook)| Wanted {
            row,
            sites: types.sites(hook.sites),
        })
        .collect()
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
    option(WANT_COMM, settings.wide);
    option(WANT_DROP_STACK, settings.drop_stack);
    option(WANT_CALL_STACK, settings.call_stack);
    config.active = settings.filter.active();
    config.filter = settings.filter;
    config.layout = types.layout;
    config
}

/// Attaches, and detaches again when told to stop meanwhile.
fn attach_or_stop(
    loaded: &Loaded,
    kprobes: Kprobes,
    wanted: &[Wanted],
    stop: &Stop,
) -> Option<Attached> {
    let flag = stop.flag();
    let attached = attach::attach(loaded, kprobes, wanted, &flag);
    if !flag.load(Ordering::Relaxed) {
        return Some(attached);
    }
    tell!("skbtrace: stopped while attaching");
    attach::detach(attached.hooks);
    None
}

/// Says what came of attaching: a count, or with -v a line for each.
fn report(attached: &Attached, wanted: usize, verbose: u8) {
    let hint = if verbose == 0 && !attached.skipped.is_empty() {
        " (-v names the others)"
    } else {
        ""
    };
    tell!(
        "skbtrace: attached {} of {wanted} hooks{hint}",
        attached.hooks.len()
    );
    if verbose == 0 {
        return;
    }
    for hooked in &attached.hooks {
        let at = if matches!(HOOKS[hooked.row].kind, Kind::Hop) {
            "kprobe"
        } else {
            "kprobe and kretprobe"
        };
        tell!("skbtrace: attached {} by {at}", hooked.site.symbol);
    }
    for skipped in &attached.skipped {
        tell!(
            "skbtrace: skipped {}: {}",
            HOOKS[skipped.row].name,
            skipped.reason
        );
    }
}

/// A program that is loaded, for the kernel-side log.
pub fn any_program(hooks: &[Hooked]) -> Option<u32> {
    let probe = hooks.first()?.probes.first()?;
    Some(sys::program_info(probe.program()).ok()?.0)
}
