//! Functions: every function of this kernel, and of its modules, that takes a packet.
//!
//! For `--all`. BTF tells which functions take a `struct sk_buff *` and where; tracefs tells which
//! of them can be traced, under which symbols. Where tracefs cannot be read, all are taken, and
//! attaching finds out.
//!
//! **Invariant:** every function that takes a packet is either found or left out with a reason.

use std::collections::{BTreeMap, HashMap, HashSet};

use regex::Regex;

use super::{
    btf::Taker,
    sections::{KERNEL, Sections},
    symbols,
};

/// Arguments that come in registers for certain (x86-64 has six; the sixth is not read).
const REGISTERS: u8 = 5;

/// Functions that are called with a packet whose end was seen (net/core/skbuff.c): its address may
/// be another's at any moment, and what its memory still holds would match the filter.
const AFTER_THE_END: [&str; 19] = [
    // Within skb_release_head_state: what a packet's socket is told.
    "__sock_wfree",
    "sock_edemux",
    "sock_efree",
    "sock_pfree",
    "sock_rfree",
    "sock_wfree",
    "tcp_wfree",
    "netlink_skb_destructor",
    "unix_destruct_scm",
    // Behind it.
    "skb_release_data",
    "kfree_skbmem",
    "napi_skb_cache_put",
    // Within it.
    "skb_free_head",
    "skb_pp_recycle",
    "msg_zerocopy_callback",
    "msg_zerocopy_complete",
    "msg_zerocopy_ubuf_complete",
    "sock_zerocopy_callback",
    "skb_release_all",
];

/// A function that takes a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its symbol, with the compiler's suffix where it has one.
    pub symbol: String,
    /// The module it is in; `None` for the kernel itself.
    pub module: Option<String>,
    /// Position of the packet among its arguments, from 1 to 5.
    pub position: u8,
    /// Position of a socket, from 1 to 6.
    pub socket: Option<u8>,
    /// Others have the same symbol, in other modules: the symbol alone does not say which.
    pub is_ambiguous: bool,
}

/// A function that takes a packet and cannot be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// Which functions are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Of these modules; of all when empty. [`KERNEL`] stands for the kernel itself.
    pub modules: &'a [String],
    /// With a name that matches.
    pub only: Option<&'a Regex>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// By module, the kernel itself first, and by symbol.
    pub found: Vec<Function>,
    /// In the same order.
    pub left_out: Vec<LeftOut>,
    /// Whether any module describes its functions.
    pub has_modules: bool,
}

/// A name as BTF describes it: where the packet is, or why it cannot be had.
type Described = BTreeMap<String, Result<Places, &'static str>>;

/// Where a function takes what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    packet: u8,
    /// Of several functions with one name, where all take one there.
    socket: Option<u8>,
}

impl Choice<'_> {
    fn has_module(&self, module: &str) -> bool {
        self.modules.is_empty() || self.modules.iter().any(|chosen| chosen == module)
    }

    fn has_name(&self, symbol: &str) -> bool {
        self.only.is_none_or(|only| only.is_match(symbol))
    }
}

impl Functions {
    /// Looks for functions in what BTF describes.
    pub fn read(btf: &Sections, choice: Choice<'_>) -> Self {
        let mut sections = BTreeMap::from([(None, describe(btf.kernel.takers()))]);
        let modules = btf.modules();
        for module in &modules {
            // One that is unloaded meanwhile only lacks its functions.
            if let Some(btf) = btf.module(module, &[]) {
                sections.insert(Some(module.clone()), describe(btf.takers()));
            }
        }
        Self {
            has_modules: !modules.is_empty(),
            ..Self::select(&sections, symbols::traceable().as_deref(), choice)
        }
    }

    /// From what BTF describes, by module, and the lines of `available_filter_functions`.
    fn select(
        sections: &BTreeMap<Option<String>, Described>,
        traceable: Option<&str>,
        choice: Choice<'_>,
    ) -> Self {
        let symbols = traceable.map(|lines| Symbols::read(lines, sections));
        let mut functions = Self::default();
        for (module, described) in sections {
            if !choice.has_module(module.as_deref().unwrap_or(KERNEL)) {
                continue;
            }
            for (name, places) in described {
                let plain = BTreeMap::from([(name.as_str(), 1)]);
                let none = BTreeMap::new();
                let here = symbols.as_ref().map_or(&plain, |symbols| {
                    let key = (module.as_deref(), name.as_str());
                    symbols.by_name.get(&key).unwrap_or(&none)
                });
                if here.is_empty() && choice.has_name(name) {
                    functions.leave_out(name, "the kernel does not let it be traced");
                }
                for (&symbol, &copies) in here {
                    if !choice.has_name(symbol) {
                        continue;
                    }
                    let is_only = here.len() == 1;
                    match usable(name, symbol, copies, is_only).and(*places) {
                        Ok(Places { packet, socket }) => functions.found.push(Function {
                            symbol: symbol.to_owned(),
                            module: module.clone(),
                            position: packet,
                            socket,
                            is_ambiguous: symbols
                                .as_ref()
                                .is_some_and(|symbols| symbols.copies(symbol) > 1),
                        }),
                        Err(reason) => functions.leave_out(symbol, reason),
                    }
                }
            }
        }
        functions
    }

