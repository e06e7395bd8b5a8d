//! From a command line to settings, or to the message that refuses it.

use insta::assert_snapshot;
use skbtrace_common::hooks::{IPTABLE, ROUTE};

use super::*;
use crate::args::{self, Invocation};

fn settings(line: &str) -> Result<Settings, SettingsError> {
    match args::parse(std::iter::once("skbtrace").chain(line.split_whitespace())) {
        Ok(Invocation::Trace(args)) => Settings::try_from(args),
        Ok(Invocation::Top(args)) => Settings::try_from(args),
        other => panic!("{other:?}"),
    }
}

fn refusal(line: &str) -> String {
    settings(line).expect_err("refused").to_string()
}

#[test]
fn defaults() {
    let s = settings("").expect("accepted");
    assert_eq!(s.sets, ROUTE);
    assert_eq!(s.buffer, 16 << 20);
    assert_eq!(s.look.time, TimeStyle::Wall);
    assert!(!s.drop_stack && !s.call_stack && !s.wants_drops());
    assert!(
        s.header && s.look.format == FormatChoice::Table && s.only.is_none() && s.count.is_none()
    );
    assert_eq!((s.backend, s.transport), (Backend::Auto, Transport::Auto));
}

#[test]
fn the_first_example() {
    let s = settings("--route --iptable -H 172.18.0.15 --proto udp").expect("accepted");
    assert_eq!(s.sets, ROUTE | IPTABLE);
    assert_eq!(s.filter.host4.as_slice().len(), 1);
    assert_eq!(s.filter.proto.as_slice(), [17]);
}

#[test]
fn stacks() {
    let s = settings("--dropstack").expect("accepted");
    assert!(s.drop_stack && !s.call_stack && s.wants_drops());
    let s = settings("--callstack --drop --func ^ip_rcv$ --route").expect("accepted");
    assert!(s.call_stack && !s.drop_stack);
    assert!(!s.wants_drops(), "--func leaves drops out");
}

#[test]
fn journeys_follow() {
    let s = settings("--format tree").expect("accepted");
    assert!(s.wants_ends() && s.wants_drops() && s.wants_details());
    assert!(!settings("--format wide").expect("accepted").wants_drops());
    assert_snapshot!(refusal("--format summary --no-follow"), @"--no-follow: not with --format summary, which follows each packet to its end; leave one of them out");
}

#[test]
fn top_tells_journeys() {
    let s = settings("top -H 172.18.0.15").expect("accepted");
    assert!(s.screen && s.wants_ends() && s.wants_details());
    assert_eq!(s.filter.host4.as_slice().len(), 1);
    assert!(!settings("-H 172.18.0.15").expect("accepted").screen);
    assert_snapshot!(refusal("top --no-follow"), @"--no-follow: not with top, which follows each packet to its end; leave one of them out");
}

#[test]
fn commas_and_repetition_both_make_alternatives() {
    let s = settings("-P 53,54 -P 55 --proto tcp,udp -i eth0,eth1").expect("accepted");
    assert_eq!(s.filter.port.as_slice(), [53, 54, 55]);
    assert_eq!(s.filter.proto.as_slice(), [6, 17]);
    assert_eq!(s.filter.iface.len, 2);
}

#[test]
fn names_of_the_original() {
    let s = settings("--ipaddr 10.0.0.1 --catch-count 5").expect("accepted");
    assert_eq!(s.filter.host4.len, 1);
    assert_eq!(s.count, Some(5));
}

#[test]
fn sizes_are_rounded_up() {
    for (given, bytes) in [("1", page_size()), ("3M", 4 << 20), ("1G", 1 << 30)] {
        let s = settings(&format!("--buffer {given}")).expect("accepted");
        assert_eq!(s.buffer, bytes, "{given}");
    }
}

