//! The rows of the table: which options skbtrace is measured with, and what they ought to cost.

use crate::netns::Netns;
use crate::topology::CLIENT;

/// The functions of the article's first scenario that kernel 6.12 still has; the article's
/// `br_netif_receive_skb` is inlined there. The peers were measured on the same number.
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

/// An address that no packet has.
const ABSENT: &str = "10.9.9.9";

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// [`FUNCTIONS`].
    Article,
    /// `--route --iptable`.
    Sets,
}

impl Hooks {
    /// As options.
    pub fn options(self) -> Vec<String> {
        let mut options = words(&["--backend", "kprobe"]);
        match self {
            Self::Article => {
                options.extend(["--func".to_owned(), format!("^({})$", FUNCTIONS.join("|"))]);
            }
            Self::Sets => options.extend(words(&["--route", "--iptable"])),
        }
        options
    }

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Article => "17 functions",
            Self::Sets => "`--route --iptable`",
        }
    }
}

/// How events reach user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The default.
    Ringbuf,
    /// For kernels without the ring buffer.
    Perf,
}

impl Transport {
    /// As the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringbuf => "ringbuf",
            Self::Perf => "perf",
        }
    }

    /// As options.
    pub fn options(self) -> Vec<String> {
        words(&["--transport", self.name()])
    }
}

/// A row: cost of a hook hit with certain options.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is measured, in words.
    pub title: String,
    /// Where.
    pub hooks: Hooks,
    /// How.
    pub transport: Transport,
    /// Which packets.
    pub filter: Vec<String>,
    /// Whether the filter accepts the load.
    pub matches: bool,
    /// The row the targets are about.
    pub principal: bool,
}

impl Case {
    fn new(title: &str, hooks: Hooks, filter: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            hooks,
            transport: Transport::Ringbuf,
            filter: words(filter),
            matches: false,
            principal: false,
        }
    }

    fn matching(mut self) -> Self {
        self.matches = true;
        self
    }

    fn principal(mut self) -> Self {
        self.principal = true;
        self
    }

    fn perf(mut self) -> Self {
        self.transport = Transport::Perf;
        self
    }

    /// All options.
    pub fn options(&self) -> Vec<String> {
        let mut options = self.hooks.options();
        options.extend(self.transport.options());
        options.extend(self.filter.iter().cloned());
        options
    }
}

/// The filter that accepts the load.
pub const MATCHING: &[&str] = &["-H", CLIENT, "--proto", "udp"];
/// The same filter for other packets.
pub const REJECTING: &[&str] = &["-H", ABSENT, "--proto", "udp"];

/// All rows; `elsewhere` is a namespace without traffic.
pub fn all(elsewhere: &Netns) -> Vec<Case> {
    use Hooks::{Article, Sets};

    let netns = elsewhere.inode().to_string();
    let hosts: Vec<String> = (1..=8).map(|last| format!("10.9.9.{last}")).collect();
    let eight: Vec<&str> = hosts
        .iter()
        .flat_map(|host| ["-H", host.as_str()])
        .collect();
    vec![
        Case::new("rejected: other host, `udp`", Article, REJECTING).principal(),
        Case::new("matched", Article, MATCHING)
            .matching()
            .principal(),
        Case::new("matched", Article, MATCHING).matching().perf(),
        Case::new("rejected: other host, `udp`", Sets, REJECTING),
        Case::new("matched", Sets, MATCHING).matching(),
        Case::new("matched", Sets, MATCHING).matching().perf(),
        Case::new("rejected: other host", Article, &["-H", ABSENT]),
        Case::new(
            "rejected: other IPv4 or IPv6 host",
            Article,
            &["-H", ABSENT, "-H", "fd00:9::9"],
        ),
        Case::new("rejected: eight other hosts", Article, &eight),
        Case::new("rejected: other `--port`", Article, &["--port", "4"]),
        Case::new("rejected: `-i`, other interface", Article, &["-i", "lo"]),
        Case::new("rejected: `-N`, other netns", Article, &["-N", &netns]),
    ]
}

/// Owned words.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
