//! Rules as nftables dumps them, made by hand, whole and damaged.

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use proptest::prelude::*;

use super::*;
use crate::{
    event::{IpPacket, Packet, Ports, Transport},
    kernel::rulesets::Facts,
};

fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute_of(kind | NLA_F_NESTED, &attributes.concat())
}

fn number_of(kind: u16, value: u32) -> Vec<u8> {
    attribute_of(kind, &value.to_be_bytes())
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    let name = format!("{name}\0");
    // NFTA_LIST_ELEM.
    nested(
        1,
        &[
            attribute_of(number::EXPR_NAME, name.as_bytes()),
            nested(number::EXPR_DATA, data),
        ],
    )
}

fn counter(packets: u64) -> Vec<u8> {
    let bytes = attribute_of(1, &1000_u64.to_be_bytes());
    let packets = attribute_of(number::COUNTER_PACKETS, &packets.to_be_bytes());
    expression("counter", &[bytes, packets])
}

fn data(code: i32, chain: Option<&str>) -> Vec<Vec<u8>> {
    let mut verdict = vec![number_of(number::VERDICT_CODE, code.cast_unsigned())];
    if let Some(chain) = chain {
        let chain = format!("{chain}\0");
        verdict.push(attribute_of(number::VERDICT_CHAIN, chain.as_bytes()));
    }
    vec![nested(number::DATA_VERDICT, &verdict)]
}

fn says(code: i32, chain: Option<&str>) -> Vec<u8> {
    expression(
        "immediate",
        &[
            number_of(number::IMMEDIATE_DREG, number::VERDICT_REGISTER),
            nested(number::IMMEDIATE_DATA, &data(code, chain)),
        ],
    )
}

/// The destination port is loaded.
fn loads(register: u32) -> Vec<u8> {
    expression(
        "payload",
        &[
            number_of(number::PAYLOAD_DREG, register),
            number_of(number::PAYLOAD_BASE, number::TRANSPORT),
            number_of(number::PAYLOAD_OFFSET, 2),
            number_of(number::PAYLOAD_LEN, 2),
        ],
    )
}

fn value(kind: u16, bytes: &[u8]) -> Vec<u8> {
    nested(kind, &[attribute_of(number::DATA_VALUE, bytes)])
}

fn compares(register: u32, op: u32, bytes: &[u8]) -> Vec<u8> {
    expression(
        "cmp",
        &[
            number_of(number::CMP_SREG, register),
            number_of(number::CMP_OP, op),
            value(number::CMP_DATA, bytes),
        ],
    )
}

/// `udp dport 9999`, without the protocol.
fn asks() -> Vec<u8> {
    [loads(1), compares(1, 0, &9999_u16.to_be_bytes())].concat()
}

fn rule_of(expressions: &[Vec<u8>]) -> Parsed {
    rule(&message(expressions))
}

fn message(expressions: &[Vec<u8>]) -> Vec<u8> {
    [
        attribute_of(number::RULE_TABLE, b"filter\0"),
        attribute_of(number::RULE_CHAIN, b"INPUT\0"),
        attribute_of(number::RULE_HANDLE, &12_u64.to_be_bytes()),
        nested(number::RULE_EXPRESSIONS, expressions),
    ]
    .concat()
}

#[test]
fn a_rule_that_counts_and_drops() {
    let Parsed { rule, map } = rule_of(&[asks(), counter(3), says(verdict::DROP, None)]);
    assert_eq!((rule.handle, rule.packets), (Some(12), Some(3)));
    assert_eq!((rule.end, rule.after), (Some(End::Drop), After::Nowhere));
    assert_eq!((rule.asks.len(), rule.asks_more), (1, false));
    assert!(rule.calls.is_empty() && map.is_none());
    // What counts behind the verdict counts nobody.
    let rule = rule_of(&[says(verdict::DROP, None), counter(0)]).rule;
    assert_eq!((rule.packets, rule.after), (None, After::Nowhere));
}

