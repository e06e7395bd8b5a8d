//! Choosing: the hooks of a run, from the settings, the catalogue and what this kernel has.
//!
//! Events name their hook by its row. Rows up to the catalogue's length are the catalogue's; behind
//! it come the functions that `--all` found and the catalogue has no row for, in their order. A
//! function that the catalogue has keeps its row there, with what it knows of it.
//!
//! **Invariant:** no function has two rows that both report each of its calls.

mod deciders;

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};
use skbtrace_common::hooks::{
    Arg, HOOKS, Hook, Kind, Layer3, Layer4, NEIGH, SOCKET, Site, Stage, TUNNEL,
};

use crate::{
    attach::Wanted,
    kernel::{
        functions::{self, Function, Functions, LeftOut},
        layout::Types,
        sections::Sections,
    },
    settings::{All, Settings, reports_calls},
    tell,
};

/// What a run listens on.
pub struct Chosen {
    /// By row.
    pub wanted: Vec<Wanted>,
    /// What it cannot listen on.
    pub left_out: Vec<LeftOut>,
}

/// The hooks of the chosen sets that the filter can match, those that following needs, and with
/// `--all` every function that takes a packet.
pub fn choose(settings: &Settings, btf: &Sections, types: &Types) -> Result<Chosen> {
    let functions = match &settings.all {
        Some(all) => find(settings, all, btf, types),
        None => Functions::default(),
    };
    let mut chosen = join(settings, types, functions);
    deciders::add(btf, &mut chosen.wanted);
    if settings.all.is_some() && chosen.wanted.iter().all(|hook| hook.silent) {
        bail!(
            "--all: no function that takes a packet is left by --module, --func and the filters; \
             leave one of them out, or see what modules are loaded (lsmod)"
        );
    }
    Ok(chosen)
}

/// What this kernel has.
fn find(settings: &Settings, all: &All, btf: &Sections, types: &Types) -> Functions {
    let choice = functions::Choice {
        modules: &all.modules,
        only: settings.only.as_ref(),
    };
    let functions = Functions::read(btf, choice);
    // A kernel that describes its modules may just have none loaded.
    let describes_modules = types.has_module_btf && settings.btf.is_none();
    if !functions.has_modules && !describes_modules {
        tell!(
            "skbtrace: there is no description (BTF) of modules' functions: of these, --all takes \
             what the catalogue has"
        );
    }
    functions
}

fn join(settings: &Settings, types: &Types, functions: Functions) -> Chosen {
    let in_catalogue = of_rows(&functions.found);
    let kept: HashSet<usize> = in_catalogue.values().copied().collect();
    let others = functions.found.into_iter().enumerate();
    let others = others.filter_map(|(at, function)| (!kept.contains(&at)).then_some(function));
    // A drop or a verdict may come when the packet is no longer what the filter says.
    let begins = settings.filter.active() != 0
        && settings.all.is_none()
        && !HOOKS.iter().any(|hook| hook.begins && settings.wants(hook));
    let of_catalogue = HOOKS.iter().enumerate().filter_map(|(row, hook)| {
        let found = in_catalogue.contains_key(&row) && settings.can_match(hook);
        let wants = found || settings.wants(hook);
        let told = wants || settings.needs(hook);
        let needed = settings.follow.is_some()
            && (hook.follows || (begins && hook.begins && settings.can_match(hook)));
        (told || needed).then(|| Wanted {
            row,
            hook: as_asked_for(hook, settings),
            sites: types.sites(hook.sites),
            silent: !told,
            by_address: false,
        })
    });
    let mut wanted: Vec<_> = of_catalogue.collect();
    // No kernel has as many functions as there are numbers for rows.
    let room = usize::from(u16::MAX) - HOOKS.len();
    for (row, function) in (HOOKS.len()..).zip(others.take(room)) {
        let by_address = function.is_ambiguous;
        let hook = hook(function);
        wanted.push(Wanted {
            row,
            hook,
            sites: hook.sites.to_vec(),
            silent: false,
            by_address,
        });
    }
    Chosen {
        wanted,
        left_out: functions.left_out,
    }
}

