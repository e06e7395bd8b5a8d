//! Symbols: which functions this kernel has, where, and whether they can be traced.
//!
//! For `skbtrace hooks` only. Tracing itself does not read them at its start, except where old kernels
//! need it ([`places`]): the kernel resolves names, and reading `/proc/kallsyms` would cost more than all
//! the rest of a start. Which function an address is in is asked later, if at all: [`addresses`].

pub mod addresses;
pub mod places;

use std::{
    collections::{HashMap, HashSet},
    fs,
};

const KALLSYMS: &str = "/proc/kallsyms";
/// Where tracefs is mounted by itself and where older systems have it.
const TRACEABLE: [&str; 2] = [
    "/sys/kernel/tracing/available_filter_functions",
    "/sys/kernel/debug/tracing/available_filter_functions",
];
const BLACKLIST: &str = "/sys/kernel/debug/kprobes/blacklist";

/// The functions that can be traced, a line each; `None` when tracefs cannot be read.
pub fn traceable() -> Option<String> {
    TRACEABLE
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())
}

/// The functions of this kernel among some names.
#[derive(Debug)]
pub struct Symbols {
    /// Module by name, "vmlinux" for the kernel itself; how many functions have the name.
    present: HashMap<String, (String, usize)>,
    /// `None` when tracefs cannot be read.
    traceable: Option<HashSet<String>>,
    blacklisted: HashSet<String>,
}

/// What can be said of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Presence<'a> {
    /// No such function.
    Absent,
    /// It can carry a kprobe (or the kernel does not tell).
    Attachable {
        /// Its module.
        module: &'a str,
    },
    /// It cannot.
    Refused {
        /// Its module.
        module: &'a str,
        /// Why.
        reason: &'static str,
    },
}

impl Symbols {
    /// Looks names up in the running kernel.
    pub fn read(names: &HashSet<&str>) -> Self {
        let traceable = traceable();
        let blacklist = fs::read_to_string(BLACKLIST).unwrap_or_default();
        Self::parse(
            names,
            &fs::read_to_string(KALLSYMS).unwrap_or_default(),
            traceable.as_deref(),
            &blacklist,
        )
    }

    pub(crate) fn parse(
        names: &HashSet<&str>,
        kallsyms: &str,
        traceable: Option<&str>,
        blacklist: &str,
    ) -> Self {
        let mut present: HashMap<String, (String, usize)> = HashMap::new();
        for line in kallsyms.lines() {
            // address kind name [module]
            let mut words = line.split_ascii_whitespace().skip(1);
            let (Some(kind), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            if matches!(kind, "t" | "T" | "w" | "W") && names.contains(name) {
                let module = words.next().unwrap_or("[vmlinux]");
                let module = module.trim_matches(['[', ']']).to_owned();
                present.entry(name.to_owned()).or_insert((module, 0)).1 += 1;
            }
        }
        let first_words = |text: &str| {
            text.lines()
                .filter_map(|line| line.split_ascii_whitespace().next())
                .filter(|name| names.contains(name))
                .map(str::to_owned)
                .collect()
        };
        Self {
            present,
            traceable: traceable.map(first_words),
            // Lines are "0xstart-0xend\tname".
            blacklisted: blacklist
                .lines()
                .filter_map(|line| line.split_ascii_whitespace().nth(1))
                .filter(|name| names.contains(name))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What is known of a name.
    pub fn presence(&self, name: &str) -> Presence<'_> {
        let Some((module, copies)) = self.present.get(name) else {
            return Presence::Absent;
        };
        let reason = if self.blacklisted.contains(name) {
            "blacklisted for kprobes"
        } else if *copies > 1 {
            "several functions have this name"
        } else if self
            .traceable
            .as_ref()
            .is_some_and(|all| !all.contains(name))
        {
            "not traceable (notrace)"
        } else {
            return Presence::Attachable { module };
        };
        Presence::Refused { module, reason }
    }

    /// Whether the kernel told which functions are traceable.
    pub fn knows_traceable(&self) -> bool {
        self.traceable.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        let names = HashSet::from(["ip_rcv", "br_forward", "hidden", "twice", "gone"]);
        Symbols::parse(
            &names,
            "ffffffff81000000 T ip_rcv\n\
             ffffffffc0000000 t br_forward\t[bridge]\n\
             ffffffff81000100 t hidden\n\
             ffffffff81000200 t twice\n\
             ffffffff81000300 t twice\n",
            Some("ip_rcv\nbr_forward [bridge]\ntwice\n"),
            "",
        )
    }

    #[test]
    fn a_function_of_a_module_names_its_module() {
        assert_eq!(
            symbols().presence("br_forward"),
            Presence::Attachable { module: "bridge" }
        );
        assert_eq!(
            symbols().presence("ip_rcv"),
            Presence::Attachable { module: "vmlinux" }
        );
    }

    #[test]
    fn what_cannot_be_attached_has_a_reason() {
        assert_eq!(symbols().presence("gone"), Presence::Absent);
        assert!(matches!(
            symbols().presence("hidden"),
            Presence::Refused { reason, .. } if reason.contains("notrace")
        ));
        assert!(matches!(
            symbols().presence("twice"),
            Presence::Refused { reason, .. } if reason.contains("several")
        ));
    }
}
