use super::*;

#[test]
fn a_reason_is_told_once() {
    let error = Types::read(Some(Path::new("/nonexistent"))).expect_err("no such file");
    let text = format!("{:#}", anyhow::Error::new(error));
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
}

fn types(described: &[(&str, u8, bool)], has_module_btf: bool) -> Types {
    Types {
        layout: Layout::UNKNOWN,
        arguments: described
            .iter()
            .map(|(name, position, is_pointer)| {
                let argument = PacketArgument {
                    position: *position,
                    is_pointer: *is_pointer,
                };
                ((*name).to_owned(), argument)
            })
            .collect(),
        functions: HashMap::new(),
        cast: None,
        session: None,
        has_fentry_multi: false,
        has_module_btf,
        has_old_hook_state: !has_module_btf,
        modules: BTreeSet::new(),
        drop_reasons: DropReasons::default(),
    }
}

fn sites(types: &Types, hook: &str) -> Vec<(&'static str, Arg)> {
    let hook = HOOKS
        .iter()
        .find(|h| h.name == hook)
        .expect("in the catalogue");
    types
        .sites(hook.sites)
        .iter()
        .map(|s| (s.symbol, s.arg))
        .collect()
}

#[test]
fn btf_chooses_between_the_orders_of_arguments() {
    let new = types(&[("ipt_do_table", 2, false)], true);
    assert_eq!(sites(&new, "ipt_do_table"), [("ipt_do_table", Arg::Skb(2))]);
    let old = types(&[("ipt_do_table", 1, false)], true);
    assert_eq!(sites(&old, "ipt_do_table"), [("ipt_do_table", Arg::Skb(1))]);
}

#[test]
fn without_module_btf_it_is_the_old_order() {
    assert_eq!(
        sites(&types(&[], false), "ipt_do_table"),
        [("ipt_do_table", Arg::Skb(1))]
    );
}

#[test]
fn btf_knows_better_than_the_catalogue() {
    let moved = types(
        &[("ip_rcv", 2, false), ("__netif_receive_skb_core", 3, true)],
        true,
    );
    assert_eq!(sites(&moved, "ip_rcv"), [("ip_rcv", Arg::Skb(2))]);
    assert_eq!(
        sites(&moved, "__netif_receive_skb_core"),
        [
            ("__netif_receive_skb_core", Arg::SkbPtr(3)),
            ("__netif_receive_skb_core.constprop.0", Arg::SkbPtr(1)),
        ]
    );
}

#[test]
fn what_btf_does_not_describe_is_as_the_catalogue_says() {
    assert_eq!(
        sites(&types(&[], true), "__netif_receive_skb_core"),
        [
            ("__netif_receive_skb_core", Arg::SkbPtr(1)),
            ("__netif_receive_skb_core.constprop.0", Arg::SkbPtr(1)),
        ]
    );
}

#[test]
fn a_tracepoint_is_not_taken_for_a_function() {
    let types = types(&[("qdisc_drop", 1, false)], true);
    let sites = sites(&types, "qdisc_drop");
    assert_eq!(sites[0], ("qdisc_drop", Arg::Skb(4)));
}

#[test]
fn every_symbol_with_one_order_of_arguments_is_tried() {
    let types = types(&[], true);
    for hook in HOOKS {
        let symbols: BTreeSet<_> = hook.sites.iter().map(|s| s.symbol).collect();
        let unreadable = |site: &Site| matches!(site.arg, Arg::NftPktinfo(_));
        if symbols.len() < hook.sites.len() || hook.sites.iter().any(unreadable) {
            continue;
        }
        let tried: BTreeSet<_> = types.sites(hook.sites).iter().map(|s| s.symbol).collect();
        assert_eq!(symbols, tried, "{}", hook.name);
    }
}
