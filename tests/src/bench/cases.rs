//! What skbtrace is measured with: hooks, ways to attach, filters.

use std::path::Path;

use crate::topology::CLIENT;

/// The functions of the article's first scenario that kernel 6.12 still has; the article's
/// `br_netif_receive_skb` is inlined there. The peers are measured on the same.
pub const FUNCTIONS: [&str; 17] = [
    "ip_output",
    "ip_finish_output",
    "__dev_queue_xmit",
    "__netif_receive_skb",
    "ip_rcv",
    "ip_rcv_finish",
    "br_handle_frame",
    "br_nf_pre_routing",
    "br_nf_pre_routing_finish",
    "br_handle_frame_finish",
    "br_pass_frame_up",
    "__br_forward",
    "br_nf_forward",
    "br_nf_forward_finish",
    "br_forward_finish",
    "br_nf_post_routing",
    "br_nf_dev_queue_xmit",
];

/// The first of [`FUNCTIONS`] are the kernel's own; the others are those of modules.
const OWN: usize = 6;

/// An address that no packet has.
pub const ABSENT: &str = "10.9.9.9";

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// [`FUNCTIONS`].
    Article,
    /// Those of them that are in no module.
    Own,
    /// `--route --iptable`.
    Sets,
    /// `--all`.
    All,
}

impl Hooks {
    /// As options.
    pub fn options(self) -> Vec<String> {
        match self {
            Self::Article => vec!["--func".to_owned(), exactly(&FUNCTIONS)],
            Self::Own => vec!["--func".to_owned(), exactly(&FUNCTIONS[..OWN])],
            Self::Sets => words(&["--route", "--iptable"]),
            Self::All => words(&["--all"]),
        }
    }

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Article => "17 functions",
            Self::Own => "the 6 of the 17 functions that are in no module",
            Self::Sets => "`--route --iptable`",
            Self::All => "`--all`",
        }
    }

    /// Those on which a way to attach shows what it costs: fentry needs the types of a function's
    /// module, which kernels before 5.11 do not have.
    pub fn for_backend(backend: Backend) -> Self {
        if backend == Backend::Fentry && !Path::new("/sys/kernel/btf/bridge").exists() {
            Self::Own
        } else {
            Self::Article
        }
    }
}

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A trampoline at the function's entry.
    Fentry,
    /// One program on many functions.
    Multi,
    /// One kprobe for each function.
    Kprobe,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Multi, Self::Kprobe];

    /// As the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Multi => "kprobe-multi",
            Self::Kprobe => "kprobe",
        }
    }

    /// As `-v` calls it.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Multi => "kprobe.multi",
            Self::Fentry | Self::Kprobe => self.name(),
        }
    }

    /// As options.
    pub fn options(self) -> Vec<String> {
        words(&["--backend", self.name()])
    }
}

/// The filter that accepts the load.
pub fn matching() -> Vec<String> {
    words(&["-H", CLIENT, "--proto", "udp"])
}

/// The same filter for other packets.
pub fn rejecting() -> Vec<String> {
    words(&["-H", ABSENT, "--proto", "udp"])
}

/// A filter that rejects before anything of a packet is read, by the process: init sends nothing.
pub fn rejecting_unread() -> Vec<String> {
    words(&["--pid", "1"])
}

/// A regular expression for these names and no others.
pub fn exactly<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| name.as_ref().replace('.', r"\."))
        .collect();
    format!("^({})$", names.join("|"))
}

/// Owned words.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Several lists of options as one.
pub fn together(options: &[Vec<String>]) -> Vec<String> {
    options.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_literally() {
        assert_eq!(exactly(&["a", "b.constprop.0"]), r"^(a|b\.constprop\.0)$");
    }
}
