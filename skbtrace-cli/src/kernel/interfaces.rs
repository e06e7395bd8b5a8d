//! Interfaces: what each one is, and what it is tied to.
//!
//! A packet that leaves `vethdfe06191` is next seen on `eth0` in a pod, and one that enters a
//! bridge's port is next seen on the bridge; the names do not say so. The kernel's lists do, one a
//! network namespace, and only taken together do they name a peer that is in another one.
//!
//! | Interface                        | Text                                         |
//! |----------------------------------|----------------------------------------------|
//! | veth: its peer, and where        | `veth@eth0.pod-a`; `veth@v1` in the same netns |
//! | peer's name, netns not known     | `veth@if12.pod-a`, `veth@if12.?`, `veth@?`   |
//! | netns without a name             | `veth@eth0.4026532281`                       |
//! | tunnel or VLAN with a number     | `vxlan:100`, `geneve:7`, `vlan:42@eth0`      |
//! | tun, tap                         | `tun`, `tap`                                 |
//! | over another interface           | `macvlan@eth0`, `ipvlan@eth0.4026531840`     |
//! | anything else that is made       | as the kernel calls it: `bridge`, `bond`, `ipip`, `gre`, `wireguard` |
//! | loopback                         | `loopback`                                   |
//! | all others: a driver's           | `physical`                                   |
//! | any of these in a bridge, bond or VRF | `veth@eth0.pod-a,port-of:cbr0`          |
//!
//! **Invariant:** what a kernel or a netns does not tell is `?` or missing, never an error and
//! never a guess.

#[cfg(test)]
mod live;
mod netlink;
mod programs;
mod snapshot;

pub use programs::{Filter, Program, Side};
pub use snapshot::{NetnsState, Reader, Snapshot, StateReader};

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// An interface, as the list of its network namespace has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interface {
    /// Index within its netns.
    index: u32,
    /// `IFLA_IFNAME`: any bytes.
    name: Vec<u8>,
    /// `ifinfomsg.ifi_type` (`ARPHRD_*`).
    hardware: u16,
    /// `IFLA_INFO_KIND`: who made it; empty for loopback and drivers.
    kind: Vec<u8>,
    /// VNI, VLAN identifier or `IFF_TUN`/`IFF_TAP`; `None` for other kinds.
    number: Option<u32>,
    /// `IFLA_LINK`: index of a veth's peer, or of what it lies on; `None` when there is none.
    lower: Option<u32>,
    /// `IFLA_LINK_NETNSID`: where `lower` is, by the number that this netns gives that one;
    /// `None` when it is in this netns.
    lower_nsid: Option<i32>,
    /// `IFLA_MASTER`: index of the bridge, bond or VRF that it is a port of.
    master: Option<u32>,
    /// `IFLA_XDP`: the numbers of its XDP programs.
    xdp: Vec<u32>,
    /// How it is.
    state: State,
}

/// How an interface is, when it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Its other end is there (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// `IFLA_MTU`, bytes.
    pub mtu: Option<u32>,
    /// Its hardware address (`IFLA_ADDRESS`), where that has six bytes.
    pub address: Option<[u8; 6]>,
    /// Takes what is for others, too (`IFLA_PROMISCUITY`).
    pub promiscuous: Option<bool>,
    /// Passes on what comes in by it and is for others: IPv4 and IPv6.
    pub forwards: [Option<bool>; 2],
}

/// A network namespace, as far as it could be read.
#[derive(Clone, Debug, Default)]
struct Listing {
    /// What it is called.
    name: Option<String>,
    /// By index.
    interfaces: HashMap<u32, Interface>,
    /// What looks at their packets and can drop them, likewise.
    programs: HashMap<u32, Vec<Program>>,
    /// From `IFLA_LINK_NETNSID` to inode number.
    neighbours: HashMap<i32, u32>,
}

/// The text for `interface`, which is in `netns`; `all` by inode number.
fn text(interface: &Interface, netns: &Listing, all: &HashMap<u32, Listing>) -> Vec<u8> {
    let mut text = Vec::new();
    kind(interface, &mut text);
    match interface.lower {
        Some(index) => {
            text.push(b'@');
            lower(index, interface.lower_nsid, netns, all, &mut text);
        }
        // A veth always has a peer.
        None if interface.kind == b"veth" => text.extend_from_slice(b"@?"),
        None => {}
    }
    if let Some(master) = interface.master {
        text.extend_from_slice(b",port-of:");
        named(master, Some(netns), &mut text);
    }
    text
}

fn kind(interface: &Interface, text: &mut Vec<u8>) {
    match (&*interface.kind, interface.number) {
        (b"", _) if interface.hardware == libc::ARPHRD_LOOPBACK => text.extend(b"loopback"),
        (b"", _) => text.extend(b"physical"),
        (b"tun", Some(netlink::IFF_TAP)) => text.extend(b"tap"),
        (b"tun", _) => text.extend(b"tun"),
        (kind, Some(number)) => {
            text.extend(kind);
            text.extend(format!(":{number}").bytes());
        }
        (kind, None) => text.extend(kind),
    }
}

