//! A record: the bytes of one event, checked once.
//!
//! Bytes come from a ring buffer, from a perf buffer, which pads them, or from a recorded file,
//! and are looked at in this one place: whether they are long enough for what they claim to be.
//!
//! Most are an event and nothing else: such a one is copied and no more ([`Room`]). What has more
//! is taken apart ([`Record`]). Whoever reads records takes a [`RecordRef`], and cannot tell.
//!
//! **Invariant:** a record has a known kind, has exactly the [`Extra`] of that kind, and zeros where
//! nothing of the packet was captured. Nothing else in it is trusted; [`crate::decode`] checks as it goes.

#[cfg(test)]
mod tests;
mod unread;

use skbtrace_common::{
    Plain,
    record::{
        FROM_SOCK, HAS_BYTES, HAS_L2, HAS_STACK, KIND_CLONE, KIND_CONNTRACK, KIND_DROP, KIND_HOP,
        KIND_NAT, KIND_NEIGHBOUR, KIND_SOCKET, KIND_TUNNEL, KIND_VERDICT, LEAD, NAME, PLAIN_BODY,
        RawBytes, RawConntrack, RawEvent, RawNat, RawNeighbour, RawSocket, RawStack, RawTunnel,
        RawVerdict,
    },
};
pub use unread::{EVENT_WORDS, Unread};

/// One event as the kernel side wrote it, wherever it is.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// What every event has.
    pub event: &'a RawEvent,
    /// Where the event has anything besides.
    more: Option<&'a Record>,
}

/// One event as the kernel side wrote it, taken apart.
#[derive(Clone, Debug)]
pub struct Record {
    /// What every event has.
    pub event: RawEvent,
    /// What this kind of event has besides.
    pub extra: Extra,
    /// The kernel stack, when it was asked for.
    pub stack: Option<Box<RawStack>>,
    /// The packet's bytes, when they were asked for and could be read.
    pub bytes: Option<Box<PacketBytes>>,
}

/// A packet's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketBytes {
    /// How long the packet was, from the first of them on.
    pub length: u32,
    /// Length of the Ethernet header that they begin with; 0 for a network header.
    pub link: u16,
    /// The bytes.
    pub data: Box<[u8]>,
}

/// What a record of some kind has besides the event; in boxes, as most events have nothing.
#[derive(Clone, Debug)]
pub enum Extra {
    /// Nothing: hops, copies, drops.
    None,
    /// Where a verdict was spoken.
    Names(Box<TableNames>),
    /// What connection tracking knows.
    Conntrack(Box<RawConntrack>),
    /// The packet before its addresses were translated.
    Nat(Box<RawNat>),
    /// What is known of the packet's neighbour.
    Neighbour(Box<RawNeighbour>),
    /// The socket that a function works for.
    Socket(Box<RawSocket>),
    /// The outer headers and what is in them.
    Tunnel(Box<RawTunnel>),
}

/// The table and chain of a verdict: the part of [`RawVerdict`] that follows the event.
#[derive(Clone, Copy, Debug)]
pub struct TableNames {
    /// Protocol family of the hook (`NFPROTO_*`, include/uapi/linux/netfilter.h).
    pub pf: u8,
    /// Number of the hook within the family.
    pub hooknum: u8,
    /// [`skbtrace_common::hooks::TableKind`] as a number.
    pub table_kind: u8,
    /// Row of the hook function that decided, or [`skbtrace_common::record::NO_ROW`].
    pub decider: u16,
    /// The table's name, ended by a zero unless cut; all zero when unknown.
    pub table: [u8; NAME],
    /// The chain's name likewise; all zero where chains have no names of their own.
    pub chain: [u8; NAME],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end too early.
    #[error("record of {len} bytes is too short: its kind has {needed}")]
    TooShort {
        /// Bytes there are.
        len: usize,
        /// Bytes there should be.
        needed: usize,
    },
    /// No kind this version knows.
    #[error("record of unknown kind {0}: was it written by another version of skbtrace?")]
    UnknownKind(u8),
}

/// Room for a record that is read, whichever it is.
pub struct Room {
    /// One that is an event and nothing else.
    event: RawEvent,
    /// One that has more.
    apart: Option<Record>,
}

impl Default for Room {
    /// With no record yet.
    fn default() -> Self {
        Self {
            event: RawEvent::zeroed(),
            apart: None,
        }
    }
}

