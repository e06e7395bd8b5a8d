//! Which of a record's bytes are the packet's, and what they begin with.

use skbtrace_common::record::{BODY, FROM_SOCK, HAS_L2, HAS_L3, LEAD, RawEvent};

use crate::record::RecordRef;

/// Ethertypes (include/uapi/linux/if_ether.h).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Length of an IPv6 header.
const IPV6_HEADER: u32 = 40;

/// What a packet's bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// A packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub link: Link,
    pub data: &'a [u8],
    /// How long the packet was, from the first of them on.
    pub original: u32,
}

/// What a record has of its packet, at most `snaplen` bytes; `None` when none of it can be told as
/// a packet: there is no header yet, or one of a kind that has no name here.
pub fn of(record: RecordRef<'_>, snaplen: Option<u32>) -> Option<Frame<'_>> {
    let raw = record.event;
    if raw.flags & FROM_SOCK != 0 || raw.flags & HAS_L3 == 0 {
        return None;
    }
    let mut frame = match record.bytes() {
        Some(bytes) => Frame {
            link: link(bytes.link, raw)?,
            data: &bytes.data,
            original: bytes.length,
        },
        None => headers(raw)?,
    };
    frame.original = frame
        .original
        .max(u32::try_from(frame.data.len()).unwrap_or(u32::MAX));
    let most = snaplen.map_or(usize::MAX, |most| most as usize);
    frame.data = frame.data.get(..most).unwrap_or(frame.data);
    Some(frame)
}

/// What bytes begin with that have a link-layer header of this length.
fn link(length: u16, raw: &RawEvent) -> Option<Link> {
    match (length, u16::from_be(raw.protocol)) {
        // What else stands before a network header is a tunnel's.
        (14 | 18 | 22, _) => Some(Link::Ethernet),
        (0, IPV4 | IPV6) => Some(Link::Ip),
        _ => None,
    }
}

/// The headers that every record has.
fn headers(raw: &RawEvent) -> Option<Frame<'_>> {
    let end = LEAD + usize::from(raw.captured).min(BODY);
    let body = raw.packet.get(LEAD..end).filter(|body| !body.is_empty())?;
    let before = if raw.flags & HAS_L2 == 0 || !matches!(raw.l2_len, 14 | 18 | 22) {
        0
    } else {
        raw.l2_len
    };
    let link = link(before, raw)?;
    let start = LEAD - usize::from(before);
    let length = length_of(body, u16::from_be(raw.protocol)).unwrap_or(raw.len);
    Some(Frame {
        link,
        data: raw.packet.get(start..end)?,
        original: length.saturating_add(u32::from(before)),
    })
}

/// How long an IP packet says it is; `None` where it does not say: another protocol, or a packet
/// that is not finished or longer than the field can tell.
fn length_of(body: &[u8], ethertype: u16) -> Option<u32> {
    let number = |at: usize| {
        let bytes = body.get(at..at + 2)?.try_into().ok()?;
        Some(u32::from(u16::from_be_bytes(bytes))).filter(|&length| length != 0)
    };
    match ethertype {
        IPV4 => number(2),
        IPV6 => number(4).map(|length| length + IPV6_HEADER),
        _ => None,
    }
}
