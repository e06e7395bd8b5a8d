//! Netfilter's numbers: verdicts, hooks, errors (include/uapi/linux/netfilter.h).

use skbtrace_common::hooks::TableKind;

use crate::{
    event::{Action, Chain, Name, Verdict},
    kernel::rulesets::family,
    record::TableNames,
};

/// `NF_VERDICT_FLAG_QUEUE_BYPASS`.
const QUEUE_BYPASS: u32 = 0x8000;

/// A name that could not be read.
const UNKNOWN: Name<'_> = Name {
    bytes: &[],
    cut: false,
};

/// What a walk that returned `verdict` did. `decider` is the hook function that decided, empty when
/// there is none that is known.
pub fn action<'a>(
    verdict: u32,
    names: Option<&'a TableNames>,
    function: &'a str,
    decider: &'a str,
) -> Action<'a> {
    let whole_hook = names.is_some_and(|names| names.table_kind == TableKind::Hook as u8);
    // No hook has the family 0, NFPROTO_UNSPEC: it says that the hook's state could not be read.
    let hook = names
        .filter(|names| names.pf != 0)
        .map(|names| (names.pf, names.hooknum));
    Action::Verdict {
        function,
        pf: hook.map(|(pf, _)| pf),
        hooknum: hook.map(|(_, hooknum)| hooknum),
        table: match (whole_hook, hook) {
            (true, Some((pf, _))) => family_name(pf).map_or(UNKNOWN, own_name),
            (true, None) => UNKNOWN,
            (false, _) => names.map_or(UNKNOWN, |names| Name::new(&names.table)),
        },
        chain: names.map_or(Chain::Own(UNKNOWN), |names| chain(names, hook)),
        verdict: if whole_hook {
            Verdict::of_hook(verdict)
        } else {
            Verdict::from_raw(verdict)
        },
        decider: (whole_hook && !decider.is_empty()).then_some(decider),
    }
}

fn own_name(name: &'static str) -> Name<'static> {
    Name {
        bytes: name.as_bytes(),
        cut: false,
    }
}

/// The family's name: where no table decides, it stands in the table's place.
fn family_name(pf: u8) -> Option<&'static str> {
    Some(match pf {
        family::INET => "inet",
        family::IPV4 => "ipv4",
        family::ARP => "arp",
        family::NETDEV => "netdev",
        family::BRIDGE => "bridge",
        family::IPV6 => "ipv6",
        _ => return None,
    })
}

/// The chain of a table: nftables' have names, all others' are their hook's.
fn chain(names: &TableNames, hook: Option<(u8, u8)>) -> Chain<'_> {
    let own = Name::new(&names.chain);
    if names.table_kind == TableKind::Nft as u8 || !own.bytes.is_empty() {
        return Chain::Own(own);
    }
    hook.map_or(Chain::Own(UNKNOWN), |(pf, hooknum)| {
        hook_name(pf, hooknum).map_or(Chain::HookNumber(hooknum), Chain::Hook)
    })
}

/// A hook's name, as iptables, arptables and ebtables call their built-in chains.
fn hook_name(pf: u8, hooknum: u8) -> Option<&'static str> {
    let hooks: &[&str] = match pf {
        // NF_INET_*; ingress since 5.10.
        family::INET | family::IPV4 | family::IPV6 => &[
            "PREROUTING",
            "INPUT",
            "FORWARD",
            "OUTPUT",
            "POSTROUTING",
            "INGRESS",
        ],
        // NF_ARP_* (include/uapi/linux/netfilter_arp.h).
        family::ARP => &["INPUT", "OUTPUT", "FORWARD"],
        // NF_BR_* (include/uapi/linux/netfilter_bridge.h).
        family::BRIDGE => &[
            "PREROUTING",
            "INPUT",
            "FORWARD",
            "OUTPUT",
            "POSTROUTING",
            "BROUTING",
        ],
        // NF_NETDEV_*; egress since 5.16.
        family::NETDEV => &["INGRESS", "EGRESS"],
        _ => &[],
    };
    hooks.get(usize::from(hooknum)).copied()
}

impl Verdict {
    /// The verdict in the return value of `nf_hook_slow` (net/netfilter/core.c, 5.10 and later),
    /// which is of another kind than that of the functions it calls: 1 to go on, an error for
    /// what was dropped (EPERM unless a function named another), 0 for what was taken over,
    /// handed to user space, or lost on the way there.
    #[must_use]
    pub fn of_hook(raw: u32) -> Self {
        /// `MAX_ERRNO` (include/linux/err.h).
        const MAX_ERRNO: u16 = 4095;
        let error = u16::try_from(raw.wrapping_neg()).ok();
        match (raw, error) {
            (1, _) => Self::Accept,
            (0, _) => Self::Stolen,
            (_, Some(errno @ 1..=MAX_ERRNO)) => Self::Drop(Some(errno)),
            _ => Self::Other(raw),
        }
    }

    /// The verdict in a hook's return value.
    #[must_use]
    pub fn from_raw(raw: u32) -> Self {
        let [code, flags, low, high] = raw.to_le_bytes();
        let value = u16::from_le_bytes([low, high]);
        let error = (value != 0).then_some(value);
        match (code, flags) {
            (0, 0) => Self::Drop(error),
            (2, 0) if error.is_some() => Self::Drop(error),
            (1, 0) if value == 0 => Self::Accept,
            (2, 0) => Self::Stolen,
            (3, _) if raw & 0xff00 & !QUEUE_BYPASS == 0 => Self::Queue {
                number: value,
                bypass: raw & QUEUE_BYPASS != 0,
            },
            (4, 0) if value == 0 => Self::Repeat,
            (5, 0) if value == 0 => Self::Stop,
            _ => Self::Other(raw),
        }
    }
}

/// Name of an error that netfilter gives back (include/uapi/asm-generic/errno*.h).
#[must_use]
pub fn errno_name(errno: u16) -> Option<&'static str> {
    Some(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        5 => "EIO",
        6 => "ENXIO",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        19 => "ENODEV",
        22 => "EINVAL",
        24 => "EMFILE",
        28 => "ENOSPC",
        32 => "EPIPE",
        71 => "EPROTO",
        75 => "EOVERFLOW",
        90 => "EMSGSIZE",
        92 => "ENOPROTOOPT",
        93 => "EPROTONOSUPPORT",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        105 => "ENOBUFS",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
