//! A hop: an event that belongs to a journey, as data of its own.
//!
//! [`Event`] borrows from its record, which is gone when the journey is told.

use std::{hash::Hash, sync::Arc};

use rustc_hash::FxHashSet;

use skbtrace_common::{
    hooks::{HOOKS, Hook, Stage},
    record::SHORT_NAME,
};

use super::what::What;
use crate::{
    decode::Names,
    event::{Device, Event, Packet, ShortName, Sock, Vlans, Way},
    lineage::Place,
};

/// A name that many hops share.
pub type Text = Arc<str>;

/// The names that were met.
#[derive(Debug, Default)]
pub struct Texts {
    texts: Kept<str>,
    /// Of tables and chains: any bytes.
    names: Kept<[u8]>,
}

impl Texts {
    /// The shared copy of a name.
    pub fn keep(&mut self, text: &str) -> Text {
        // Most are asked for from where they lie again and again, a few bytes apart at the least.
        self.texts.keep(text, text.as_ptr().addr() >> 3)
    }

    /// The same for a table's or chain's.
    pub fn keep_name(&mut self, name: &[u8]) -> Arc<[u8]> {
        let [first, .., last] = name else {
            return self.names.keep(name, 0);
        };
        let place = name.len() + usize::from(*first) * 3 + usize::from(*last) * 5;
        self.names.keep(name, place)
    }
}

/// Values of which each is kept once.
#[derive(Debug)]
struct Kept<T: ?Sized> {
    known: FxHashSet<Arc<T>>,
    /// Those that were met last, by a number that differs for most of them.
    recent: [Option<Arc<T>>; RECENT],
}

const RECENT: usize = 64;

impl<T: ?Sized> Default for Kept<T> {
    fn default() -> Self {
        Self {
            known: FxHashSet::default(),
            recent: [const { None }; RECENT],
        }
    }
}

impl<T: ?Sized + Eq + Hash> Kept<T>
where
    Arc<T>: for<'a> From<&'a T>,
{
    fn keep(&mut self, value: &T, number: usize) -> Arc<T> {
        let place = number % RECENT;
        if let Some(Some(recent)) = self.recent.get(place)
            && **recent == *value
        {
            return Arc::clone(recent);
        }
        let kept = self.find(value);
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = Some(Arc::clone(&kept));
        }
        kept
    }

    fn find(&mut self, value: &T) -> Arc<T> {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        let new: Arc<T> = value.into();
        self.known.insert(Arc::clone(&new));
        new
    }
}

/// One thing that happened to a packet on its journey.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Address of the `sk_buff`.
    pub skb: u64,
    /// Row of the catalogue ([`HOOKS`]), or behind it.
    pub row: u16,
    /// CPU it happened on.
    pub cpu: u16,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Device the packet was on or was going to.
    pub device: Option<HopDevice>,
    /// The packet could not be read: a device that is missing is then unknown, and not absent.
    pub unread: bool,
    /// Destination address of the Ethernet header.
    pub dest_mac: Option<[u8; 6]>,
    /// VLAN tags.
    pub vlans: Vlans,
    /// What the packet was at that moment.
    pub packet: Packet,
    /// What its IP header said of its way.
    pub way: Option<Way>,
    /// `skb->head`; `None` when unread.
    pub head: Option<u64>,
    /// `skb->len`, bytes; `None` when unread.
    pub len: Option<u32>,
    /// `skb->mark`; `None` when unread.
    pub mark: Option<u32>,
    /// `skb->pkt_type`; `None` when unread.
    pub pkt_type: Option<u8>,
    /// Who was running, often not who sent the packet.
    pub running: Running,
    /// What happened.
    pub what: What,
    /// The kernel stack, as [`Event::stack`].
    pub stack: Option<Box<[u64]>>,
}

/// A device, within its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HopDevice {
    /// Index.
    pub ifindex: u32,
    /// Name, padded with zeros.
    pub name: [u8; SHORT_NAME],
}

impl HopDevice {
    /// The name's bytes, without the padding.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        ShortName(&self.name).bytes()
    }
}

/// The task that was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Its name, padded with zeros; all zero when it was not asked for.
    pub comm: [u8; SHORT_NAME],
}

impl Hop {
    /// The hop that an event is.
    #[must_use]
    pub fn of(event: &Event<'_>, names: &dyn Names, texts: &mut Texts) -> Self {
        Self {
            time_ns: event.time_ns,
            skb: event.skb,
            row: event.hook,
            cpu: event.cpu,
            netns: event.netns,
            device: event.device.map(|Device { ifindex, name }| HopDevice {
                ifindex,
                name: *name.0,
            }),
            unread: event.unread,
            dest_mac: event.dest_mac,
            vlans: event.vlans,
            packet: event.packet,
            way: event.way,
            head: event.head,
            len: event.len,
            mark: event.mark,
            pkt_type: event.pkt_type,
            running: Running {
                pid: event.pid,
                comm: *event.comm.0,
            },
            what: What::of(event, names, texts),
            stack: event.stack.map(Into::into),
        }
    }

    /// The event that it was, of the packet with that place.
    #[must_use]
    pub fn event(&self, place: Place) -> Event<'_> {
        Event {
            time_ns: self.time_ns,
            skb: self.skb,
            id: None,
            parent: None,
            lineage: Some(place),
            head: self.head,
            pkt_type: self.pkt_type,
            len: self.len,
            mark: self.mark,
            unread: self.unread,
            netns: self.netns,
            device: self.device.as_ref().map(|device| Device {
                ifindex: device.ifindex,
                name: ShortName(&device.name),
            }),
            dest_mac: self.dest_mac,
            vlans: self.vlans,
            packet: self.packet,
            way: self.way,
            action: self.what.action(),
            hook: self.row,
            cpu: self.cpu,
            pid: self.running.pid,
            comm: ShortName(&self.running.comm),
            stack: self.stack.as_deref(),
        }
    }

    /// The catalogue's row; `None` for a function that it does not have.
    #[must_use]
    pub fn hook(&self) -> Option<&'static Hook> {
        HOOKS.get(usize::from(self.row))
    }

    /// Where on its way the packet was.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.hook().map_or(Stage::Unknown, |hook| hook.stage)
    }

    /// The function that told.
    #[must_use]
    pub fn function(&self) -> &Text {
        self.what.function()
    }

    /// The socket, where a function works for one.
    #[must_use]
    pub fn sock(&self) -> Option<Sock> {
        match &self.what {
            What::Socket(told) => told.sock,
            _ => None,
        }
    }
}
