//! Drops: reason and place, and the stacks that led there.

use skbtrace_common::Plain as _;

use super::{Machine, decode, testing};
use crate::event::{Action, DropReason};

/// Reason of a drop at `caller`, and the function that place is in.
fn dropped(reason: Option<u32>, caller: u64) -> (String, Option<u64>, String) {
    let raw = testing::drop_of(testing::blank(), reason, caller);
    let record = testing::parse(raw.as_bytes());
    match decode(&record, &Machine::new()).action {
        Action::Drop {
            function: "kfree_skb",
            reason,
            at,
        } => (
            format!("{reason:?}"),
            at.address,
            at.symbol.map_or(String::new(), |s| s.function.to_owned()),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drop_has_a_reason_and_a_place() {
    let slow = Machine::HOOK_SLOW + 0x9d;
    let named = |name| format!("{:?}", DropReason::Named(name));
    let number = |subsystem, number| format!("{:?}", DropReason::Number { subsystem, number });
    assert_eq!(
        dropped(Some(11), slow),
        (named("NETFILTER_DROP"), Some(slow), "nf_hook_slow".into())
    );
    assert_eq!(dropped(Some(0x3_0005), slow).0, named("OVS_DROP_METER"));
    assert_eq!(dropped(Some(12), slow).0, number(None, 12));
    let of_subsystem = number(Some("OPENVSWITCH"), 0x3_0006);
    assert_eq!(dropped(Some(0x3_0006), slow).0, of_subsystem);
    // An address that is in no function is still one; none at all is none.
    assert_eq!(dropped(Some(11), 77).1, Some(77));
    assert_eq!(dropped(Some(11), 77).2, "");
    assert_eq!(dropped(Some(11), 0).1, None);
}

#[test]
fn without_reasons_the_place_tells_or_nobody() {
    let told = format!("{:?}", DropReason::Told("netfilter"));
    let unknown = format!("{:?}", DropReason::Unknown);
    assert_eq!(dropped(None, Machine::HOOK_SLOW + 1).0, told);
    assert_eq!(dropped(None, Machine::HOOK_SLOW_COLD).0, told);
    assert_eq!(dropped(None, Machine::BRIDGE.start).0, unknown);
    assert_eq!(dropped(None, 0).0, unknown);
    // A reason that the kernel gave is never replaced.
    let zero = dropped(Some(0), Machine::HOOK_SLOW).0;
    assert!(zero.starts_with("Number"), "{zero}");
}

#[test]
fn a_stack_has_as_many_frames_as_the_kernel_says() {
    let machine = Machine::new();
    let frames = |size: i64| {
        let mut record = testing::with_stack(testing::blank(), &[1, 2, 3]);
        record.stack.as_mut().expect("a stack").size = size;
        let event = decode(&record, &machine);
        event.stack.map(<[u64]>::len)
    };
    assert_eq!(frames(24), Some(3));
    assert_eq!(frames(7), Some(0));
    // -EFAULT, and a size that is none.
    assert_eq!(frames(-14), Some(0));
    assert_eq!(frames(i64::MAX), Some(skbtrace_common::record::STACK));
    let record = testing::with_stack(testing::blank(), &[1, 2]);
    let event = decode(&record, &machine);
    assert_eq!(event.stack, Some(&[1, 2][..]));
    let plain = testing::parse(testing::blank().as_bytes());
    assert_eq!(decode(&plain, &machine).stack, None);
}

#[test]
fn a_drops_stack_begins_at_its_place() {
    let machine = Machine::new();
    let frames = |caller, frames: &[u64]| {
        let raw = testing::drop_of(testing::blank(), Some(11), caller);
        let record = testing::with_stack(raw, frames);
        decode(&record, &machine).stack.map(<[u64]>::to_vec)
    };
    assert_eq!(frames(3, &[1, 2, 3, 4]), Some(vec![3, 4]));
    // Nothing is left out where that place is not among them.
    assert_eq!(frames(9, &[1, 2]), Some(vec![1, 2]));
    let plain = testing::with_stack(testing::clone_of(testing::blank(), 7, 2), &[1, 2]);
    assert_eq!(decode(&plain, &machine).stack, Some(&[1, 2][..]));
}
