//! Which hooks stay and which go, option by option.

use Layer3::{Arp, V4, V6};
use skbtrace_common::hooks::HOOKS;

use super::*;
use crate::filter::{Values, build};

const LAYER3: [Layer3; 4] = [Layer3::Any, V4, V6, Arp];
const LAYER4: [Layer4; 5] = [
    Layer4::Any,
    Layer4::Tcp,
    Layer4::Udp,
    Layer4::Icmp,
    Layer4::Icmp6,
];

fn filter(change: impl FnOnce(&mut Values)) -> Filter {
    let mut values = Values::default();
    change(&mut values);
    build(&values).expect("accepted")
}

fn proto(names: &[&str]) -> Filter {
    filter(|v| {
        v.proto = names
            .iter()
            .map(|name| name.parse().expect("accepted"))
            .collect()
    })
}

/// One letter for each network layer that can match with layer 4 open.
fn layer3(filter: &Filter) -> String {
    LAYER3
        .iter()
        .zip(["any ", "v4 ", "v6 ", "arp "])
        .filter(|(layer, _)| can_match(filter, **layer, Layer4::Any))
        .map(|(_, name)| name)
        .collect()
}

/// Likewise for the transport layers of IPv4 hooks.
fn layer4(filter: &Filter) -> String {
    LAYER4
        .iter()
        .zip(["any ", "tcp ", "udp ", "icmp ", "icmp6 "])
        .filter(|(layer, _)| can_match(filter, V4, **layer))
        .map(|(_, name)| name)
        .collect()
}

#[test]
fn no_filter_leaves_every_hook() {
    let open = Filter::accept_all();
    for hook in HOOKS {
        assert!(can_match(&open, hook.layer3, hook.layer4), "{}", hook.name);
    }
}

#[test]
fn addresses_choose_the_family() {
    let v4 = vec!["10.0.0.1".parse().expect("accepted")];
    let v6 = vec!["fd00::1".parse().expect("accepted")];
    for set in [
        |v: &mut Values, to| v.host = to,
        |v: &mut Values, to| v.src = to,
        |v: &mut Values, to| v.dst = to,
    ] {
        assert_eq!(layer3(&filter(|v| set(v, v4.clone()))), "any v4 arp ");
        assert_eq!(layer3(&filter(|v| set(v, v6.clone()))), "any v6 ");
        let both = [v4.clone(), v6.clone()].concat();
        assert_eq!(layer3(&filter(|v| set(v, both))), "any v4 v6 arp ");
    }
}

#[test]
fn address_options_of_different_families_exclude_everything() {
    let excluded = filter(|v| {
        v.src = vec!["10.0.0.1".parse().expect("accepted")];
        v.dst = vec!["fd00::1".parse().expect("accepted")];
    });
    assert_eq!(layer3(&excluded), "");
    let one_left = filter(|v| {
        v.src = vec![
            "10.0.0.1".parse().expect("accepted"),
            "fd00::2".parse().expect("accepted"),
        ];
        v.dst = vec!["fd00::1".parse().expect("accepted")];
    });
    assert_eq!(layer3(&one_left), "any v6 ");
}

#[test]
fn protocols_choose_the_transport() {
    assert_eq!(layer4(&proto(&["udp"])), "any udp ");
    assert_eq!(layer4(&proto(&["136"])), "any udp ");
    assert_eq!(layer4(&proto(&["tcp", "icmp"])), "any tcp icmp ");
    assert_eq!(layer4(&proto(&["icmp6"])), "any icmp6 ");
    assert_eq!(layer4(&proto(&["47"])), "any ");
    assert_eq!(layer4(&proto(&["any"])), "any tcp udp icmp icmp6 ");
    // Only IP has protocols.
    assert_eq!(layer3(&proto(&["udp"])), "any v4 v6 ");
}

#[test]
fn ports_exclude_what_has_none() {
    for set in [
        |v: &mut Values| v.port = vec![53],
        |v: &mut Values| v.sport = vec![53],
        |v: &mut Values| v.dport = vec![0],
    ] {
        assert_eq!(layer4(&filter(set)), "any tcp udp ");
        assert_eq!(layer3(&filter(set)), "any v4 v6 ");
    }
}

#[test]
fn echo_identifiers_leave_icmp() {
    let echo = filter(|v| v.icmpid = vec![7]);
    assert_eq!(layer4(&echo), "any icmp icmp6 ");
    assert_eq!(layer3(&echo), "any v4 v6 ");
}

#[test]
fn options_that_exclude_each_other_leave_nothing() {
    for excluded in [
        filter(|v| (v.port, v.icmpid) = (vec![53], vec![7])),
        filter(|v| {
            v.icmpid = vec![7];
            v.proto = vec!["udp".parse().expect("accepted")];
        }),
        filter(|v| {
            v.port = vec![53];
            v.proto = vec![
                "icmp".parse().expect("accepted"),
                "icmp6".parse().expect("accepted"),
            ];
        }),
    ] {
        for network in LAYER3 {
            for transport in LAYER4 {
                assert!(!can_match(&excluded, network, transport));
            }
        }
    }
}

#[test]
fn what_is_not_in_the_packet_excludes_nothing() {
    let outside = filter(|v| {
        v.iface = vec!["eth0".parse().expect("accepted")];
        v.netns = vec![4_026_531_840];
        v.pid = vec![1];
        v.mark = vec!["1".parse().expect("accepted")];
    });
    for network in LAYER3 {
        for transport in LAYER4 {
            let open = can_match(&Filter::accept_all(), network, transport);
            assert_eq!(can_match(&outside, network, transport), open);
        }
    }
}

#[test]
fn the_catalogue_under_the_first_example() {
    let udp = filter(|v| {
        v.host = vec!["172.18.0.15".parse().expect("accepted")];
        v.proto = vec!["udp".parse().expect("accepted")];
    });
    let hook = |name: &str| {
        HOOKS
            .iter()
            .find(|hook| hook.name == name)
            .expect("in the catalogue")
    };
    let stays = |name: &str| can_match(&udp, hook(name).layer3, hook(name).layer4);
    for name in ["udp_rcv", "ip_output", "br_forward", "ipt_do_table"] {
        assert!(stays(name), "{name}");
    }
    for name in [
        "tcp_v4_rcv",
        "icmp_rcv",
        "ip6_output",
        "udpv6_rcv",
        "arp_rcv",
    ] {
        assert!(!stays(name), "{name}");
    }
}