    fn leave_out(&mut self, name: &str, reason: &'static str) {
        let name = name.to_owned();
        self.left_out.push(LeftOut { name, reason });
    }
}

/// Whether what BTF describes as `name` can be listened on at `symbol`, which has so many `copies`
/// in its module, and is the only symbol of the name or not.
fn usable(name: &str, symbol: &str, copies: usize, is_only: bool) -> Result<(), &'static str> {
    if AFTER_THE_END.contains(&name) {
        Err("the packet may have come to its end there, and its address be another's")
    } else if copies > 1 {
        Err("several functions have this name")
    } else if symbol != name && !is_only {
        Err("a specialised copy, which may take its packet elsewhere")
    } else {
        Ok(())
    }
}

/// Traceable symbols of the functions that BTF describes.
struct Symbols<'a> {
    /// By module and name without suffix: symbols, and how many functions of the module have each.
    by_name: HashMap<(Option<&'a str>, &'a str), BTreeMap<&'a str, usize>>,
    /// How many functions have a symbol, in all modules.
    all: HashMap<&'a str, usize>,
}

impl<'a> Symbols<'a> {
    fn read(lines: &'a str, sections: &BTreeMap<Option<String>, Described>) -> Self {
        let names: HashSet<&str> = sections
            .values()
            .flat_map(|described| described.keys().map(String::as_str))
            .collect();
        let mut symbols = Self {
            by_name: HashMap::new(),
            all: HashMap::new(),
        };
        for line in lines.lines() {
            // symbol [module]
            let mut words = line.split_ascii_whitespace();
            let Some(symbol) = words.next() else {
                continue;
            };
            let Some(name) = plain_name(symbol).filter(|name| names.contains(name)) else {
                continue;
            };
            let module = words.next().map(|word| word.trim_matches(['[', ']']));
            let of_name = symbols.by_name.entry((module, name)).or_default();
            *of_name.entry(symbol).or_default() += 1;
            *symbols.all.entry(symbol).or_default() += 1;
        }
        symbols
    }

    fn copies(&self, symbol: &str) -> usize {
        self.all.get(symbol).copied().unwrap_or(0)
    }
}

/// The name that BTF has for a symbol. pahole describes a copy that the compiler specialised where
/// it has all its arguments (since 1.25, `--btf_gen_optimized`); a part that was split off
/// (`.part.0`, `.cold`) is no function of that name.
fn plain_name(symbol: &str) -> Option<&str> {
    match symbol.split_once('.') {
        None => Some(symbol),
        Some((name, suffix)) => {
            (suffix.starts_with("constprop.") || suffix.starts_with("isra.")).then_some(name)
        }
    }
}

fn describe<'a>(takers: impl Iterator<Item = Taker<'a>>) -> Described {
    let mut described = Described::new();
    for taker in takers {
        // No symbol is anything else.
        let Ok(name) = str::from_utf8(taker.name) else {
            continue;
        };
        let socket = taker.socket;
        let places = match taker.position {
            Some(packet) if packet <= REGISTERS => Ok(Places { packet, socket }),
            Some(_) => Err("its packet is not among the first five arguments"),
            None => Err("it takes a structure by value before its packet"),
        };
        described
            .entry(name.to_owned())
            .and_modify(|known| *known = common(*known, places))
            .or_insert(places);
    }
    described
}

/// What is so for two functions of one name.
fn common(
    one: Result<Places, &'static str>,
    other: Result<Places, &'static str>,
) -> Result<Places, &'static str> {
    match (one, other) {
        (Ok(one), Ok(other)) if one.packet == other.packet => Ok(Places {
            socket: one.socket.filter(|_| one.socket == other.socket),
            ..one
        }),
        (Err(one), Err(other)) if one == other => Err(one),
        _ => Err("several functions have this name, with other arguments"),
    }
}

#[cfg(test)]
mod tests;