#[test]
fn functions_are_chosen_within_the_sets() {
    let wanted = |line: &str| {
        let s = settings(line).expect("accepted");
        let wanted = HOOKS.iter().filter(|hook| s.wants(hook));
        wanted.map(|hook| hook.name).collect::<Vec<_>>()
    };
    assert_eq!(wanted("--func ^udpv?6?_rcv$"), ["udp_rcv", "udpv6_rcv"]);
    assert_eq!(
        wanted("--func ^udp.*rcv$ -H fd00::1 -P 53 --proto udp").len(),
        1
    );
    let tables = wanted("--iptable -H 10.0.0.1 -P 53");
    assert!(tables.contains(&"ipt_do_table") && tables.contains(&"nft_do_chain"));
    assert!(!tables.contains(&"ip6t_do_table") && !tables.contains(&"ip_rcv"));
    // The older name of br_nf_forward.
    assert_eq!(wanted("--func br_nf_forward_ip"), ["br_nf_forward"]);
}

#[test]
fn every_function() {
    assert_eq!(settings("").expect("accepted").all, None);
    let s = settings("--all --module nf-conntrack,bridge --func ^no_such$").expect("accepted");
    let modules = ["nf_conntrack", "bridge"].map(str::to_owned).to_vec();
    assert_eq!(s.all, Some(All { modules }));
    assert!(!HOOKS.iter().any(|hook| s.wants(hook)), "only what matches");

    let s = settings("--all --module br_netfilter").expect("accepted");
    let wants = |name: &str| {
        let hook = HOOKS.iter().find(|hook| hook.name == name);
        s.wants(hook.expect("in the catalogue"))
    };
    assert!(wants("br_nf_forward") && !wants("ip_rcv") && !wants("ipt_do_table"));

    // What is followed may be changed into anything.
    let wants_arp = |line: &str| {
        let s = settings(line).expect("accepted");
        let mut arp = HOOKS.iter().filter(|hook| hook.name == "arp_rcv");
        arp.any(|hook| s.wants(hook))
    };
    assert!(wants_arp("--all -P 53") && !wants_arp("--all -P 53 --no-follow"));
}

#[test]
fn captures() {
    let s = settings("--pcapng trip.pcapng").expect("accepted");
    let capture = s.capture.clone().expect("a capture");
    assert_eq!(capture.path, Some("trip.pcapng".into()));
    assert_eq!((capture.snaplen, s.snaplen), (Some(128), 128));
    assert!(!s.print && s.wants_places() && !s.wants_details());
    let s = settings("--pcapng - --snaplen 2048 --print -o lines").expect("accepted");
    let capture = s.capture.clone().expect("a capture");
    assert!(capture.path.is_none() && s.print && s.snaplen == 2048);
    // Recorded for a replay to write.
    let s = settings("-w run.skb --snaplen 64").expect("accepted");
    assert!(s.capture.is_none() && s.snaplen == 64);
    let s = settings("-w run.skb").expect("accepted");
    assert!(s.snaplen == 0 && settings("").expect("accepted").snaplen == 0);
    assert!(settings("--pcapng - -o x").is_ok(), "nothing is printed");
    assert_snapshot!(refusal("--pcapng - --print"), @"--pcapng -: not with --print, which needs standard output too; leave one of them out, or print to a file with --output");
    assert_snapshot!(refusal("--pcapng x -w x"), @"--pcapng x: --write names the same file; give each its own");
    assert_snapshot!(refusal("--pcapng ./x --print -o ./x"), @"--pcapng ./x: --output names the same file; give each its own");
}

#[test]
fn refusals() {
    assert_snapshot!(refusal("--all --backend fentry"), @"--backend fentry: not with --all, since the kernel takes minutes to undo so many; leave it out, or choose kprobe-multi or kprobe");
    assert_snapshot!(refusal("--netns no-such-name"), @r#"--netns no-such-name: no such network namespace; "ip netns" lists the named ones, "lsns -t net" all of them"#);
    assert_snapshot!(refusal("--iptable --func ^ip_rcv"), @r#"--func ^ip_rcv: no function of --iptable has a matching name; "skbtrace hooks" lists the functions"#);
    let ports = (0..17).map(|port| port.to_string()).collect::<Vec<_>>();
    assert_snapshot!(refusal(&format!("-P {}", ports.join(","))), @"--port: too many values; at most 16 different ones can be given, use fewer or run skbtrace twice");
    for line in [
        "--src 10.0.0.1 --dst fd00::1",
        "-P 53 --proto icmp",
        "--func arp_rcv -P 53",
    ] {
        assert!(matches!(settings(line), Err(SettingsError::NothingMatches)));
    }
}
