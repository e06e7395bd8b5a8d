//! Route netlink: the questions that are asked in one network namespace, and reading the answers.
//!
//! Of an interface's some sixty attributes a dozen matter here.
//!
//! **Invariant:** no bytes make reading fail or panic: what cannot be read is left out.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Interface, State};
use crate::kernel::netlink::{Netlink, attributes, number, push_attribute, text};

/// Attributes of interfaces and namespaces (include/uapi/linux/if_link.h, net_namespace.h), and
/// what else the messages need.
mod number {
    pub const IFLA_VLAN_ID: u16 = 1;
    pub const IFLA_VXLAN_ID: u16 = 1;
    pub const IFLA_GENEVE_ID: u16 = 1;
    pub const IFLA_TUN_TYPE: u16 = 3;
    /// Below `IFLA_AF_SPEC`: settings of IPv4, numbers of 32 bits by `IPV4_DEVCONF_*` from 1
    /// (include/uapi/linux/ip.h).
    pub const IFLA_INET_CONF: u16 = 1;
    pub const IPV4_FORWARDING: usize = 0;
    /// The same of IPv6, by `DEVCONF_*` from 0 (include/uapi/linux/ipv6.h).
    pub const IFLA_INET6_CONF: u16 = 2;
    pub const IPV6_FORWARDING: usize = 0;
    /// Below `IFLA_XDP`: the number of the program, and of those in a driver, before the stack and in
    /// the device (`IFLA_XDP_PROG_ID`, `_DRV_`, `_SKB_`, `_HW_`).
    pub const IFLA_XDP_PROGS: [u16; 4] = [4, 5, 6, 7];
    pub const NETNSA_NSID: u16 = 1;
    pub const NETNSA_FD: u16 = 3;
    /// `struct ifinfomsg`, bytes.
    pub const IFINFOMSG: usize = 16;
    /// `struct rtgenmsg`, bytes, padded as attributes begin.
    pub const RTGENMSG: usize = 4;
}

/// The flag of an interface whose other end is there (include/uapi/linux/if.h).
const IFF_LOWER_UP: libc::c_int = 1 << 16;

/// `IFLA_TUN_TYPE` of a tap (include/uapi/linux/if_tun.h).
pub const IFF_TAP: u32 = 2;

/// A socket in the network namespace that the thread was in when it was opened.
pub struct Route(Netlink);

impl Route {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// The interfaces of this netns, by index.
    pub fn interfaces(&mut self) -> io::Result<HashMap<u32, Interface>> {
        let mut body = vec![0; number::IFINFOMSG];
        // Counters are most of what would come otherwise.
        let filter = libc::RTEXT_FILTER_SKIP_STATS;
        push_attribute(libc::IFLA_EXT_MASK, &filter.to_ne_bytes(), &mut body);
        let mut found = HashMap::new();
        self.dump(libc::RTM_GETLINK, libc::RTM_NEWLINK, &body, |payload| {
            if let Some(interface) = interface(payload) {
                found.insert(interface.index, interface);
            }
        })?;
        Ok(found)
    }

    /// Has the kernel list all it has of a kind; `take` gets what each message of the kind `answer` says.
    /// If something changes meanwhile, some of it may be missing.
    pub fn dump(
        &mut self,
        question: u16,
        answer: u16,
        body: &[u8],
        take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let question = (question, NLM_F_DUMP);
        self.0.ask(question, body, answer, take).map(drop)
    }

    /// The number by which this netns knows another one; `None` when it has none for it.
    pub fn number_of(&mut self, other: &File) -> io::Result<Option<i32>> {
        let mut body = vec![0; number::RTGENMSG];
        let descriptor: RawFd = other.as_raw_fd();
        push_attribute(number::NETNSA_FD, &descriptor.to_ne_bytes(), &mut body);
        let mut found = None;
        let question = (libc::RTM_GETNSID, 0);
        self.0.ask(question, &body, libc::RTM_NEWNSID, |payload| {
            found = nsid(payload);
        })?;
        Ok(found)
    }
}

