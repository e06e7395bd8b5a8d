//! From described functions and traceable symbols to what can be listened on.

use super::{
    super::btf::{
        Btf,
        testing::{Builder, FUNC, PTR, STRUCT},
    },
    *,
};

const EVERYTHING: Choice<'_> = Choice {
    modules: &[],
    only: None,
};

/// Functions that take a packet as their first argument, and one that does so as its sixth.
fn kernel(names: &[&str]) -> Builder {
    let mut b = Builder::new();
    b.composite(STRUCT, false, "sk_buff", &[]); // 1
    b.simple(PTR, "", 1); // 2
    b.int("int", 4); // 3
    b.prototype(&[2, 3]); // 4
    b.prototype(&[3, 3, 3, 3, 3, 2]); // 5
    b.prototype(&[3, 2]); // 6
    for name in names {
        b.simple(FUNC, name, 4);
    }
    b
}

fn described(builder: &Builder) -> Described {
    let btf = Btf::parse(builder.bytes(), None, &[]).expect("sound BTF");
    describe(btf.takers())
}

fn of_kernel(names: &[&str]) -> BTreeMap<Option<String>, Described> {
    BTreeMap::from([(None, described(&kernel(names)))])
}

fn found(functions: &Functions) -> Vec<(&str, Option<&str>)> {
    let found = functions.found.iter();
    found
        .map(|function| (function.symbol.as_str(), function.module.as_deref()))
        .collect()
}

fn left_out(functions: &Functions) -> Vec<(&str, &str)> {
    let left_out = functions.left_out.iter();
    left_out
        .map(|function| (function.name.as_str(), function.reason))
        .collect()
}

#[test]
fn what_tracefs_does_not_list_is_left_out_and_named() {
    let sections = of_kernel(&["ip_rcv", "hidden"]);
    let functions = Functions::select(&sections, Some("other\nip_rcv\n"), EVERYTHING);
    assert_eq!(found(&functions), [("ip_rcv", None)]);
    assert_eq!(
        left_out(&functions),
        [("hidden", "the kernel does not let it be traced")]
    );
}

#[test]
fn without_tracefs_all_that_is_described_is_tried() {
    let functions = Functions::select(&of_kernel(&["ip_rcv", "hidden"]), None, EVERYTHING);
    assert_eq!(found(&functions), [("hidden", None), ("ip_rcv", None)]);
    assert!(functions.left_out.is_empty());
}

#[test]
fn a_symbol_with_the_compilers_suffix_is_taken_where_it_is_the_one_described() {
    let sections = of_kernel(&["alone", "beside", "split", "twice"]);
    let lines = "alone.constprop.0\nbeside\nbeside.isra.0\nsplit.part.0\ntwice\ntwice\n";
    let functions = Functions::select(&sections, Some(lines), EVERYTHING);
    assert_eq!(
        found(&functions),
        [("alone.constprop.0", None), ("beside", None)]
    );
    let names: Vec<_> = left_out(&functions).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["beside.isra.0", "split", "twice"]);
    assert!(left_out(&functions)[2].1.contains("several"));
}

#[test]
fn a_packet_that_is_not_in_a_register_is_not_guessed() {
    let mut b = kernel(&[]);
    b.simple(FUNC, "sixth", 5);
    b.simple(FUNC, "second", 6);
    b.simple(FUNC, "unlike", 6);
    b.simple(FUNC, "unlike", 4);
    let sections = BTreeMap::from([(None, described(&b))]);
    let functions = Functions::select(&sections, None, EVERYTHING);
    assert_eq!(functions.found.len(), 1);
    assert_eq!(functions.found[0].position, 2);
    assert_eq!(functions.found[0].symbol, "second");
    assert_eq!(
        left_out(&functions),
        [
            ("sixth", "its packet is not among the first five arguments"),
            (
                "unlike",
                "several functions have this name, with other arguments"
            )
        ]
    );
}

#[test]
fn a_socket_is_where_all_functions_of_the_name_have_it() {
    let mut b = kernel(&[]); // up to 6
    b.composite(STRUCT, false, "sock", &[]); // 7
    b.simple(PTR, "", 7); // 8
    b.prototype(&[8, 2]); // 9
    b.simple(FUNC, "sends", 9);
    b.simple(FUNC, "unlike", 9);
    b.simple(FUNC, "unlike", 6);
    let sections = BTreeMap::from([(None, described(&b))]);
    let functions = Functions::select(&sections, None, EVERYTHING);
    let places: Vec<_> = functions
        .found
        .iter()
        .map(|function| (&*function.symbol, function.position, function.socket))
        .collect();
    assert_eq!(places, [("sends", 2, Some(1)), ("unlike", 2, None)]);
}

#[test]
fn what_is_called_after_a_packets_end_is_left_out() {
    let functions = Functions::select(
        &of_kernel(&["kfree_skbmem", "skb_release_head_state"]),
        Some("kfree_skbmem\nskb_release_head_state\n"),
        EVERYTHING,
    );
    assert_eq!(found(&functions), [("skb_release_head_state", None)]);
    assert_eq!(left_out(&functions)[0].0, "kfree_skbmem");
}

#[test]
fn modules_are_told_apart_and_chosen() {
    let base = kernel(&["shared", "ip_rcv"]);
    let btf = Btf::parse(base.bytes(), None, &[]).expect("sound BTF");
    let mut module = Builder::split(&base);
    module.simple(FUNC, "shared", 4);
    module.simple(FUNC, "br_forward", 4);
    let module = Btf::parse(module.bytes(), Some(&btf), &[]).expect("sound BTF");
    let sections = BTreeMap::from([
        (None, describe(btf.takers())),
        (Some("bridge".to_owned()), describe(module.takers())),
    ]);
    let lines = "ip_rcv\nshared\nbr_forward [bridge]\nshared [bridge]\nip_rcv [bridge]\n";
    let all = Functions::select(&sections, Some(lines), EVERYTHING);
    let bridge = Some("bridge");
    assert_eq!(
        found(&all),
        [
            ("ip_rcv", None),
            ("shared", None),
            ("br_forward", bridge),
            ("shared", bridge)
        ]
    );
    let ambiguous: Vec<_> = all.found.iter().map(|f| f.is_ambiguous).collect();
    assert_eq!(ambiguous, [true, true, false, true]);

    let of = |module: &str, pattern: Option<&str>| {
        let only = pattern.map(|pattern| Regex::new(pattern).expect("sound"));
        let choice = Choice {
            modules: &[module.to_owned()],
            only: only.as_ref(),
        };
        Functions::select(&sections, Some(lines), choice)
            .found
            .len()
    };
    assert_eq!(of("bridge", None), 2);
    assert_eq!(of("vmlinux", Some("^ip_")), 1);
    assert_eq!(of("absent", None), 0);
}
