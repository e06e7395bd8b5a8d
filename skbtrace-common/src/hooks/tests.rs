//! What must be true of every row, and of the document that explains them.

use super::{
    Arg::*,
    Stage::Socket,
    build::{at, hop, table, with_other},
    *,
};

#[test]
fn a_binding_says_what_it_was_made_of() {
    const HOOK: Hook = hop("f", Socket, &[]);
    let site = table("f", NftPktinfo(1), 0, 2);
    let nft = HOOK.kind(Kind::Verdict(TableKind::Nft)).v6();
    let binding = Binding::new(42, &nft, &site);
    assert_eq!(binding.layer3(), Layer3::V6 as u8);
    assert!(!binding.is_bare());
    assert_eq!(binding.hook(), 42);
    assert_eq!(binding.of_any_row(), Binding::new(0, &nft, &site));
    assert_eq!(binding.position(), 1);
    assert!(binding.is_pktinfo());
    assert!(!binding.is_pointer());
    assert_eq!((binding.state(), binding.table()), (0, 2));
    assert_eq!(binding.table_kind(), TableKind::Nft as u8);

    let binding = Binding::new(u16::MAX, &HOOK.bare(), &at("f", SkbPtr(5)));
    assert_eq!(binding.layer3(), Layer3::Any as u8);
    assert!(binding.is_bare());
    assert_eq!((binding.hook(), binding.position()), (u16::MAX, 5));
    assert!(binding.is_pointer());
    assert!(!binding.is_pktinfo());
    assert_ne!(binding.0, Binding::PLACEHOLDER);
}

/// Otherwise functions that could would not share a program.
#[test]
fn a_hop_has_a_socket_only_where_it_is_asked_for_it() {
    const HOOK: Hook = hop("f", Socket, &[]);
    let site = with_other("f", Skb(2), 1);
    let binding = Binding::new(0, &HOOK.bare(), &site);
    assert_eq!((binding.is_queued(), binding.table()), (false, 0));
    let binding = Binding::new(0, &HOOK.queued(), &site);
    assert_eq!((binding.is_queued(), binding.table()), (true, 1));
    assert!(binding.is_bare() && binding.shared().is_queued());
}

#[test]
fn whose_queue_a_packet_stands_in_is_among_the_arguments() {
    for hook in HOOKS.iter().filter(|hook| hook.queued) {
        assert!(matches!(hook.kind, Kind::Socket), "{}", hook.name);
        assert!(hook.bare, "{}", hook.name);
        assert!(hook.sites.iter().all(|s| s.table != 0), "{}", hook.name);
    }
}

#[test]
fn names_are_unique_and_sets_are_known() {
    for (row, hook) in HOOKS.iter().enumerate() {
        assert!(!hook.sites.is_empty(), "{}", hook.name);
        let known = SETS.iter().fold(0, |bits, set| bits | set.bit);
        assert!(hook.sets != 0 && hook.sets & !known == 0, "{}", hook.name);
        assert!(
            HOOKS[..row].iter().all(|other| other.name != hook.name),
            "{} stands twice",
            hook.name
        );
    }
}

#[test]
fn every_set_has_a_bit_of_its_own_and_rows() {
    for (nth, set) in SETS.iter().enumerate() {
        assert_eq!(set.bit.count_ones(), 1, "{}", set.name);
        let others = SETS[..nth].iter();
        assert!(
            others
                .clone()
                .all(|o| o.bit != set.bit && o.name != set.name),
            "{} stands twice",
            set.name
        );
        assert!(
            HOOKS.iter().any(|hook| hook.sets & set.bit != 0),
            "{} is empty",
            set.name
        );
    }
    assert_eq!(SETS[0].bit, ROUTE, "the first is the default");
}

/// The functions of the article, whose tables --route repeats: a row more is a line more.
#[test]
fn the_default_set_is_the_articles() {
    let route = HOOKS.iter().filter(|hook| hook.sets & ROUTE != 0);
    assert_eq!(route.count(), 53);
}

/// Only five arguments are certain to be in registers, and 15 is what a binding has room for.
#[test]
fn positions_can_be_read() {
    for hook in HOOKS {
        for site in hook.sites {
            let (Skb(position) | SkbPtr(position) | NftPktinfo(position)) = site.arg;
            assert!((1..=5).contains(&position), "{}", site.symbol);
            assert!(site.state <= 5 && site.table <= 5, "{}", site.symbol);
            assert!(
                position != site.state && position != site.table,
                "{}: two things at one place",
                site.symbol
            );
        }
    }
}

