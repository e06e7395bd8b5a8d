//! Names that the kernel side's numbers stand for in this run.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use skbtrace_common::{
    hooks::{HOOKS, Kind},
    layout::Layout,
};

use super::{attaching::Engine, machine::Machine};
use crate::{
    decode::Names,
    event::{Process, Symbol},
    kernel::{
        code::BridgeCode,
        drop_reasons::DropReasons,
        interfaces::{Program, State},
        rulesets::{Ending, Question, Rulesets},
        sockets::Owners,
        symbols::addresses::Addresses,
    },
    listening::Listening,
    render::local_utc_offset,
};

/// The names of one run.
pub struct SessionNames {
    /// By row.
    hooks: Vec<&'static str>,
    bridge: RefCell<Bridge>,
    /// Only when it is shown.
    machine: Option<Machine>,
    /// Only when sockets are told of.
    owners: Option<RefCell<Owners>>,
    /// Only when something explains, or records for what may explain.
    rulesets: Option<RefCell<Rulesets>>,
    layout: Layout,
    listening: Listening,
    addresses: Addresses,
    drop_reasons: DropReasons,
}

impl SessionNames {
    /// The names of what is attached; of network namespaces and interfaces only with `details`, and
    /// of what ended packets only with `endings`.
    pub fn new(engine: &Engine, details: bool, endings: bool) -> Self {
        let mut hooks: Vec<_> = HOOKS.iter().map(|hook| hook.name).collect();
        for hooked in &engine.hooks {
            if hooks.len() <= hooked.row {
                hooks.resize(hooked.row + 1, "");
            }
            hooks[hooked.row] = match hooked.hook.kind {
                Kind::Hop | Kind::Socket | Kind::Tunnel => hooked.site.display_name(),
                _ => hooked.hook.name,
            };
        }
        let tells_sockets = engine
            .hooks
            .iter()
            .any(|hooked| hooked.hook.kind == Kind::Socket);
        Self {
            hooks,
            bridge: RefCell::default(),
            machine: details.then(Machine::look),
            owners: tells_sockets.then(|| RefCell::new(Owners::read())),
            rulesets: endings.then(RefCell::default),
            layout: engine.layout,
            listening: engine.listening.clone(),
            addresses: Addresses::of_kernel(),
            drop_reasons: engine.drop_reasons.clone(),
        }
    }

    /// Takes over what was learnt of the machine meanwhile; to be called between two lines, for
    /// none of them waits for it.
    pub fn update(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.update();
        }
    }

    /// Has what is known of a network namespace's interfaces be no older than a packet's loss there.
    #[cold]
    pub fn as_of(&mut self, netns: u32, place: u64, time_ns: u64) {
        if let Some(machine) = &mut self.machine {
            machine.as_of(netns, place, time_ns);
        }
    }
}

/// The bridge's code, looked for when a copy is seen: a bridge may be loaded during the run.
#[derive(Default)]
struct Bridge {
    code: BridgeCode,
    looked: Option<Instant>,
}

impl Bridge {
    /// How long the kernel's answer is believed.
    const BELIEVED: Duration = Duration::from_secs(1);

    fn contains(&mut self, address: u64) -> bool {
        if self.code.contains(address) {
            return true;
        }
        if self.looked.is_some_and(|at| at.elapsed() < Self::BELIEVED) {
            return false;
        }
        // Symbols cost much and do not change: they are read the first time only.
        self.code = BridgeCode::read(self.looked.is_none());
        self.looked = Some(Instant::now());
        self.code.contains(address)
    }
}

impl Names for SessionNames {
    fn hook(&self, row: u16) -> &str {
        self.hooks.get(usize::from(row)).copied().unwrap_or("")
    }

    fn is_bridge_code(&self, address: u64) -> bool {
        self.bridge.borrow_mut().contains(address)
    }

    fn netns(&self, inode: u32) -> Option<&str> {
        self.machine.as_ref()?.netns(inode)
    }

    fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        self.machine.as_ref()?.link(netns, ifindex)
    }

    fn interface(&self, netns: u32, ifindex: u32) -> Option<State> {
        self.machine.as_ref()?.state(netns, ifindex)
    }

    fn programs(&self, netns: u32, ifindex: u32) -> &[Program] {
        let machine = self.machine.as_ref();
        machine.map_or(&[], |machine| machine.programs(netns, ifindex))
    }

    fn listening(&self) -> Option<&Listening> {
        Some(&self.listening)
    }

    fn sock_layout(&self) -> &Layout {
        &self.layout
    }

    fn socket_owner(&self, inode: u64) -> Option<Process> {
        self.owners.as_ref()?.borrow_mut().find(inode)
    }

    fn ending(&self, question: &Question) -> Option<Ending> {
        self.rulesets.as_ref()?.borrow_mut().ask(question)
    }

    fn symbol(&self, address: u64) -> Option<Symbol<'_>> {
        self.addresses.find(address)
    }

    fn drop_reason(&self, number: u32) -> Option<&str> {
        self.drop_reasons.name(number)
    }

    fn drop_subsystem(&self, number: u32) -> Option<&str> {
        self.drop_reasons.subsystem(number)
    }

    fn utc_offset(&self, unix: i64) -> i32 {
        local_utc_offset(unix)
    }

    fn generation(&self) -> u64 {
        self.machine.as_ref().map_or(0, Machine::generation)
    }
}
