//! Deciders: rows behind the catalogue for the functions that netfilter's hooks call.
//!
//! They report nothing of their own: at the return of a whole hook they tell which of its functions
//! decided.

use skbtrace_common::hooks::{
    Arg, HOOKS, Hook, Kind, Layer3, Layer4, NETFILTER, Site, Stage, TableKind,
};

use crate::{
    attach::Wanted,
    kernel::{hook_functions, sections::Sections},
};

/// Adds them where whole hooks are reported.
pub fn add(btf: &Sections, wanted: &mut Vec<Wanted>) {
    let of_whole_hooks = Kind::Verdict(TableKind::Hook);
    let mut reported = wanted.iter().filter(|wanted| !wanted.silent);
    if reported.any(|wanted| wanted.hook.kind == of_whole_hooks) {
        append(hook_functions::read(btf), wanted);
    }
}

fn append(names: Vec<String>, wanted: &mut Vec<Wanted>) {
    let last = wanted.iter().map(|wanted| wanted.row + 1).max();
    let first = last.unwrap_or(0).max(HOOKS.len());
    // The last number says that there is no row.
    for (row, name) in (first..usize::from(u16::MAX)).zip(names) {
        let hook = hook(name);
        wanted.push(Wanted {
            row,
            hook,
            sites: hook.sites.to_vec(),
            silent: true,
            by_address: false,
        });
    }
}

/// A hook as the catalogue would have it. It lives as long as the process: there is one run in it,
/// and what is printed refers to its names to the end.
fn hook(name: String) -> &'static Hook {
    let symbol: &'static str = name.leak();
    let site: &'static Site = Box::leak(Box::new(Site {
        symbol,
        arg: Arg::Skb(2),
        state: 3,
        table: 0,
        tracepoint: false,
    }));
    Box::leak(Box::new(Hook {
        name: symbol,
        sets: NETFILTER,
        stage: Stage::Netfilter,
        kind: Kind::HookFunction,
        layer3: Layer3::Any,
        layer4: Layer4::Any,
        bare: false,
        queued: false,
        follows: false,
        begins: false,
        module: None,
        sites: std::slice::from_ref(site),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_behind_all_others() {
        let names = || vec![String::from("f"), String::from("g")];
        let mut wanted = Vec::new();
        append(names(), &mut wanted);
        append(names(), &mut wanted);
        let rows: Vec<_> = wanted
            .iter()
            .map(|wanted| (wanted.row - HOOKS.len(), wanted.hook.name))
            .collect();
        assert_eq!(rows, [(0, "f"), (1, "g"), (2, "f"), (3, "g")]);
    }
}