/// Appends the peer, or what lies below, with its netns if that is another one.
fn lower(
    index: u32,
    nsid: Option<i32>,
    netns: &Listing,
    all: &HashMap<u32, Listing>,
    text: &mut Vec<u8>,
) {
    let Some(nsid) = nsid else {
        return named(index, Some(netns), text);
    };
    let inode = netns.neighbours.get(&nsid);
    let other = inode.and_then(|inode| all.get(inode));
    named(index, other, text);
    text.push(b'.');
    match (other.and_then(|other| other.name.as_deref()), inode) {
        (Some(name), _) => text.extend(name.bytes()),
        (None, Some(inode)) => text.extend(inode.to_string().bytes()),
        (None, None) => text.push(b'?'),
    }
}

/// Appends an interface's name; where it is not known its index, as `ip link` does.
fn named(index: u32, netns: Option<&Listing>, text: &mut Vec<u8>) {
    match netns.and_then(|netns| netns.interfaces.get(&index)) {
        Some(interface) => text.extend_from_slice(&interface.name),
        None => text.extend(format!("if{index}").bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, kind: &str) -> Interface {
        Interface {
            index,
            name: name.into(),
            hardware: libc::ARPHRD_ETHER,
            kind: kind.into(),
            ..Interface::default()
        }
    }

    fn listing(name: Option<&str>, interfaces: &[Interface]) -> Listing {
        Listing {
            name: name.map(str::to_owned),
            interfaces: interfaces
                .iter()
                .map(|interface| (interface.index, interface.clone()))
                .collect(),
            programs: HashMap::new(),
            neighbours: HashMap::from([(0, 10), (1, 20), (2, 30)]),
        }
    }

    /// What `interface` is called in the first of three namespaces: 10 (`node`), 20 (`pod-a`), and
    /// 30, which has no name.
    fn of(interface: &Interface) -> String {
        let node = listing(
            Some("node"),
            &[interface.clone(), self::interface(4, "cbr0", "bridge")],
        );
        let pod = listing(Some("pod-a"), &[self::interface(12, "eth0", "veth")]);
        let nameless = listing(None, &[self::interface(12, "net1", "veth")]);
        let all = HashMap::from([(10, node.clone()), (20, pod), (30, nameless)]);
        String::from_utf8(text(interface, &node, &all)).expect("ASCII")
    }

    fn tied(kind: &str, lower: Option<u32>, nsid: Option<i32>, master: Option<u32>) -> String {
        of(&Interface {
            lower,
            lower_nsid: nsid,
            master,
            ..interface(7, "x", kind)
        })
    }

    #[test]
    fn a_veth_names_its_peer() {
        assert_eq!(tied("veth", Some(12), Some(1), None), "veth@eth0.pod-a");
        assert_eq!(tied("veth", Some(12), Some(2), None), "veth@net1.30");
        assert_eq!(tied("veth", Some(99), Some(1), None), "veth@if99.pod-a");
        assert_eq!(tied("veth", Some(12), Some(9), None), "veth@if12.?");
        assert_eq!(tied("veth", Some(12), Some(-1), None), "veth@if12.?");
        assert_eq!(tied("veth", Some(4), None, None), "veth@cbr0");
        assert_eq!(tied("veth", None, None, None), "veth@?");
        let port = tied("veth", Some(12), Some(1), Some(4));
        assert_eq!(port, "veth@eth0.pod-a,port-of:cbr0");
    }

    #[test]
    fn every_other_kind() {
        let numbered = |kind: &str, number| {
            of(&Interface {
                number: Some(number),
                ..interface(7, "x", kind)
            })
        };
        assert_eq!(numbered("vxlan", 100), "vxlan:100");
        assert_eq!(numbered("geneve", 7), "geneve:7");
        assert_eq!(numbered("tun", netlink::IFF_TAP), "tap");
        assert_eq!(numbered("tun", 1), "tun");
        for kind in ["bridge", "bond", "wireguard", "ipip", "gre", "dummy", "tun"] {
            assert_eq!(tied(kind, None, None, None), kind);
        }
        assert_eq!(tied("macvlan", Some(4), None, None), "macvlan@cbr0");
        assert_eq!(tied("ipvlan", Some(4), Some(0), None), "ipvlan@cbr0.node");
        assert_eq!(tied("", None, None, None), "physical");
        assert_eq!(tied("", None, None, Some(4)), "physical,port-of:cbr0");
        assert_eq!(tied("", None, None, Some(5)), "physical,port-of:if5");
        let loopback = Interface {
            hardware: libc::ARPHRD_LOOPBACK,
            ..interface(1, "lo", "")
        };
        assert_eq!(of(&loopback), "loopback");
    }
}
