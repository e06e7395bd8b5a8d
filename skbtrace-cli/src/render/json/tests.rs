//! Lines against the schema, and values by what they mean.

mod samples;
mod schema;

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use skbtrace_common::{
    Plain as _,
    record::{GONE, HAS_NETNS},
};

use self::{samples::Sample, schema::Schema};
use super::*;
use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    diagnosis::{Confidence, Finding, Told},
    lineage::Lineage,
    record::Record,
    render::tests::any::record_bytes,
};

static JUDGE: LazyLock<Schema> = LazyLock::new(Schema::new);

/// 2021-03-04 02:09:17.132480 at ten seconds since boot.
const OPTIONS: JsonOptions = JsonOptions {
    unix_offset_ns: 1_614_823_757_132_480_000 - 10_000_000_000,
};

fn line(json: &mut Json, record: &Record, lineage: &mut Lineage) -> String {
    let machine = Machine::new();
    let mut event = decode(record, &machine);
    lineage.place(&mut event);
    let mut out = Vec::new();
    json.line(&event, &machine, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn parse(line: &str) -> Value {
    let line = line.strip_suffix('\n').expect("a newline at the end");
    assert!(!line.contains('\n'), "one line");
    serde_json::from_str(line).expect("JSON")
}

/// The line of a record that is the first of its packet.
fn value(record: &Record) -> Value {
    parse(&line(&mut Json::new(OPTIONS), record, &mut Lineage::new()))
}

fn value_of(raw: skbtrace_common::record::RawEvent) -> Value {
    value(&testing::parse(raw.as_bytes()))
}

/// A value by the way to it: `/packet/src`.
#[track_caller]
fn assert_has(line: &Value, expected: &[(&str, Value)]) {
    for (at, expected) in expected {
        assert_eq!(line.pointer(at), Some(expected), "{at} of {line}");
    }
}

#[test]
fn a_line() {
    let Sample { record, .. } = samples::hop();
    let text = line(&mut Json::new(OPTIONS), &record, &mut Lineage::new());
    insta::assert_snapshot!(text, @r#"{"type":"event","schema":1,"time":"2021-03-04T02:09:17.132480007Z","time_ns":10000000007,"event":"hop","function":"ip_rcv","hook":"ip_rcv","stage":"local-in","cpu":3,"pid":1234,"comm":"nc -u","netns":{"inode":4026531840,"name":null},"interface":{"name":"vethdfe06191","index":7,"link":"veth@eth0.pod-a,port-of:cbr0"},"packet_id":1,"parent_id":null,"has_parent":false,"skb":"0xffff949a8d639a00","head":"0xffff949a8d000000","unread":false,"len":33,"mark":16384,"pkt_type":3,"pkt_type_name":"otherhost","dest_mac":"2e:74:df:86:96:4b","vlans":[],"packet":{"kind":"udp","ethertype":2048,"ip_version":4,"protocol":17,"src":"172.18.0.15","src_port":40547,"dst":"172.18.253.6","dst_port":9999,"tcp_flags":null,"icmp":null,"fragment":null,"arp":null},"wait_ns":null,"clone":null,"verdict":null,"conntrack":null,"nat":null,"neighbour":null,"socket":null,"tunnel":null,"drop":null,"stack":null}"#);
}

#[test]
fn the_schema_is_this_versions() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let number = schema.pointer("/$defs/event/properties/schema/const");
    assert_eq!(number, Some(&VERSION.into()));
    assert!(BEGIN.contains(&format!("\"schema\":{VERSION},")));
}

/// The lines that are not events'.
fn others(json: &mut Json, machine: &Machine) -> Vec<Value> {
    let finding = Finding {
        rule: "no-socket",
        confidence: Confidence::Certain,
        sentence: "nobody listens at \"x\"".to_owned(),
        check: "`ss -lunp`".to_owned(),
        evidence: Vec::new(),
    };
    let count = Told {
        rule: finding.rule,
        confidence: finding.confidence,
        sentence: finding.sentence.clone(),
        packets: 2,
    };
    let record = samples::hop().record;
    let event = decode(&record, machine);
    let mut out = Vec::new();
    json.finding(&finding, Some(7), &[event, event], machine, &mut out);
    Json::finding_count(&count, &mut out);
    let gap = Gap {
        since_ns: 1,
        until_ns: 2_000_000_007,
        lost: vec![0, 7],
    };
    json.lost(&gap, machine, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    let lines = text.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
    assert_eq!(lines[0]["evidence"].as_array().map(Vec::len), Some(2));
    lines
}

/// Each line is as the schema has it, key by key and in order, and between them the samples have
/// something under every key.
#[test]
fn lines_and_schema_agree() {
    let mut told = Vec::new();
    let mut json = Json::new(OPTIONS);
    let machine = Machine::new();
    let mut lineage = Lineage::new();
    for Sample { record, change } in samples::all() {
        let mut event = decode(&record, &machine);
        lineage.place(&mut event);
        change(&mut event);
        let mut out = Vec::new();
        json.line(&event, &machine, &mut out);
        let line = parse(&String::from_utf8(out).expect("UTF-8"));
        JUDGE.check(&line, &mut told).expect("as the schema says");
    }
    for line in others(&mut json, &machine) {
        JUDGE.check(&line, &mut told).expect("as the schema says");
    }
    let never: Vec<_> = JUDGE.keys().filter(|key| !told.contains(key)).collect();
    assert_eq!(never, Vec::<String>::new(), "no sample has these");
}

#[test]
fn places_and_packets_have_their_own_keys() {
    let mut lineage = Lineage::new();
    let mut json = Json::new(OPTIONS);
    let record = samples::hop().record;
    line(&mut json, &record, &mut lineage);
    let child = testing::parse(samples::child_of_hop().as_bytes());
    let line = parse(&line(&mut json, &child, &mut lineage));
    assert_has(
        &line,
        &[
            ("/event", json!("hop")),
            ("/function", json!("ip_rcv")),
            ("/hook", json!("ip_rcv")),
            ("/stage", json!("local-in")),
            ("/time", json!("2021-03-04T02:09:17.132480007Z")),
            ("/time_ns", json!(10_000_000_007_u64)),
            ("/packet_id", json!(2)),
            ("/parent_id", json!(1)),
            ("/has_parent", json!(true)),
            ("/skb", json!("0xffff949a8d639a00")),
            ("/head", json!("0xffff949a8d000000")),
            ("/netns", json!({"inode": 4_026_531_840_u32, "name": null})),
            ("/interface/name", json!("vethdfe06191")),
            ("/interface/index", json!(7)),
            ("/interface/link", json!("veth@eth0.pod-a,port-of:cbr0")),
            ("/pkt_type", json!(3)),
            ("/pkt_type_name", json!("otherhost")),
            ("/packet/kind", json!("tcp")),
            ("/packet/tcp_flags", json!(["SYN", "ACK"])),
        ],
    );
}

#[test]
fn what_is_not_known_is_null_and_not_zero() {
    let mut gone = testing::blank();
    (gone.flags, gone.head, gone.hook) = (GONE, 0, u16::MAX);
    let line = value_of(gone);
    let nothing = [
        "packet_id",
        "parent_id",
        "has_parent",
        "head",
        "function",
        "hook",
        "stage",
        "comm",
        "netns",
        "interface",
        "len",
        "mark",
        "pkt_type",
        "pkt_type_name",
        "dest_mac",
        "packet",
        "wait_ns",
        "clone",
        "verdict",
        "conntrack",
        "nat",
        "neighbour",
        "socket",
        "tunnel",
        "drop",
        "stack",
    ];
    for key in nothing {
        assert_eq!(line.get(key), Some(&Value::Null), "{key}");
    }
    assert_has(&line, &[("/unread", json!(true)), ("/vlans", json!([]))]);
    let mut place = testing::blank();
    (place.flags, place.netns) = (HAS_NETNS, 4_026_532_281);
    assert_has(
        &value_of(place),
        &[
            ("/unread", json!(false)),
            ("/netns/name", json!("pod a\\b")),
            ("/interface", Value::Null),
            ("/mark", json!(0)),
        ],
    );
}

#[test]
fn verdicts() {
    let raw = testing::blank();
    let line = value(&testing::verdict_over(raw, 2, 0, 1, b"nat", b"", 1));
    assert_has(
        &line,
        &[
            ("/event", json!("verdict")),
            ("/function", json!("__dev_queue_xmit")),
            ("/verdict/verdict", json!("ACCEPT")),
            ("/verdict/errno", Value::Null),
            ("/verdict/family", json!(2)),
            ("/verdict/hook", json!(0)),
            ("/verdict/table", json!("nat")),
            ("/verdict/chain", json!("PREROUTING")),
        ],
    );
    let line = value(&testing::verdict_over(
        raw,
        1,
        2,
        3,
        b"t",
        &[b'c'; 64],
        1 << 16,
    ));
    assert_has(
        &line,
        &[
            ("/verdict/verdict", json!("DROP")),
            ("/verdict/errno", json!(1)),
            ("/verdict/error", json!("EPERM")),
            ("/verdict/chain", json!("c".repeat(64))),
            ("/verdict/chain_cut", json!(true)),
            ("/verdict/table_cut", json!(false)),
        ],
    );
    let line = value(&testing::verdict_over(
        raw,
        0,
        9,
        3,
        b"",
        b"",
        7 << 16 | 0x8003,
    ));
    assert_has(
        &line,
        &[
            ("/verdict/queue", json!(7)),
            ("/verdict/queue_bypass", json!(true)),
            ("/verdict/family", Value::Null),
            ("/verdict/table", Value::Null),
            ("/verdict/table_cut", Value::Null),
        ],
    );
    let line = value(&testing::verdict_over(raw, 2, 9, 1, b"x", b"", 0x4_d000));
    assert_has(
        &line,
        &[
            ("/verdict/verdict", json!("OTHER")),
            ("/verdict/raw", json!(0x4_d000)),
            ("/verdict/hook", json!(9)),
            ("/verdict/chain", Value::Null),
        ],
    );
}

#[test]
fn connections_and_translations() {
    let line = value(&testing::conntrack(
        "nf_conntrack_in",
        testing::Connection::new(),
    ));
    assert_has(
        &line,
        &[
            ("/verdict/verdict", json!("ACCEPT")),
            ("/conntrack/state", json!("NEW")),
            ("/conntrack/direction", json!("original")),
            ("/conntrack/entry/zone", json!(0)),
            ("/conntrack/entry/status_bits", json!(0x1a8)),
            ("/conntrack/entry/original/dst", json!("10.96.0.10")),
            ("/conntrack/entry/original/dst_port", json!(53)),
            ("/conntrack/entry/reply/src", json!("10.244.1.5")),
            ("/conntrack/entry/reply/icmp_id", Value::Null),
        ],
    );
    let line = value(&samples::nat().record);
    assert_has(
        &line,
        &[
            ("/nat/dst_changed", json!(true)),
            ("/nat/src_changed", json!(false)),
            ("/nat/before/dst", json!("172.18.253.6")),
            ("/packet/dst", json!("172.18.0.12")),
            ("/packet/src", json!("172.18.0.15")),
        ],
    );
}

#[test]
fn drops() {
    let at = Machine::HOOK_SLOW + 0x9d;
    let dropped = |reason| value_of(testing::drop_of(testing::blank(), reason, at));
    assert_has(
        &dropped(Some(11)),
        &[
            ("/event", json!("drop")),
            ("/drop/reason", json!("NETFILTER_DROP")),
            ("/drop/told_by", json!("kernel")),
            ("/drop/reason_number", Value::Null),
            ("/drop/at/function", json!("nf_hook_slow")),
            ("/drop/at/offset", json!(0x9d)),
            ("/drop/at/module", Value::Null),
        ],
    );
    assert_has(
        &dropped(Some(0x3_0007)),
        &[
            ("/drop/reason", Value::Null),
            ("/drop/reason_number", json!(0x3_0007)),
            ("/drop/subsystem", json!("OPENVSWITCH")),
        ],
    );
    assert_has(
        &dropped(None),
        &[
            ("/drop/reason", json!("netfilter")),
            ("/drop/told_by", json!("place")),
        ],
    );
}

#[test]
fn names_of_any_bytes() {
    let raw = testing::on(testing::blank(), 4_026_532_281, 1, b"a\"b\x1b\\\xff\n");
    let text = line(
        &mut Json::new(OPTIONS),
        &testing::parse(raw.as_bytes()),
        &mut Lineage::new(),
    );
    assert!(text.contains(r#""name":"a\"b\u001b\\"#), "{text}");
    let name = "a\"b\u{1b}\\\u{fffd}\n";
    assert_has(&parse(&text), &[("/interface/name", json!(name))]);
}

proptest! {
    #[test]
    fn any_record_is_as_the_schema_says_and_caches_do_not_show(
        records in proptest::collection::vec(record_bytes(), 1..4),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let records: Vec<_> = records.iter().map(|bytes| testing::parse(bytes)).collect();
        let mut kept = Json::new(OPTIONS);
        for pick in picks {
            let record = pick.get(&records);
            let text = line(&mut kept, record, &mut Lineage::new());
            let fresh = line(&mut Json::new(OPTIONS), record, &mut Lineage::new());
            prop_assert_eq!(&text, &fresh);
            prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control), "{}", text);
            if let Err(wrong) = JUDGE.check(&parse(&text), &mut Vec::new()) {
                prop_assert!(false, "{} in {}", wrong, text);
            }
        }
    }
}
