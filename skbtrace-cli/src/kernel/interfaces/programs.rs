//! What looks at an interface's packets and can drop them: programs of XDP and tcx, filters of tc.
//!
//! Filters whose actions only pass a packet on are left out; of kinds that are not known here it is
//! believed that they can drop.
//!
//! **Invariant:** no bytes make reading fail or panic: what cannot be read is left out.

use std::{collections::HashMap, io};

use serde::{Deserialize, Serialize};

use super::{Interface, netlink::Route};
use crate::{
    attach::sys::{self, Tcx},
    kernel::netlink::{attributes, number, text},
};

/// Where on a packet's way a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Before there is a packet, or right behind.
    Xdp,
    /// tc, what comes in.
    Ingress,
    /// tc, what goes out.
    Egress,
}

/// A program, or a filter with its actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Where it is.
    pub side: Side,
    /// The program's, or the filter's kind (`flower`); any bytes, and none when it is not known.
    pub name: Vec<u8>,
    /// The program's kernel-wide number; `None` for a filter that is none.
    pub id: Option<u32>,
    /// Which filter of the queueing discipline it is; `None` for XDP and tcx (6.6), which have none.
    pub filter: Option<Filter>,
}

/// A filter among those of a side, as `tc filter show` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// `pref`.
    pub priority: u16,
    /// `handle`.
    pub handle: u32,
}

/// Messages about queueing disciplines and filters (include/uapi/linux/rtnetlink.h, pkt_sched.h,
/// pkt_cls.h, tc_act/tc_gact.h).
mod wire {
    /// `struct tcmsg`: family, padding, interface, handle, parent, and what the filter is under; bytes.
    pub const TCMSG: usize = 20;
    /// `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS`; a discipline `ingress` takes the
    /// first, too.
    pub const INGRESS: u32 = 0xffff_fff2;
    pub const EGRESS: u32 = 0xffff_fff3;
    pub const BPF_NAME: u16 = 7;
    pub const BPF_FLAGS: u16 = 8;
    pub const BPF_ID: u16 = 11;
    /// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is done.
    pub const BPF_DIRECT: u32 = 1;
    pub const ACT_KIND: u16 = 1;
    pub const ACT_OPTIONS: u16 = 2;
    pub const GACT_PARMS: u16 = 2;
    pub const GACT_PROB: u16 = 3;
    /// `TC_ACT_SHOT`.
    pub const SHOT: u32 = 2;
}

/// By interface, in the order of sides. `route` is in the network namespace that the thread is in.
pub fn read(route: &mut Route, interfaces: &HashMap<u32, Interface>) -> HashMap<u32, Vec<Program>> {
    let mut found: HashMap<u32, Vec<Program>> = HashMap::new();
    for interface in interfaces.values() {
        let programs = interface.xdp.iter();
        let programs: Vec<_> = programs.map(|&id| of_bpf(Side::Xdp, id)).collect();
        if !programs.is_empty() {
            found.insert(interface.index, programs);
        }
    }
    let sides = [
        (Side::Ingress, Tcx::Ingress, wire::INGRESS),
        (Side::Egress, Tcx::Egress, wire::EGRESS),
    ];
    // What a netns does not tell is missing.
    let classifying = classifying(route).unwrap_or_default();
    for (side, tcx, parent) in sides {
        for &index in interfaces.keys() {
            // Kernels without tcx refuse the first, and would refuse them all.
            let Ok(ids) = sys::tcx_programs(index, tcx) else {
                break;
            };
            let programs = ids.into_iter().map(|id| of_bpf(side, id));
            extend(&mut found, index, programs.collect());
        }
        for &index in &classifying {
            let filters = filters(route, index, side, parent);
            extend(&mut found, index, filters.unwrap_or_default());
        }
    }
    found
}

fn extend(found: &mut HashMap<u32, Vec<Program>>, index: u32, programs: Vec<Program>) {
    if !programs.is_empty() {
        found.entry(index).or_default().extend(programs);
    }
}

fn of_bpf(side: Side, id: u32) -> Program {
    Program {
        side,
        // It may have gone since.
        name: sys::program_name(id).unwrap_or_default(),
        id: Some(id),
        filter: None,
    }
}

