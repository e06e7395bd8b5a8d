//! `skbtrace hooks`: the catalogue as this kernel has it.

use std::{collections::HashSet, io::Write, path::Path, process::ExitCode};

use skbtrace_common::hooks::{Arg, HOOKS, Hook, SETS, Site};
use tabled::builder::Builder;

use super::write_table;
use crate::kernel::{
    layout::Types,
    symbols::{Presence, Symbols},
};
use crate::tell;

/// Prints a line for each hook of the sets: name, set, stage, symbol, argument, module, and
/// whether it can be attached or why not.
pub fn run(sets: u32, btf: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let types = Types::read(btf)?;
    let names: HashSet<&str> = HOOKS
        .iter()
        .flat_map(|hook| hook.sites)
        .map(|site| site.symbol)
        .collect();
    let symbols = Symbols::read(&names);
    let mut table = Builder::default();
    table.push_record(["HOOK", "SET", "STAGE", "SYMBOL", "ARG", "MODULE", "STATE"]);
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

/// The cells of a hook: of the first site that can be attached, or else of the first there is.
fn row(hook: &Hook, sites: &[Site], symbols: &Symbols) -> [String; 7] {
    let attachable =
        |site: &&Site| matches!(symbols.presence(site.symbol), Presence::Attachable { .. });
    let present = |site: &&Site| symbols.presence(site.symbol) != Presence::Absent;
    let site = sites
        .iter()
        .find(attachable)
        .or_else(|| sites.iter().find(present));
    let (symbol, argument, module, state) = match site {
        None => {
            let module = hook.module.unwrap_or("-");
            let hint = if hook.module.is_some() {
                ", or its module is not loaded"
            } else {
                ""
            };
            (
                "-",
                "-".to_owned(),
                module,
                format!("absent: no such function{hint}"),
            )
        }
        Some(site) => match symbols.presence(site.symbol) {
            Presence::Refused { module, reason } => (
                site.symbol,
                argument(site),
                module,
                format!("refused: {reason}"),
            ),
            Presence::Attachable { module } => {
                (site.symbol, argument(site), module, "attachable".to_owned())
            }
            Presence::Absent => (site.symbol, argument(site), "-", "absent".to_owned()),
        },
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
        symbol.to_owned(),
        argument,
        module.to_owned(),
        state,
    ]
}

fn argument(site: &Site) -> String {
    match site.arg {
        Arg::Skb(position) => format!("skb={position}"),
        Arg::SkbPtr(position) => format!("skb**={position}"),
        Arg::NftPktinfo(position) => format!("pkt={position}"),
    }
}