/// The interface that a message is about; `None` when it has no index or no name.
pub fn interface(payload: &[u8]) -> Option<Interface> {
    let (header, rest) = payload.split_at_checked(number::IFINFOMSG)?;
    let flags = number(header.get(8..12)?)?;
    let is = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
    let mut found = Interface {
        state: State {
            up: is(libc::IFF_UP),
            carrier: is(IFF_LOWER_UP),
            ..State::default()
        },
        // struct ifinfomsg: family, padding, type, index, flags, change.
        hardware: u16::from_ne_bytes(header.get(2..4)?.try_into().ok()?),
        index: number(header.get(4..8)?)?,
        ..Interface::default()
    };
    attributes(rest, |kind, value| match kind {
        libc::IFLA_IFNAME => found.name = text(value).to_vec(),
        libc::IFLA_LINK => found.lower = number(value).filter(|index| *index != 0),
        libc::IFLA_LINK_NETNSID => found.lower_nsid = number(value).map(u32::cast_signed),
        libc::IFLA_MASTER => found.master = number(value).filter(|index| *index != 0),
        libc::IFLA_LINKINFO => link_info(value, &mut found),
        libc::IFLA_MTU => found.state.mtu = number(value),
        libc::IFLA_ADDRESS => found.state.address = value.try_into().ok(),
        libc::IFLA_PROMISCUITY => {
            found.state.promiscuous = number(value).map(|times| times > 0);
        }
        libc::IFLA_AF_SPEC => found.state.forwards = forwards(value),
        libc::IFLA_XDP => found.xdp = xdp(value),
        _ => {}
    });
    (found.index != 0 && !found.name.is_empty()).then_some(found)
}

fn link_info(bytes: &[u8], found: &mut Interface) {
    attributes(bytes, |kind, value| {
        if kind == libc::IFLA_INFO_KIND {
            found.kind = text(value).to_vec();
        }
    });
    let wanted = match &*found.kind {
        b"vxlan" => number::IFLA_VXLAN_ID,
        b"geneve" => number::IFLA_GENEVE_ID,
        b"vlan" => number::IFLA_VLAN_ID,
        b"tun" => number::IFLA_TUN_TYPE,
        _ => return,
    };
    attributes(bytes, |kind, value| {
        if kind == libc::IFLA_INFO_DATA {
            attributes(value, |kind, value| {
                if kind == wanted {
                    found.number = number(value);
                }
            });
        }
    });
}

/// The numbers of the XDP programs: of the one that is there, or of each of several.
fn xdp(bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    attributes(bytes, |kind, value| {
        if number::IFLA_XDP_PROGS.contains(&kind)
            && let Some(id) = number(value)
            && !found.contains(&id)
        {
            found.push(id);
        }
    });
    found
}

/// Whether packets are forwarded that come in: IPv4 and IPv6.
fn forwards(bytes: &[u8]) -> [Option<bool>; 2] {
    let mut found = [None; 2];
    let setting = |bytes: &[u8], at: usize| {
        let value = bytes.get(at * 4..at * 4 + 4)?;
        number(value).map(|value| value != 0)
    };
    attributes(bytes, |family, value| match i32::from(family) {
        libc::AF_INET => attributes(value, |kind, value| {
            if kind == number::IFLA_INET_CONF {
                found[0] = setting(value, number::IPV4_FORWARDING);
            }
        }),
        libc::AF_INET6 => attributes(value, |kind, value| {
            if kind == number::IFLA_INET6_CONF {
                found[1] = setting(value, number::IPV6_FORWARDING);
            }
        }),
        _ => {}
    });
    found
}

/// The number that a message gives; `None` for NETNSA_NSID_NOT_ASSIGNED, -1.
pub fn nsid(payload: &[u8]) -> Option<i32> {
    let mut found = None;
    attributes(payload.get(number::RTGENMSG..)?, |kind, value| {
        if kind == number::NETNSA_NSID {
            found = number(value).map(u32::cast_signed);
        }
    });
    found.filter(|nsid| *nsid >= 0)
}

#[cfg(test)]
mod tests;