impl Room {
    /// Reads the record that `bytes` are; its event, for what only the reader's owner knows of it.
    ///
    /// # Errors
    /// As [`Record::parse`].
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Result<&mut RawEvent, RecordError> {
        self.apart = None;
        if let Some(event) = Unread::of(bytes).filter(|event| event.is_plain()) {
            self.event = event.read();
            return Ok(&mut self.event);
        }
        let record = Record::parse(bytes)?;
        Ok(&mut self.apart.insert(record).event)
    }

    /// The record that was read.
    #[inline]
    #[must_use]
    pub fn record(&self) -> RecordRef<'_> {
        match &self.apart {
            None => RecordRef::plain(&self.event),
            Some(record) => RecordRef::from(record),
        }
    }
}

impl<'a> From<&'a Record> for RecordRef<'a> {
    fn from(record: &'a Record) -> Self {
        let has_more = !matches!(record.extra, Extra::None)
            || record.stack.is_some()
            || record.bytes.is_some();
        Self {
            event: &record.event,
            more: has_more.then_some(record),
        }
    }
}

impl<'a> RecordRef<'a> {
    /// Of an event that has nothing besides.
    #[inline]
    pub fn plain(event: &'a RawEvent) -> Self {
        Self { event, more: None }
    }

    /// What this kind of event has besides.
    #[inline]
    pub fn extra(self) -> &'a Extra {
        self.more.map_or(&Extra::None, |record| &record.extra)
    }

    /// The kernel stack, when it was asked for.
    #[inline]
    pub fn stack(self) -> Option<&'a RawStack> {
        self.more?.stack.as_deref()
    }

    /// The packet's bytes, when they were asked for and could be read.
    #[inline]
    pub fn bytes(self) -> Option<&'a PacketBytes> {
        self.more?.bytes.as_deref()
    }

    /// Whether there is anything but the event.
    #[inline]
    pub fn has_more(self) -> bool {
        self.more.is_some()
    }

    /// Appends what follows the event: with the event's bytes before it, what [`Record::parse`]
    /// makes the same record of.
    pub fn push_behind(self, out: &mut Vec<u8>) {
        if let Some(record) = self.more {
            record.push_behind(out);
        }
    }
}

impl Record {
    /// Makes a record of `bytes`, which may be longer than it: perf pads to a multiple of eight.
    ///
    /// # Errors
    /// The bytes are too few, or of a kind that this version does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut event: RawEvent = read(bytes)?;
        clear_unwritten(&mut event);
        let (extra, size) = match event.kind {
            KIND_HOP | KIND_CLONE | KIND_DROP => (Extra::None, size_of::<RawEvent>()),
            KIND_VERDICT => (
                Extra::Names(TableNames::parse(bytes)?),
                size_of::<RawVerdict>(),
            ),
            KIND_CONNTRACK => {
                let extra = RawConntrack {
                    event,
                    ..read(bytes)?
                };
                (Extra::Conntrack(Box::new(extra)), size_of::<RawConntrack>())
            }
            KIND_NAT => {
                let extra = RawNat {
                    event,
                    ..read(bytes)?
                };
                (Extra::Nat(Box::new(extra)), size_of::<RawNat>())
            }
            KIND_NEIGHBOUR => {
                let extra = RawNeighbour {
                    event,
                    ..read(bytes)?
                };
                (Extra::Neighbour(Box::new(extra)), size_of::<RawNeighbour>())
            }
            KIND_SOCKET => {
                let extra = RawSocket {
                    event,
                    ..read(bytes)?
                };
                (Extra::Socket(Box::new(extra)), size_of::<RawSocket>())
            }
            KIND_TUNNEL => {
                let extra = RawTunnel {
                    event,
                    ..read(bytes)?
                };
                (Extra::Tunnel(Box::new(extra)), size_of::<RawTunnel>())
            }
            kind => return Err(RecordError::UnknownKind(kind)),
        };
        let (stack, bytes) = if event.flags & (HAS_STACK | HAS_BYTES) == 0 {
            (None, None)
        } else {
            behind_kind(event.flags, bytes, size)?
        };
        Ok(Self {
            event,
            extra,
            stack,
            bytes,
        })
    }
}

/// Which bits the kernel side wrote of events that are like this one: all but what is cleared when a
/// record is read.
#[must_use]
pub fn written(event: &RawEvent) -> RawEvent {
    let ones = RawEvent::from_bytes(&[0xff; size_of::<RawEvent>()]);
    let ones = ones.unwrap_or(*event);
    let mut written = RawEvent {
        flags: event.flags,
        l2_len: event.l2_len,
        captured: event.captured,
        ..ones
    };
    clear_unwritten(&mut written);
    RawEvent {
        packet: written.packet,
        ..ones
    }
}

