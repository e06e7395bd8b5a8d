//! Drops and stacks.

use skbtrace_common::Plain as _;

use super::{Table, options, render, table};
use crate::decode::testing::{self, Machine};

/// The lines of drops: the bytes after the colon.
fn drops(color: bool, drops: &[(Option<u32>, u64)]) -> String {
    let mut lines = String::new();
    for (reason, caller) in drops {
        let raw = testing::drop_of(testing::blank(), *reason, *caller);
        let line = render(
            &mut Table::new(options(false, color)),
            &testing::parse(raw.as_bytes()),
        );
        let (_, text) = line.split_once(".0:").expect("a type");
        lines.push_str(text);
    }
    lines.replace('\x1b', "^")
}

#[test]
fn drops_have_reasons_and_places() {
    let slow = Machine::HOOK_SLOW + 0x9d;
    let all = [
        (Some(11), slow),
        (Some(0x3_0005), Machine::BRIDGE.start + 0x12),
        // Without a name, of the kernel and of subsystems with and without one.
        (Some(1234), slow),
        (Some(0x3_0007), slow),
        (Some(0x9_0007), slow),
        (Some(11), 0xffff_ffff_8100_0042),
        (Some(11), 0),
        // A kernel without reasons.
        (None, slow),
        (None, Machine::BRIDGE.start),
        (None, 0),
    ];
    insta::assert_snapshot!(drops(false, &all), @r"
    kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
    kfree_skb.DROP(OVS_DROP_METER)@br_handle_frame_finish+0x12[bridge]
    kfree_skb.DROP(reason1234)@nf_hook_slow+0x9d
    kfree_skb.DROP(OPENVSWITCH.reason7)@nf_hook_slow+0x9d
    kfree_skb.DROP(subsys9.reason7)@nf_hook_slow+0x9d
    kfree_skb.DROP(NETFILTER_DROP)@0xffffffff81000042
    kfree_skb.DROP(NETFILTER_DROP)@?
    kfree_skb.DROP(netfilter)@nf_hook_slow+0x9d
    kfree_skb.DROP(?)@br_handle_frame_finish+0x0[bridge]
    kfree_skb.DROP(?)@?
    ");
    insta::assert_snapshot!(drops(true, &all[..1]), @"kfree_skb.^[31mDROP(NETFILTER_DROP)^[0m@nf_hook_slow+0x9d");
}

#[test]
fn frames_stand_under_their_event() {
    let raw = testing::drop_of(testing::blank(), Some(11), Machine::HOOK_SLOW + 0x9d);
    let frames = [
        Machine::HOOK_SLOW + 0x9d,
        Machine::BRIDGE.start + 0x12,
        0xffff_ffff_c0ff_0001,
        0xffff_ffff_8100_0042,
    ];
    let records = [
        testing::with_stack(raw, &frames),
        // The kernel could not tell.
        testing::with_stack(raw, &[]),
        testing::parse(raw.as_bytes()),
    ];
    insta::assert_snapshot!(table(options(false, false), &records), @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
        nf_hook_slow+0x9d
        br_handle_frame_finish+0x12 [bridge]
        a\x20b\x1b+0x1 [m\x0a]
        0xffffffff81000042
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
        ?
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
    ");
}

#[test]
fn a_stack_begins_at_the_traced_function() {
    let slow = Machine::HOOK_SLOW + 5;
    let frames = |frames: &[u64]| {
        let record = testing::with_stack(testing::blank(), frames);
        let text = render(&mut Table::new(options(false, false)), &record);
        let (_, frames) = text.split_once('\n').expect("a line");
        frames.to_owned()
    };
    let own = Machine::PROGRAM;
    assert_eq!(frames(&[own, own, slow]), "    nf_hook_slow+0x5\n");
    // Not each kernel names all trampolines.
    let nameless = 0xffff_ffff_c0dd_0000;
    assert_eq!(frames(&[nameless, own, slow]), "    nf_hook_slow+0x5\n");
    assert_eq!(frames(&[nameless, slow]).lines().count(), 2);
    // Other programs on the way stay.
    let between = frames(&[slow, own]);
    assert_eq!(between.lines().count(), 2, "{between}");
    assert_eq!(frames(&[own]), "    ?\n");
}