/// A row, which reports no more than a packet's passing where the set that would tell more of it is
/// not chosen.
fn as_asked_for(hook: &'static Hook, settings: &Settings) -> &'static Hook {
    let telling = match hook.kind {
        Kind::Neighbour => NEIGH,
        Kind::Socket => SOCKET,
        Kind::Tunnel => TUNNEL,
        _ => return hook,
    };
    // Where a packet comes from and goes to is a part of its journey.
    let is_journeys = hook.kind == Kind::Socket && settings.wants_ends();
    if settings.sets & telling != 0 || is_journeys {
        return hook;
    }
    Box::leak(Box::new(Hook {
        kind: Kind::Hop,
        ..*hook
    }))
}

/// Which of the functions the catalogue's rows stand for, by row: of several sites that this kernel
/// has, the one that will be attached, and of functions with the same symbol the one in the module
/// that the row names. The others get rows of their own.
fn of_rows(found: &[Function]) -> HashMap<usize, usize> {
    let mut rows = HashMap::new();
    for (row, hook) in HOOKS.iter().enumerate() {
        if reports_calls(hook) {
            let functions = hook.sites.iter().enumerate();
            let functions = functions.filter(|(_, site)| !site.tracepoint);
            for (nth, site) in functions {
                rows.entry(site.symbol).or_insert((row, nth));
            }
        }
    }
    let mut best: HashMap<usize, ((usize, bool), usize)> = HashMap::new();
    for (at, function) in found.iter().enumerate() {
        let Some((row, nth)) = rows.get(function.symbol.as_str()) else {
            continue;
        };
        let rank = (*nth, function.module.as_deref() != HOOKS[*row].module);
        let one = (rank, at);
        let kept = best.entry(*row).or_insert(one);
        *kept = one.min(*kept);
    }
    best.into_iter().map(|(row, (_, at))| (row, at)).collect()
}

/// A hook as the catalogue would have it. It lives as long as the process: there is one run in it,
/// and what is printed refers to its names to the end.
fn hook(function: Function) -> &'static Hook {
    let symbol: &'static str = function.symbol.leak();
    // As TCP's queue is worked on: `f(sk, skb, …)`. Each further shape is a program of its own, which
    // makes a start longer.
    let of_queue = function.socket == Some(1) && function.position == 2;
    let site: &'static Site = Box::leak(Box::new(Site {
        symbol,
        arg: Arg::Skb(function.position),
        state: 0,
        table: u8::from(of_queue),
        tracepoint: false,
    }));
    Box::leak(Box::new(Hook {
        name: site.display_name(),
        sets: 0,
        stage: Stage::Unknown,
        kind: Kind::Hop,
        layer3: Layer3::Any,
        layer4: Layer4::Any,
        bare: true,
        queued: of_queue,
        follows: false,
        begins: false,
        module: function.module.map(|module| &*module.leak()),
        sites: std::slice::from_ref(site),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Invocation};

    fn rows(line: &str, symbols: &[(&str, Option<&str>)]) -> Vec<Wanted> {
        let line = std::iter::once("skbtrace").chain(line.split_whitespace());
        let Ok(Invocation::Trace(args)) = args::parse(line) else {
            panic!("no trace");
        };
        let settings = Settings::try_from(args).expect("accepted");
        let found = symbols
            .iter()
            .map(|(symbol, module)| Function {
                symbol: (*symbol).to_owned(),
                module: module.map(str::to_owned),
                position: 2,
                socket: match *symbol {
                    "of_socket" => Some(1),
                    "before_socket" => Some(3),
                    _ => None,
                },
                is_ambiguous: false,
            })
            .collect();
        let functions = Functions {
            found,
            ..Functions::default()
        };
        join(&settings, &Types::unknown(), functions).wanted
    }

    fn named<'a>(rows: &'a [Wanted], name: &str) -> Vec<&'a Wanted> {
        rows.iter().filter(|row| row.hook.name == name).collect()
    }

    #[test]
    fn functions_stand_behind_the_catalogue_in_their_order() {
        let symbols = [("a_function", None), ("ip_rcv", None), ("b.isra.0", None)];
        let rows = rows("--all", &symbols);
        let behind: Vec<_> = rows
            .iter()
            .filter(|wanted| wanted.row >= HOOKS.len())
            .map(|wanted| (wanted.row - HOOKS.len(), wanted.hook.name))
            .collect();
        assert_eq!(behind, [(0, "a_function"), (1, "b")]);
        assert_eq!(named(&rows, "b")[0].sites[0].symbol, "b.isra.0");
        assert_eq!(named(&rows, "b")[0].sites[0].arg, Arg::Skb(2));
    }

    #[test]
    fn a_function_may_have_the_packets_socket() {
        let symbols = ["of_socket", "before_socket", "of_none"].map(|symbol| (symbol, None));
        let rows = rows("--all", &symbols);
        let queued = |name| {
            let hook = named(&rows, name)[0].hook;
            (hook.queued, hook.sites[0].table)
        };
        assert_eq!(queued("of_socket"), (true, 1));
        assert_eq!(queued("before_socket"), (false, 0));
        assert_eq!(queued("of_none"), (false, 0));
    }

    #[test]
    fn a_function_of_the_catalogue_keeps_its_row() {
        let rows = rows("--all", &[("ip_rcv", None)]);
        let [row] = named(&rows, "ip_rcv")[..] else {
            panic!("one row");
        };
        assert!(row.row < HOOKS.len() && !row.silent);
        assert_ne!(row.hook.stage, Stage::Unknown);
    }

    /// Its program would find the packet forgotten, or remember it for good.
    #[test]
    fn the_end_of_packets_is_reported_by_the_catalogues_row_alone() {
        let rows = rows("--all", &[("skb_release_head_state", None)]);
        let [row] = named(&rows, "skb_release_head_state")[..] else {
            panic!("one row");
        };
        assert!(row.hook.kind == Kind::Free && !row.silent);
    }

    #[test]
    fn what_a_set_tells_more_of_is_told_only_with_it() {
        let kind = |line: &str, name| named(&rows(line, &[]), name)[0].hook.kind;
        assert_eq!(kind("--route", "ip_send_skb"), Kind::Hop);
        assert_eq!(kind("--route --socket", "ip_send_skb"), Kind::Socket);
        assert_eq!(kind("--all --iptable", "ip_send_skb"), Kind::Hop);
        assert_eq!(kind("--all", "neigh_resolve_output"), Kind::Hop);
        assert_eq!(
            kind("--all --neigh", "neigh_resolve_output"),
            Kind::Neighbour
        );
    }

    #[test]
    fn verdicts_are_there_only_with_their_set() {
        let kinds = |line: &str| {
            let rows = rows(line, &[("ipt_do_table", None)]);
            let rows = named(&rows, "ipt_do_table");
            rows.iter().map(|row| row.hook.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("--all"), [Kind::Hop]);
        let both = kinds("--all --iptable");
        assert!(both.contains(&Kind::Hop) && both.len() == 2);
    }

    /// Older kernels have two functions where newer ones have one.
    #[test]
    fn a_row_stands_for_one_function_and_the_others_have_their_own() {
        let bridge = Some("br_netfilter");
        let symbols = [("br_nf_forward_ip", bridge), ("br_nf_forward", bridge)];
        let rows = rows("--all", &symbols);
        assert!(named(&rows, "br_nf_forward")[0].row < HOOKS.len());
        assert!(named(&rows, "br_nf_forward_ip")[0].row >= HOOKS.len());
    }

    #[test]
    fn a_module_narrows_the_catalogue_too() {
        let rows = rows(
            "--all --module bridge --no-follow",
            &[("br_new", Some("bridge"))],
        );
        assert!(!named(&rows, "br_new").is_empty() && !named(&rows, "br_forward").is_empty());
        assert!(named(&rows, "ip_rcv").is_empty());
    }

    #[test]
    fn journeys_hear_of_ends_and_of_sockets() {
        let heard = |line: &str, name| {
            let rows = rows(line, &[]);
            let row = named(&rows, name)
                .first()
                .map(|row| (row.silent, row.hook.kind));
            row.filter(|(silent, _)| !silent).map(|(_, kind)| kind)
        };
        let tree = "--format tree --proto udp";
        assert_eq!(heard(tree, "skb_release_head_state"), Some(Kind::Free));
        assert_eq!(heard(tree, "kfree_skb"), Some(Kind::Drop));
        assert_eq!(
            heard(tree, "__udp_enqueue_schedule_skb"),
            Some(Kind::Socket)
        );
        assert_eq!(heard(tree, "ip_send_skb"), Some(Kind::Socket));
        assert_eq!(heard(tree, "skb_segment"), Some(Kind::Segments));
        assert_eq!(heard(tree, "tcp_queue_rcv"), None, "only UDP");
        assert_eq!(heard(tree, "neigh_resolve_output"), None);
        for name in [
            "skb_release_head_state",
            "kfree_skb",
            "skb_segment",
            "skb_consume_udp",
        ] {
            assert_eq!(heard("--format wide", name), None, "{name}");
        }
        // What would also show netlink and UNIX sockets.
        assert_eq!(heard("--format tree", "skb_copy_datagram_iter"), None);
    }

    #[test]
    fn what_only_following_needs_stays_silent() {
        let rows = rows("--all --func ^a_function$", &[("a_function", None)]);
        let heard: Vec<_> = rows.iter().filter(|row| !row.silent).collect();
        assert_eq!(heard.len(), 1);
        assert!(rows.len() > 1);
    }
}
