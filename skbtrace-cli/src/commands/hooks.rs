//! `skbtrace hooks`: the catalogue as this kernel has it.
//!
//! One line for each hook, and no blank within a column but the last, so that awk can take it
//! apart.

use std::{borrow::Cow, collections::HashSet, io::Write, path::Path, process::ExitCode};

use skbtrace_common::hooks::{Arg, HOOKS, Hook, SETS, Site};
use tabled::builder::Builder;

use super::write_table;
use crate::kernel::{
    layout::Types,
    symbols::{Presence, Symbols},
};
use crate::tell;

const COLUMNS: [&str; 8] = [
    "HOOK", "SET", "STAGE", "KIND", "SYMBOL", "ARG", "MODULE", "STATE",
];

/// Prints a line for each hook of the sets: name, sets, stage, kind, symbol, argument, module, and
/// whether it can be attached or why not.
pub fn run(sets: u32, btf: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let types = Types::read(btf)?;
    let wanted: Vec<Cow<'static, str>> = HOOKS
        .iter()
        .flat_map(|hook| hook.sites)
        .map(evidence)
        .collect();
    let names: HashSet<&str> = wanted.iter().map(AsRef::as_ref).collect();
    let symbols = Symbols::read(&names);
    let mut table = Builder::default();
    table.push_record(COLUMNS);
    for hook in HOOKS.iter().filter(|hook| hook.sets & sets != 0) {
        table.push_record(row(hook, &types.sites(hook.sites), &symbols));
    }
    write_table(table, out)?;
    if !symbols.knows_traceable() {
        tell!(
            "skbtrace: whether a function is traceable is not known: mount tracefs at \
             /sys/kernel/tracing and run as root"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The symbol that shows that a site is there: a tracepoint `name` is called through a function
/// `__traceiter_name` (5.10 and later, include/linux/tracepoint.h).
fn evidence(site: &Site) -> Cow<'static, str> {
    if site.tracepoint {
        format!("__traceiter_{}", site.symbol).into()
    } else {
        site.symbol.into()
    }
}

/// What is known of a site. A tracepoint can be attached where it is there at all.
fn presence<'a>(site: &Site, symbols: &'a Symbols) -> Presence<'a> {
    match symbols.presence(&evidence(site)) {
        Presence::Refused { module, .. } if site.tracepoint => Presence::Attachable { module },
        presence => presence,
    }
}

/// The cells of a hook: of the first site that can be attached, or else of the first there is.
fn row(hook: &Hook, sites: &[Site], symbols: &Symbols) -> [String; COLUMNS.len()] {
    let attachable = |site: &&Site| matches!(presence(site, symbols), Presence::Attachable { .. });
    let present = |site: &&Site| presence(site, symbols) != Presence::Absent;
    let site = sites
        .iter()
        .find(attachable)
        .or_else(|| sites.iter().find(present));
    let own = hook.module.unwrap_or("-");
    let (symbol, argument, module, state) = match site {
        None => {
            let state = match (hook.module, hook.sites) {
                (_, [site, ..]) if site.tracepoint => "absent: no such tracepoint",
                (Some(_), _) => "absent: no such function, or its module is not loaded",
                (None, _) => "absent: no such function",
            };
            ("-".to_owned(), "-".to_owned(), own, state.to_owned())
        }
        Some(site) => {
            let (module, state) = match presence(site, symbols) {
                Presence::Refused { module, reason } => (module, format!("refused: {reason}")),
                Presence::Attachable { module } => (module, "attachable".to_owned()),
                Presence::Absent => (own, "absent".to_owned()),
            };
            (symbol(site), argument(site), module, state)
        }
    };
    let sets: Vec<_> = SETS
        .iter()
        .filter(|set| hook.sets & set.bit != 0)
        .map(|set| set.name)
        .collect();
    [
        hook.name.to_owned(),
        sets.join(","),
        hook.stage.name().to_owned(),
        hook.kind.name().to_owned(),
        symbol,
        argument,
        module.to_owned(),
        state,
    ]
}

fn symbol(site: &Site) -> String {
    let kind = if site.tracepoint { "tracepoint:" } else { "" };
    format!("{kind}{}", site.symbol)
}

fn argument(site: &Site) -> String {
    match site.arg {
        Arg::Skb(position) => format!("skb={position}"),
        Arg::SkbPtr(position) => format!("skb**={position}"),
        Arg::NftPktinfo(position) => format!("pkt={position}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(name: &str, kallsyms: &str) -> [String; COLUMNS.len()] {
        let hook = HOOKS.iter().find(|hook| hook.name == name);
        let hook = hook.expect("in the catalogue");
        let wanted: Vec<_> = hook.sites.iter().map(evidence).collect();
        let names = wanted.iter().map(AsRef::as_ref).collect();
        row(
            hook,
            hook.sites,
            &Symbols::parse(&names, kallsyms, None, ""),
        )
    }

    #[test]
    fn a_tracepoint_is_not_looked_for_among_functions() {
        let function = "ffffffff81000000 T kfree_skb\n";
        assert_eq!(
            cells("kfree_skb", function)[7],
            "absent: no such tracepoint"
        );
        let tracepoint = "ffffffff81000000 T __traceiter_kfree_skb\n";
        assert_eq!(
            cells("kfree_skb", tracepoint),
            [
                "kfree_skb",
                "drop",
                "free",
                "drop",
                "tracepoint:kfree_skb",
                "skb=1",
                "vmlinux",
                "attachable"
            ]
        );
    }

    #[test]
    fn no_column_but_the_last_has_blanks() {
        for hook in HOOKS {
            let nothing = cells(hook.name, "");
            assert!(nothing[7].starts_with("absent"), "{}", hook.name);
            for cell in &nothing[..7] {
                assert!(!cell.is_empty() && !cell.contains(' '), "{}", hook.name);
            }
        }
    }
}
