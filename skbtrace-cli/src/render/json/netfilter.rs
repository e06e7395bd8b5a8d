//! What netfilter said: verdicts, connection tracking, translation.

use super::{
    packet,
    text::{
        boolean, name, number, optional, optional_boolean, optional_number, optional_string, put,
        words,
    },
};
use crate::{
    decode::errno_name,
    event::{
        Chain, Change, CtEntry, CtState, Direction, Identity, Name, Packet, Translation, Tuple,
        Verdict,
    },
};

/// Where a verdict was spoken, and by whom.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    /// Protocol family of the hook (`NFPROTO_*`).
    pub family: Option<u8>,
    /// Number of the hook within the family.
    pub hook: Option<u8>,
    /// The table; nothing where none decides.
    pub table: Option<Name<'a>>,
    /// The chain; likewise.
    pub chain: Option<Chain<'a>>,
    /// Of a hook as a whole, the function that decided.
    pub decider: Option<&'a str>,
}

/// Appends a verdict.
pub fn verdict(verdict: Verdict, speaker: Speaker<'_>, out: &mut Vec<u8>) {
    put("{\"verdict\":\"", out);
    put(
        match verdict {
            Verdict::Drop(_) => "DROP",
            Verdict::Accept => "ACCEPT",
            Verdict::Stolen => "STOLEN",
            Verdict::Queue { .. } => "QUEUE",
            Verdict::Repeat => "REPEAT",
            Verdict::Stop => "STOP",
            Verdict::Other(_) => "OTHER",
        },
        out,
    );
    let (errno, queue, bypass, raw) = match verdict {
        Verdict::Drop(errno) => (errno, None, None, None),
        Verdict::Queue { number, bypass } => (None, Some(number), Some(bypass), None),
        Verdict::Other(raw) => (None, None, None, Some(raw)),
        Verdict::Accept | Verdict::Stolen | Verdict::Repeat | Verdict::Stop => {
            (None, None, None, None)
        }
    };
    put("\",\"errno\":", out);
    optional_number(errno, out);
    put(",\"error\":", out);
    optional_string(errno.and_then(errno_name).map(str::as_bytes), out);
    put(",\"queue\":", out);
    optional_number(queue, out);
    put(",\"queue_bypass\":", out);
    optional_boolean(bypass, out);
    put(",\"raw\":", out);
    optional_number(raw, out);
    put(",\"family\":", out);
    optional_number(speaker.family, out);
    put(",\"hook\":", out);
    optional_number(speaker.hook, out);
    put(",\"table\":", out);
    name(speaker.table.map_or(b"", |table| table.bytes), out);
    put(",\"table_cut\":", out);
    cut(speaker.table, out);
    let own = |chain| match chain {
        Chain::Own(name) => Some(name),
        Chain::Hook(name) => Some(Name {
            bytes: name.as_bytes(),
            cut: false,
        }),
        Chain::HookNumber(_) => None,
    };
    let chain = speaker.chain.and_then(own);
    put(",\"chain\":", out);
    name(chain.map_or(b"", |chain| chain.bytes), out);
    put(",\"chain_cut\":", out);
    cut(chain, out);
    put(",\"decider\":", out);
    optional_string(speaker.decider.map(str::as_bytes), out);
    put("}", out);
}

/// Appends whether a name is longer than what is told of it.
fn cut(name: Option<Name<'_>>, out: &mut Vec<u8>) {
    let known = name.filter(|name| !name.bytes.is_empty());
    optional_boolean(known.map(|name| name.cut), out);
}

/// Appends what connection tracking says.
pub fn conntrack(state: CtState, entry: Option<&CtEntry>, out: &mut Vec<u8>) {
    put("{\"state\":", out);
    put(
        match state {
            CtState::New => "\"NEW\"",
            CtState::Established(_) => "\"ESTABLISHED\"",
            CtState::Related(_) => "\"RELATED\"",
            CtState::Invalid => "\"INVALID\"",
            CtState::Untracked => "\"UNTRACKED\"",
            CtState::Other(_) | CtState::Unknown => "null",
        },
        out,
    );
    put(",\"ctinfo\":", out);
    let number = match state {
        CtState::Other(number) => Some(number),
        _ => None,
    };
    optional_number(number, out);
    put(",\"direction\":", out);
    put(
        match state.direction() {
            Some(Direction::Original) => "\"original\"",
            Some(Direction::Reply) => "\"reply\"",
            None => "null",
        },
        out,
    );
    put(",\"entry\":", out);
    optional(entry, out, self::entry);
    put("}", out);
}

fn entry(entry: &CtEntry, out: &mut Vec<u8>) {
    put("{\"status\":", out);
    words(entry.status.names(), out);
    put(",\"status_bits\":", out);
    number(entry.status.0, out);
    put(",\"zone\":", out);
    number(entry.zone, out);
    put(",\"mark\":", out);
    number(entry.mark, out);
    put(",\"original\":", out);
    tuple(&entry.original, out);
    put(",\"reply\":", out);
    tuple(&entry.reply, out);
    put("}", out);
}

fn tuple(tuple: &Tuple, out: &mut Vec<u8>) {
    let (ports, icmp) = match tuple.identity {
        Identity::Ports(ports) => (Some(ports), None),
        Identity::Icmp { kind, code, id } => (None, Some((kind, code, id))),
        Identity::None => (None, None),
    };
    put("{\"protocol\":", out);
    number(tuple.protocol, out);
    put(",\"src\":", out);
    super::text::ip(tuple.src, out);
    put(",\"src_port\":", out);
    optional_number(ports.map(|ports| ports.src), out);
    put(",\"dst\":", out);
    super::text::ip(tuple.dst, out);
    put(",\"dst_port\":", out);
    optional_number(ports.map(|ports| ports.dst), out);
    put(",\"icmp_type\":", out);
    optional_number(icmp.map(|(kind, _, _)| kind), out);
    put(",\"icmp_code\":", out);
    optional_number(icmp.map(|(_, code, _)| code), out);
    put(",\"icmp_id\":", out);
    optional_number(icmp.map(|(_, _, id)| id), out);
    put("}", out);
}

/// Appends a translation: what changed, and the packet as it was.
pub fn nat(changed: Translation, before: &Packet, out: &mut Vec<u8>) {
    let change = |change, out: &mut Vec<u8>| match change {
        Change::Same => boolean(false, out),
        Change::Rewritten => boolean(true, out),
        Change::Unknown => put("null", out),
    };
    put("{\"src_changed\":", out);
    change(changed.src, out);
    put(",\"dst_changed\":", out);
    change(changed.dst, out);
    put(",\"id_changed\":", out);
    change(changed.id, out);
    put(",\"before\":", out);
    packet::push(before, out);
    put("}", out);
}
