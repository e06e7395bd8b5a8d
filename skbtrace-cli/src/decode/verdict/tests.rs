//! Which function of a hook decided.

use skbtrace_common::{hooks::TableKind, record::NO_ROW};

use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    event::Action,
    record::Extra,
};

/// What is said of a verdict of this kind with the number of that row.
fn decider(kind: TableKind, row: u16) -> Option<String> {
    let mut record = testing::verdict(2, 1, kind as u8, b"", b"", 0);
    let Extra::Names(names) = &mut record.extra else {
        panic!("a verdict has names");
    };
    names.decider = row;
    let machine = Machine::new();
    match decode(&record, &machine).action {
        Action::Verdict { decider, .. } => decider.map(str::to_owned),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_function_that_decided_is_named() {
    let row = testing::row("ip_sabotage_in");
    let named = decider(TableKind::Hook, row);
    assert_eq!(named.as_deref(), Some("ip_sabotage_in"));
}

#[test]
fn nobody_is_named_where_nobody_is_known() {
    assert_eq!(decider(TableKind::Hook, NO_ROW), None);
    assert_eq!(decider(TableKind::Hook, NO_ROW - 1), None, "no such row");
    assert_eq!(decider(TableKind::Xt, 0), None, "a table decides alone");
}