#[test]
fn a_kind_has_what_it_reports() {
    for hook in HOOKS {
        for site in hook.sites {
            let (name, other) = (hook.name, site.table != 0);
            let is_pktinfo = matches!(site.arg, NftPktinfo(_));
            match hook.kind {
                Kind::Verdict(kind) => {
                    assert!(site.state != 0 || is_pktinfo, "{name}: no hook state");
                    let walks_one = !matches!(kind, TableKind::Hook);
                    assert_eq!(other, walks_one, "{name}: a table, or all of them");
                    assert_ne!(kind, TableKind::None, "{name}");
                }
                Kind::Morph | Kind::Merge => assert!(other, "{name}: no other packet"),
                Kind::Neighbour => assert!(other, "{name}: no neighbour"),
                // Where there is none, the packet knows it.
                Kind::Socket => assert_eq!(hook.sets & SOCKET, SOCKET, "{name}: not of its set"),
                Kind::Tunnel => assert_eq!(hook.sets & TUNNEL, TUNNEL, "{name}: not of its set"),
                _ => assert!(!other, "{name}: a table and no verdict"),
            }
            assert!(
                !site.tracepoint
                    || matches!(
                        hook.kind,
                        Kind::Hop | Kind::Drop | Kind::QueueDrop | Kind::Socket
                    ),
                "{name}: a tracepoint does not return"
            );
        }
        let tracepoints = hook.sites.iter().filter(|site| site.tracepoint).count();
        assert!(
            tracepoints == 0 || tracepoints == hook.sites.len(),
            "{}: a name for two different things",
            hook.name
        );
        if hook.kind == Kind::Drop {
            assert_ne!(tracepoints, 0, "the reason is a tracepoint's");
        }
    }
}

#[test]
fn what_makes_or_ends_packets_is_followed() {
    for hook in HOOKS {
        let changes_who_is_who = matches!(
            hook.kind,
            Kind::Clone | Kind::Segments | Kind::Fragments | Kind::Morph | Kind::Merge | Kind::Free
        );
        assert_eq!(hook.follows, changes_who_is_who, "{}", hook.name);
        if hook.follows {
            assert_ne!(hook.sets & LIFE, 0, "{}", hook.name);
        }
    }
}

/// Where one symbol is listed for each order of its arguments, user space must be able to tell
/// them apart by where the packet is.
#[test]
fn alternatives_of_a_symbol_differ_in_the_packets_place() {
    for hook in HOOKS {
        for (nth, site) in hook.sites.iter().enumerate() {
            let same = |other: &&Site| other.symbol == site.symbol && other.arg == site.arg;
            assert!(
                hook.sites[..nth].iter().find(same).is_none(),
                "{}",
                hook.name
            );
        }
    }
}

/// The third column of the document's tables names rows and sites only, between backquotes.
#[test]
fn the_document_names_what_is_in_the_catalogue() {
    let document = include_str!("../../../docs/datapath.md");
    let named = |name: &str| {
        HOOKS.iter().any(|hook| {
            hook.name == name || hook.sites.iter().any(|site| site.display_name() == name)
        })
    };
    let mut steps = 0;
    for line in document.lines().filter(|line| line.starts_with('|')) {
        let mut cells = line.split('|').skip(1);
        let number = cells.next().unwrap_or_default().trim();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        steps += 1;
        let rows = cells.nth(1).unwrap_or_default();
        let unseen = rows.contains("not seen");
        let functions = || rows.split('`').skip(1).step_by(2);
        assert!(unseen || functions().next().is_some(), "{line}");
        for function in functions() {
            assert!(named(function), "{function} is not in the catalogue");
        }
    }
    assert_eq!(steps, 38);
    for set in SETS {
        let mut rows = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `--"));
        assert!(
            rows.any(|row| row.split('`').next() == Some(set.name)),
            "the document does not name --{}",
            set.name
        );
    }
}

#[test]
fn the_compilers_suffix_is_not_shown() {
    assert_eq!(at("f.constprop.0.isra.1", Skb(1)).display_name(), "f");
}