#[test]
fn verdicts_say_where_packets_go() {
    let go = |expressions: &[Vec<u8>]| {
        let rule = rule_of(expressions).rule;
        let calls = rule.calls.first().cloned().unwrap_or_default();
        let calls = String::from_utf8(calls).expect("text");
        (rule.end, calls, rule.after)
    };
    let nobody = String::new();
    assert_eq!(
        go(&[says(verdict::JUMP, Some("gate"))]),
        (None, "gate".to_owned(), After::Next)
    );
    assert_eq!(
        go(&[says(verdict::GOTO, Some("gate"))]),
        (None, "gate".to_owned(), After::Chain)
    );
    assert_eq!(
        go(&[asks(), says(verdict::GOTO, Some("gate"))]),
        (None, "gate".to_owned(), After::Chain)
    );
    assert_eq!(
        go(&[counter(0), says(verdict::RETURN, None)]),
        (None, nobody.clone(), After::Chain)
    );
    // NF_ACCEPT.
    assert_eq!(go(&[says(1, None)]), (None, nobody.clone(), After::Nowhere));
    assert_eq!(go(&[says(verdict::CONTINUE, None)]).2, After::Next);
    let reject = expression("reject", &[number_of(1, 0)]);
    assert_eq!(
        go(&[reject]),
        (Some(End::Reject), nobody.clone(), After::Nowhere)
    );
    for (name, end) in [
        ("REJECT", Some(End::Reject)),
        ("DROP", Some(End::Drop)),
        ("LOG", None),
    ] {
        let name = format!("{name}\0");
        let name = attribute_of(number::TARGET_NAME, name.as_bytes());
        let target = expression("target", &[name]);
        let after = end.map_or(After::Next, |_| After::Nowhere);
        assert_eq!(go(&[asks(), target]), (end, nobody.clone(), after));
    }
    // A register that has no verdict.
    let value = nested(number::IMMEDIATE_DATA, &data(verdict::DROP, None));
    let other = expression("immediate", &[number_of(number::IMMEDIATE_DREG, 8), value]);
    assert_eq!(go(&[other]), (None, nobody, After::Next));
}

#[test]
fn what_is_asked_of_addresses_protocol_and_ports() {
    let packet = Packet::Ip(IpPacket {
        src: None,
        dst: Some(std::net::Ipv4Addr::new(10, 1, 0, 2).into()),
        transport: Transport::Udp(Ports {
            src: 40547,
            dst: 9999,
        }),
    });
    let facts = Facts::of(&packet, family::IPV4);
    let holds = |expressions: &[Vec<u8>]| {
        let mut expressions = expressions.to_vec();
        expressions.push(says(verdict::DROP, None));
        rule_of(&expressions).rule.holds(&facts)
    };
    let port = 9999_u16.to_be_bytes();
    assert_eq!(holds(&[asks()]), Some(true));
    assert_eq!(holds(&[loads(1), compares(1, 1, &port)]), Some(false));
    // The same register by its other number, and one that nothing was loaded to.
    assert_eq!(holds(&[loads(1), compares(8, 0, &port)]), Some(true));
    assert_eq!(holds(&[loads(1), compares(9, 0, &port)]), None);
    assert_eq!(
        holds(&[loads(2), loads(1), compares(2, 5, &port)]),
        Some(true)
    );
    let meta = |key| {
        let register = number_of(number::META_DREG, 1);
        expression("meta", &[register, number_of(number::META_KEY, key)])
    };
    assert_eq!(
        holds(&[meta(number::L4PROTO), compares(1, 0, &[17])]),
        Some(true)
    );
    assert_eq!(
        holds(&[meta(number::L4PROTO), compares(1, 0, &[6])]),
        Some(false)
    );
    assert_eq!(
        holds(&[meta(number::NFPROTO), compares(1, 0, &[2])]),
        Some(true)
    );
    assert_eq!(
        holds(&[meta(number::NFPROTO), compares(1, 0, &[10])]),
        Some(false)
    );
    // NFT_META_IIFNAME.
    assert_eq!(holds(&[meta(6), compares(1, 0, b"eth0")]), None);
    let address = expression(
        "payload",
        &[
            number_of(number::PAYLOAD_DREG, 1),
            number_of(number::PAYLOAD_BASE, number::NETWORK),
            number_of(number::PAYLOAD_OFFSET, 16),
            number_of(number::PAYLOAD_LEN, 4),
        ],
    );
    let masks = |xor: [u8; 4]| {
        expression(
            "bitwise",
            &[
                number_of(number::BITWISE_SREG, 1),
                number_of(number::BITWISE_DREG, 1),
                value(number::BITWISE_MASK, &[255, 255, 0, 0]),
                value(number::BITWISE_XOR, &xor),
            ],
        )
    };
    let net = [
        address.clone(),
        masks([0; 4]),
        compares(1, 0, &[10, 1, 0, 0]),
    ];
    assert_eq!(holds(&net), Some(true));
    let net = [
        address.clone(),
        masks([0; 4]),
        compares(1, 0, &[10, 2, 0, 0]),
    ];
    assert_eq!(holds(&net), Some(false));
    let net = [address, masks([1; 4]), compares(1, 0, &[10, 1, 0, 0])];
    assert_eq!(holds(&net), None);
    let range = |op| {
        expression(
            "range",
            &[
                number_of(number::RANGE_SREG, 1),
                number_of(number::RANGE_OP, op),
                value(number::RANGE_FROM, &9000_u16.to_be_bytes()),
                value(number::RANGE_TO, &port),
            ],
        )
    };
    assert_eq!(holds(&[loads(1), range(0)]), Some(true));
    assert_eq!(holds(&[loads(1), range(1)]), Some(false));
    // Something else, besides: it may hold, and does not where the port is another.
    let limit = expression("limit", &[number_of(1, 1)]);
    assert_eq!(holds(&[limit.clone(), asks()]), None);
    assert_eq!(
        holds(&[limit, loads(1), compares(1, 1, &port)]),
        Some(false)
    );
    let named = |name: &str, info: &[u8]| {
        let name = format!("{name}\0");
        let name = attribute_of(number::MATCH_NAME, name.as_bytes());
        expression("match", &[name, attribute_of(number::MATCH_INFO, info)])
    };
    let ports = [0, u16::MAX, 1, 9999].map(u16::to_ne_bytes).concat();
    let info = [&ports[..], &[0, 0]].concat();
    assert_eq!(holds(&[named("udp", &info)]), Some(true));
    let info = [&ports[..], &[2, 0]].concat();
    assert_eq!(holds(&[named("udp", &info)]), Some(false));
    assert_eq!(holds(&[named("conntrack", &info)]), None);
    assert_eq!(holds(&[named("comment", b"x")]), Some(true));
}