/// Clears what is not the packet's: what stands before its headers, and behind the captured bytes,
/// where no one wrote.
#[inline]
fn clear_unwritten(event: &mut RawEvent) {
    if event.flags & FROM_SOCK != 0 {
        return;
    }
    match (event.flags & HAS_L2 != 0, event.l2_len) {
        // Of lengths that are known here.
        (false, _) => event.packet[..LEAD].fill(0),
        (true, 14) => event.packet[..LEAD - 14].fill(0),
        (true, link) => {
            let before = LEAD.saturating_sub(usize::from(link));
            event.packet[..before].fill(0);
        }
    }
    let captured = usize::from(event.captured);
    if captured <= PLAIN_BODY {
        event.packet[LEAD + PLAIN_BODY..].fill(0);
    }
    if captured != PLAIN_BODY
        && let Some(rest) = event.packet.get_mut(LEAD + captured..)
    {
        rest.fill(0);
    }
}

/// What may stand behind the part of a record that its kind says.
type Behind = (Option<Box<RawStack>>, Option<Box<PacketBytes>>);

/// Takes it off what follows the first `size` bytes.
#[inline(never)]
fn behind_kind(flags: u16, bytes: &[u8], mut size: usize) -> Result<Behind, RecordError> {
    let rest = |size: usize| bytes.get(size..).unwrap_or_default();
    let mut stack = None;
    if flags & HAS_STACK != 0 {
        let raw = RawStack::from_bytes(rest(size));
        size += size_of::<RawStack>();
        stack = Some(Box::new(raw.ok_or(RecordError::TooShort {
            len: bytes.len(),
            needed: size,
        })?));
    }
    // Without the bytes the event is still one.
    let packet = if flags & HAS_BYTES == 0 {
        None
    } else {
        PacketBytes::parse(rest(size)).map(Box::new)
    };
    Ok((stack, packet))
}

impl PacketBytes {
    /// `None` when nothing was captured, or less than is said.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let raw = RawBytes::from_bytes(bytes).filter(|raw| raw.captured != 0)?;
        let start = size_of::<RawBytes>();
        let data = bytes.get(start..start + usize::from(raw.captured))?;
        Some(Self {
            length: raw.length,
            link: raw.link,
            data: data.into(),
        })
    }
}

impl Record {
    fn push_behind(&self, out: &mut Vec<u8>) {
        match &self.extra {
            Extra::None => {}
            Extra::Names(names) => out.extend_from_slice(behind(&names.raw(self.event))),
            Extra::Conntrack(extra) => out.extend_from_slice(behind(&**extra)),
            Extra::Nat(extra) => out.extend_from_slice(behind(&**extra)),
            Extra::Neighbour(extra) => out.extend_from_slice(behind(&**extra)),
            Extra::Socket(extra) => out.extend_from_slice(behind(&**extra)),
            Extra::Tunnel(extra) => out.extend_from_slice(behind(&**extra)),
        }
        if let Some(stack) = &self.stack {
            out.extend_from_slice(stack.as_bytes());
        }
        if let Some(bytes) = &self.bytes {
            let raw = RawBytes {
                length: bytes.length,
                captured: u16::try_from(bytes.data.len()).unwrap_or(0),
                link: bytes.link,
            };
            out.extend_from_slice(raw.as_bytes());
            out.extend_from_slice(&bytes.data);
        }
    }
}

/// The part of a longer record that follows its event, which every one begins with.
fn behind<T: Plain>(raw: &T) -> &[u8] {
    raw.as_bytes()
        .get(size_of::<RawEvent>()..)
        .unwrap_or_default()
}

fn read<T: Plain>(bytes: &[u8]) -> Result<T, RecordError> {
    T::from_bytes(bytes).ok_or(RecordError::TooShort {
        len: bytes.len(),
        needed: size_of::<T>(),
    })
}

impl TableNames {
    fn raw(&self, event: RawEvent) -> RawVerdict {
        RawVerdict {
            event,
            pf: self.pf,
            hooknum: self.hooknum,
            table_kind: self.table_kind,
            reserved: 0,
            decider: self.decider,
            reserved_too: 0,
            table: self.table,
            chain: self.chain,
        }
    }

    fn parse(bytes: &[u8]) -> Result<Box<Self>, RecordError> {
        let verdict: RawVerdict = read(bytes)?;
        Ok(Box::new(Self {
            pf: verdict.pf,
            hooknum: verdict.hooknum,
            table_kind: verdict.table_kind,
            decider: verdict.decider,
            table: verdict.table,
            chain: verdict.chain,
        }))
    }
}
