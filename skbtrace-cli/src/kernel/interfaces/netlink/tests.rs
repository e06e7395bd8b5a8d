//! Messages made by hand, whole and damaged.

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use proptest::prelude::*;

use super::*;
use crate::kernel::netlink::messages;

fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// The payload of a message about interface 7, an Ethernet device.
fn payload(attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; number::IFINFOMSG];
    bytes[2..4].copy_from_slice(&libc::ARPHRD_ETHER.to_ne_bytes());
    bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
    bytes.extend(attributes.concat());
    bytes
}

fn link_info_of(kind: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    let inner = [
        attribute_of(libc::IFLA_INFO_KIND, kind),
        attribute_of(libc::IFLA_INFO_DATA, &data.concat()),
    ];
    attribute_of(libc::IFLA_LINKINFO | NLA_F_NESTED, &inner.concat())
}

fn named(mut attributes: Vec<Vec<u8>>) -> Option<Interface> {
    attributes.push(attribute_of(libc::IFLA_IFNAME, b"x\0"));
    interface(&payload(&attributes))
}

#[test]
fn a_veth_that_is_a_bridges_port() {
    let found = interface(&payload(&[
        attribute_of(libc::IFLA_IFNAME, b"vethdfe06191\0"),
        attribute_of(libc::IFLA_MTU, &1500_u32.to_ne_bytes()),
        // Of a length and a type that nobody knows.
        attribute_of(999, b"?????"),
        attribute_of(libc::IFLA_LINK, &12_u32.to_ne_bytes()),
        attribute_of(libc::IFLA_LINK_NETNSID, &3_i32.to_ne_bytes()),
        attribute_of(libc::IFLA_MASTER, &4_u32.to_ne_bytes()),
        link_info_of(b"veth", &[]),
    ]));
    let expected = Interface {
        index: 7,
        name: b"vethdfe06191".to_vec(),
        hardware: libc::ARPHRD_ETHER,
        kind: b"veth".to_vec(),
        number: None,
        lower: Some(12),
        lower_nsid: Some(3),
        master: Some(4),
        xdp: Vec::new(),
        state: State {
            mtu: Some(1500),
            ..State::default()
        },
    };
    assert_eq!(found, Some(expected));
}

#[test]
fn numbers_of_each_kind() {
    let number = |kind: &[u8], attribute: Vec<u8>| {
        named(vec![link_info_of(kind, &[attribute])]).and_then(|found| found.number)
    };
    let four = attribute_of(1, &100_u32.to_ne_bytes());
    assert_eq!(number(b"vxlan", four.clone()), Some(100));
    assert_eq!(number(b"geneve\0", four.clone()), Some(100));
    let two = attribute_of(1, &42_u16.to_ne_bytes());
    assert_eq!(number(b"vlan\0", two), Some(42));
    assert_eq!(number(b"tun\0", attribute_of(3, &[2])), Some(IFF_TAP));
    assert_eq!(number(b"tun\0", four.clone()), None, "its owner");
    assert_eq!(number(b"bridge\0", four), None, "a time");
    assert_eq!(number(b"vxlan\0", attribute_of(1, b"five!")), None);
}

#[test]
fn nothing_is_an_index_of_zero() {
    let zero = 0_u32.to_ne_bytes();
    let found = named(vec![
        attribute_of(libc::IFLA_LINK, &zero),
        attribute_of(libc::IFLA_MASTER, &zero),
    ])
    .expect("an interface");
    assert_eq!((found.lower, found.master), (None, None));
    assert_eq!(interface(&payload(&[])), None, "without a name");
    let mut nameless = payload(&[attribute_of(libc::IFLA_IFNAME, b"x\0")]);
    nameless[4..8].fill(0);
    assert_eq!(interface(&nameless), None, "without an index");
}

#[test]
fn a_cut_message_tells_what_is_before_the_cut() {
    let whole = payload(&[
        attribute_of(libc::IFLA_IFNAME, b"x\0"),
        attribute_of(libc::IFLA_MASTER, &4_u32.to_ne_bytes()),
    ]);
    let cut = interface(&whole[..whole.len() - 1]).expect("a name");
    assert_eq!((&*cut.name, cut.master), (&b"x"[..], None));
    assert_eq!(interface(&whole[..number::IFINFOMSG - 1]), None);
}

#[test]
fn numbers_of_namespaces() {
    let answer = |nsid: i32| {
        let attribute = attribute_of(number::NETNSA_NSID, &nsid.to_ne_bytes());
        [vec![0; number::RTGENMSG], attribute].concat()
    };
    assert_eq!(nsid(&answer(5)), Some(5));
    assert_eq!(nsid(&answer(0)), Some(0));
    assert_eq!(nsid(&answer(-1)), None, "NETNSA_NSID_NOT_ASSIGNED");
    assert_eq!(nsid(&[]), None);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for message in messages(&bytes) {
            interface(message.payload);
        }
        interface(&bytes);
        nsid(&bytes);
    }

    #[test]
    fn a_damaged_message(at in 0..200_usize, value: u8) {
        let mut bytes = payload(&[
            attribute_of(libc::IFLA_IFNAME, b"x\0"),
            link_info_of(b"vxlan", &[attribute_of(1, &100_u32.to_ne_bytes())]),
            attribute_of(libc::IFLA_LINK, &12_u32.to_ne_bytes()),
        ]);
        let at = at % bytes.len();
        bytes[at] = value;
        interface(&bytes);
    }
}