/// Interfaces that have a place for filters of what comes in, or goes out.
fn classifying(route: &mut Route) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    let body = [0; wire::TCMSG];
    route.dump(libc::RTM_GETQDISC, libc::RTM_NEWQDISC, &body, |payload| {
        found.extend(classifies(payload));
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The interface that a queueing discipline is of, if that holds such filters.
fn classifies(payload: &[u8]) -> Option<u32> {
    let (header, rest) = payload.split_at_checked(wire::TCMSG)?;
    let mut is_one = false;
    attributes(rest, |kind, value| {
        if kind == libc::TCA_KIND {
            is_one = [&b"clsact"[..], b"ingress"].contains(&text(value));
        }
    });
    number(header.get(4..8)?).filter(|_| is_one)
}

/// The filters at one side of an interface that can drop.
fn filters(route: &mut Route, index: u32, side: Side, parent: u32) -> io::Result<Vec<Program>> {
    let mut body = [0; wire::TCMSG];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[12..16].copy_from_slice(&parent.to_ne_bytes());
    let mut found = Vec::new();
    route.dump(
        libc::RTM_GETTFILTER,
        libc::RTM_NEWTFILTER,
        &body,
        |payload| {
            found.extend(filter(payload, side));
        },
    )?;
    Ok(found)
}

/// A filter, if it can drop.
fn filter(payload: &[u8], side: Side) -> Option<Program> {
    let (header, rest) = payload.split_at_checked(wire::TCMSG)?;
    let handle = number(header.get(8..12)?)?;
    // struct tcmsg.tcm_info: priority and protocol.
    let priority = (number(header.get(16..20)?)? >> 16) as u16;
    let (mut kind, mut options) = (Vec::new(), None);
    attributes(rest, |attribute, value| match attribute {
        libc::TCA_KIND => kind = text(value).to_vec(),
        libc::TCA_OPTIONS => options = Some(value.to_vec()),
        _ => {}
    });
    // Each kind of filter is told of by itself first, without options.
    let options = options?;
    if !can_drop(&kind, &options) {
        return None;
    }
    let (mut name, mut id) = (Vec::new(), None);
    if kind == b"bpf" {
        attributes(&options, |attribute, value| match attribute {
            wire::BPF_NAME => name = text(value).to_vec(),
            wire::BPF_ID => id = number(value),
            _ => {}
        });
    }
    Some(Program {
        side,
        // Classic BPF has no number.
        name: if id.is_some() { name } else { kind },
        id,
        filter: Some(Filter { priority, handle }),
    })
}

/// Whether a filter of this kind drops, by itself or by one of its actions.
fn can_drop(kind: &[u8], options: &[u8]) -> bool {
    // TCA_BPF_ACT, TCA_MATCHALL_ACT, TCA_FLOWER_ACT and so on.
    let actions = match kind {
        b"bpf" => 1,
        b"matchall" => 2,
        b"flower" | b"basic" => 3,
        b"fw" => 4,
        b"u32" => 7,
        _ => return true,
    };
    let mut drops = false;
    attributes(options, |attribute, value| {
        if attribute == actions {
            attributes(value, |_, action| drops |= action_drops(action));
        } else if kind == b"bpf" && attribute == wire::BPF_FLAGS {
            drops |= number(value).is_some_and(|flags| flags & wire::BPF_DIRECT != 0);
        }
    });
    drops
}

fn action_drops(action: &[u8]) -> bool {
    let (mut kind, mut drops) = (Vec::new(), false);
    attributes(action, |attribute, value| match attribute {
        wire::ACT_KIND => kind = text(value).to_vec(),
        wire::ACT_OPTIONS => attributes(value, |attribute, value| match attribute {
            // struct tc_gact: index, capabilities, action.
            wire::GACT_PARMS => drops |= value.get(8..12).and_then(number) == Some(wire::SHOT),
            wire::GACT_PROB => drops = true,
            _ => {}
        }),
        _ => {}
    });
    match &*kind {
        b"gact" => drops,
        b"mirred" => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