#[test]
fn a_map_of_verdicts() {
    let lookup = |register: Option<u32>| {
        let set = attribute_of(number::LOOKUP_SET, b"__map0\0");
        let register = register.map(|register| number_of(number::LOOKUP_DREG, register));
        let data: Vec<_> = [Some(set), register].into_iter().flatten().collect();
        rule_of(&[asks(), counter(2), expression("lookup", &data)])
    };
    let found = lookup(Some(number::VERDICT_REGISTER));
    assert_eq!(found.map.as_deref(), Some(&b"__map0"[..]));
    assert_eq!(found.rule.packets, Some(2));
    // A set, and a map to something else.
    assert_eq!(lookup(None).map, None);
    assert_eq!(lookup(Some(1)).map, None);

    let element = |verdict: Vec<Vec<u8>>| nested(1, &[nested(number::ELEMENT_DATA, &verdict)]);
    let mut verdicts = Verdicts::default();
    verdicts.take(&nested(
        number::ELEMENTS_LIST,
        &[
            element(data(verdict::JUMP, Some("a"))),
            element(data(1, None)),
            element(data(verdict::GOTO, Some("b"))),
            element(data(verdict::JUMP, Some("a"))),
        ],
    ));
    let calls: Vec<&[u8]> = verdicts.calls.iter().map(Vec::as_slice).collect();
    assert_eq!((verdicts.drops, calls), (false, vec![&b"a"[..], b"b"]));
    verdicts.take(&nested(
        number::ELEMENTS_LIST,
        &[element(data(verdict::DROP, None))],
    ));
    assert!(verdicts.drops);
}

#[test]
fn a_chain_has_a_policy_where_it_is_a_hook_s() {
    let hook = nested(number::CHAIN_HOOK, &[number_of(1, 1)]);
    let counters = nested(
        number::CHAIN_COUNTERS,
        &[attribute_of(number::COUNTER_PACKETS, &5_u64.to_be_bytes())],
    );
    let read = |attributes: &[Vec<u8>]| {
        policy(&attributes.concat()).map(|policy| (policy.drops, policy.packets))
    };
    let drops = number_of(number::CHAIN_POLICY, 0);
    assert_eq!(read(&[hook.clone(), drops.clone()]), Some((true, None)));
    assert_eq!(
        read(&[hook.clone(), drops.clone(), counters]),
        Some((true, Some(5)))
    );
    let accepts = number_of(number::CHAIN_POLICY, 1);
    assert_eq!(read(&[hook, accepts]), Some((false, None)));
    assert_eq!(read(&[drops]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = rule(&bytes);
        let _ = policy(&bytes);
        Verdicts::default().take(&bytes);
        let _ = crate::kernel::netlink::messages(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_without_panic(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message(&[asks(), counter(3), says(verdict::JUMP, Some("gate"))]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(length.index(bytes.len() + 1));
        let _ = rule(&bytes);
    }
}
