//! The catalogue of hooks: every kernel function that skbtrace knows how to listen on.
//!
//! One row is one *place in the packet's path*. What the kernel calls that place differs between
//! versions and builds, so a row lists its [`Site`]s, best first; the first one that can be
//! attached is taken. Presence decides, never the version number. Facts about versions are for
//! 5.10, 6.1, 6.12 and 7.2 as Debian builds them, unless a comment says otherwise.
//!
//! A new hook is one row here. A new set is one constant, one entry of [`SETS`] and its rows.

use Arg::{Skb, SkbPtr};
use Layer4::{Icmp, Icmp6, Tcp, Udp};
use Stage::{Bridge, Driver, LocalIn, LocalOut, Netfilter, Route, Rx, Socket, Transport};

/// A set of hooks, chosen on the command line by its name as an option.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Bit in [`Hook::sets`].
    pub bit: u32,
    /// Name of the option (`--route`) and for `--set`.
    pub name: &'static str,
    /// What it shows, for the help.
    pub help: &'static str,
}

/// The path through device, bridge, IPv4 and IPv6.
pub const ROUTE: u32 = 1 << 0;
/// Verdicts of netfilter tables.
pub const IPTABLE: u32 = 1 << 1;

/// All sets; the first is the default.
pub const SETS: &[Set] = &[
    Set {
        bit: ROUTE,
        name: "route",
        help: "the path through device, bridge, IPv4 and IPv6, from socket to socket (default)",
    },
    Set {
        bit: IPTABLE,
        name: "iptable",
        help: "verdicts of the iptables, nftables and ebtables tables",
    },
];

/// Where on its way through the stack a packet is when a hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Leaving or reaching a socket.
    Socket,
    /// Sent by this netns, network header being built.
    LocalOut,
    /// IP routing and output.
    Route,
    /// Netfilter hooks and tables.
    Netfilter,
    /// Handed to a device.
    Driver,
    /// Taken from a device.
    Rx,
    /// Inside a bridge.
    Bridge,
    /// For this netns.
    LocalIn,
    /// Transport protocol, receiving.
    Transport,
}

impl Stage {
    /// The stage's name as printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Socket => "socket",
            LocalOut => "local-out",
            Route => "route",
            Netfilter => "netfilter",
            Driver => "driver",
            Rx => "rx",
            Bridge => "bridge",
            LocalIn => "local-in",
            Transport => "transport",
        }
    }
}

/// Which network protocols can pass a hook; lets a filter leave out hooks it could never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer3 {
    /// Anything.
    Any = 0,
    /// IPv4 only.
    V4 = 1,
    /// IPv6 only.
    V6 = 2,
    /// ARP only.
    Arp = 3,
}

/// Which transport protocols can pass a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer4 {
    /// Anything.
    Any,
    /// TCP only.
    Tcp,
    /// UDP (and UDP-Lite) only.
    Udp,
    /// ICMP only.
    Icmp,
    /// ICMPv6 only.
    Icmp6,
}

/// Which argument of the function leads to the packet; positions count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// `struct sk_buff *`.
    Skb(u8),
    /// `struct sk_buff **`: receive handlers, which may replace the packet.
    SkbPtr(u8),
    /// `struct nft_pktinfo *`, which holds the packet and the hook state.
    NftPktinfo(u8),
}

/// A kernel function that is a hook's place on some kernels.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Symbol, with the compiler's suffix where it has one.
    pub symbol: &'static str,
    /// Where the packet is, unless this kernel's BTF says otherwise.
    pub arg: Arg,
    /// Netfilter tables: position of `struct nf_hook_state *`; 0 when the packet's argument
    /// holds it or the hook is no table.
    pub state: u8,
    /// Netfilter tables: position of the table or chain; 0 otherwise.
    pub table: u8,
}

/// The kind of netfilter table a hook walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TableKind {
    /// None.
    None = 0,
    /// `struct xt_table`: iptables-legacy, ip6tables-legacy, arptables-legacy.
    Xt = 1,
    /// `struct ebt_table`: ebtables-legacy.
    Ebt = 2,
    /// `struct nft_chain`: nftables, iptables-nft.
    Nft = 3,
}

/// What a hook reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The packet passed: one event at the function's entry.
    Hop,
    /// The packet was copied: one event at the return, with the copy.
    Clone,
    /// A table decided: one event at the return, with the verdict.
    Verdict(TableKind),
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The place's name; also what is printed unless a site of another name is taken.
    pub name: &'static str,
    /// Bits of [`SETS`].
    pub sets: u32,
    /// Where on its way the packet is.
    pub stage: Stage,
    /// What is reported.
    pub kind: Kind,
    /// Network protocols that can pass.
    pub layer3: Layer3,
    /// Transport protocols that can pass.
    pub layer4: Layer4,
    /// Packets may pass that have no network header yet: their socket tells where they go.
    pub bare: bool,
    /// Module that usually holds the function, for a helpful word when it is missing.
    pub module: Option<&'static str>,
    /// Candidates, best first.
    pub sites: &'static [Site],
}

impl Site {
    /// The symbol without the suffix the compiler gave a specialised copy (`.isra.0`,
    /// `.constprop.0`, `.part.0`).
    #[must_use]
    pub fn display_name(&self) -> &'static str {
        self.symbol
            .split_once('.')
            .map_or(self.symbol, |(name, _)| name)
    }
}

const fn at(symbol: &'static str, arg: Arg) -> Site {
    Site {
        symbol,
        arg,
        state: 0,
        table: 0,
    }
}

const fn table(symbol: &'static str, arg: Arg, state: u8, table: u8) -> Site {
    Site {
        symbol,
        arg,
        state,
        table,
    }
}

const fn hop(name: &'static str, stage: Stage, sites: &'static [Site]) -> Hook {
    Hook {
        name,
        sets: ROUTE,
        stage,
        kind: Kind::Hop,
        layer3: Layer3::Any,
        layer4: Layer4::Any,
        bare: false,
        module: None,
        sites,
    }
}

impl Hook {
    const fn v4(mut self) -> Self {
        self.layer3 = Layer3::V4;
        self
    }
    const fn v6(mut self) -> Self {
        self.layer3 = Layer3::V6;
        self
    }
    const fn arp(mut self) -> Self {
        self.layer3 = Layer3::Arp;
        self
    }
    const fn only(mut self, layer4: Layer4) -> Self {
        self.layer4 = layer4;
        self
    }
    const fn bare(mut self) -> Self {
        self.bare = true;
        self
    }
    const fn module(mut self, module: &'static str) -> Self {
        self.module = Some(module);
        self
    }
    const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
    const fn sets(mut self, sets: u32) -> Self {
        self.sets = sets;
        self
    }
}

/// The catalogue. An event names its row by the index here.
pub const HOOKS: &[Hook] = &[
    // ---- from the socket down -------------------------------------------------------------
    // Not udp_send_skb and udp_v6_send_skb, one step before: they fill in the UDP header, so at
    // their entry the ports are whatever the buffer held (all four kernels).
    hop("ip_send_skb", Socket, &[at("ip_send_skb", Skb(2))]).v4(),
    hop("ip6_send_skb", Socket, &[at("ip6_send_skb", Skb(1))]).v6(),
    // TCP's packets have no network header yet; the tuple is read from the socket.
    hop("__ip_queue_xmit", Socket, &[at("__ip_queue_xmit", Skb(2))])
        .v4()
        .bare(),
    hop("ip6_xmit", Socket, &[at("ip6_xmit", Skb(2))])
        .v6()
        .bare(),
    // ip_local_out is inlined into its callers but for TCP (all four kernels).
    hop("__ip_local_out", LocalOut, &[at("__ip_local_out", Skb(3))]).v4(),
    hop(
        "__ip6_local_out",
        LocalOut,
        &[at("__ip6_local_out", Skb(3))],
    )
    .v6(),
    // ---- routing and output ---------------------------------------------------------------
    hop("ip_output", Route, &[at("ip_output", Skb(3))]).v4(),
    hop("ip_mc_output", Route, &[at("ip_mc_output", Skb(3))]).v4(),
    hop("ip_finish_output", Route, &[at("ip_finish_output", Skb(3))]).v4(),
    hop("ip_do_fragment", Route, &[at("ip_do_fragment", Skb(3))]).v4(),
    hop("ip6_output", Route, &[at("ip6_output", Skb(3))]).v6(),
    hop(
        "ip6_finish_output",
        Route,
        &[at("ip6_finish_output", Skb(3))],
    )
    .v6(),
    hop("ip6_fragment", Route, &[at("ip6_fragment", Skb(3))]).v6(),
    hop("ip_forward", Route, &[at("ip_forward", Skb(1))]).v4(),
    // ip6_forward_finish cannot be traced on any kernel (an out-of-line static inline).
    hop("ip6_forward", Route, &[at("ip6_forward", Skb(1))]).v6(),
    // ---- devices --------------------------------------------------------------------------
    // dev_queue_xmit is a header inline from 6.1 on.
    hop(
        "__dev_queue_xmit",
        Driver,
        &[at("__dev_queue_xmit", Skb(1))],
    ),
    hop("netif_receive_skb", Rx, &[at("netif_receive_skb", Skb(1))]),
    hop(
        "__netif_receive_skb",
        Rx,
        &[at("__netif_receive_skb", Skb(1))],
    ),
    // Batched receive (NAPI with GRO) reaches only this one.
    hop(
        "__netif_receive_skb_core",
        Rx,
        &[
            at("__netif_receive_skb_core", SkbPtr(1)),
            at("__netif_receive_skb_core.constprop.0", SkbPtr(1)),
        ],
    ),
    // ---- IPv4 and IPv6 receive ------------------------------------------------------------
    hop("ip_rcv", LocalIn, &[at("ip_rcv", Skb(1))]).v4(),
    // Batched receive passes ip_rcv_core and not ip_rcv.
    hop("ip_rcv_core", LocalIn, &[at("ip_rcv_core", Skb(1))]).v4(),
    // Inlined into ip_rcv: passes only where the netns has PRE_ROUTING hooks (all four kernels).
    hop("ip_rcv_finish", LocalIn, &[at("ip_rcv_finish", Skb(3))]).v4(),
    hop(
        "ip_local_deliver",
        LocalIn,
        &[at("ip_local_deliver", Skb(1))],
    )
    .v4(),
    hop("ipv6_rcv", LocalIn, &[at("ipv6_rcv", Skb(1))]).v6(),
    hop("ip6_rcv_core", LocalIn, &[at("ip6_rcv_core", Skb(1))]).v6(),
    // Inlined into ipv6_rcv, like ip_rcv_finish.
    hop("ip6_rcv_finish", LocalIn, &[at("ip6_rcv_finish", Skb(3))]).v6(),
    hop("ip6_input", LocalIn, &[at("ip6_input", Skb(1))]).v6(),
    hop("arp_rcv", LocalIn, &[at("arp_rcv", Skb(1))]).arp(),
    hop("arp_xmit", LocalOut, &[at("arp_xmit", Skb(1))]).arp(),
    hop("udp_rcv", Transport, &[at("udp_rcv", Skb(1))])
        .v4()
        .only(Udp),
    hop("udpv6_rcv", Transport, &[at("udpv6_rcv", Skb(1))])
        .v6()
        .only(Udp),
    hop("tcp_v4_rcv", Transport, &[at("tcp_v4_rcv", Skb(1))])
        .v4()
        .only(Tcp),
    hop("tcp_v6_rcv", Transport, &[at("tcp_v6_rcv", Skb(1))])
        .v6()
        .only(Tcp),
    hop("icmp_rcv", Transport, &[at("icmp_rcv", Skb(1))])
        .v4()
        .only(Icmp),
    hop("icmpv6_rcv", Transport, &[at("icmpv6_rcv", Skb(1))])
        .v6()
        .only(Icmp6),
    // ---- bridge ---------------------------------------------------------------------------
    hop("br_dev_xmit", Bridge, &[at("br_dev_xmit", Skb(1))]).module("bridge"),
    hop(
        "br_handle_frame",
        Bridge,
        &[at("br_handle_frame", SkbPtr(1))],
    )
    .module("bridge"),
    hop(
        "br_nf_pre_routing",
        Bridge,
        &[at("br_nf_pre_routing", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_ipv6",
        Bridge,
        &[at("br_nf_pre_routing_ipv6", Skb(2))],
    )
    .v6()
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_finish",
        Bridge,
        &[at("br_nf_pre_routing_finish", Skb(3))],
    )
    .v4()
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_finish_ipv6",
        Bridge,
        &[at("br_nf_pre_routing_finish_ipv6", Skb(3))],
    )
    .v6()
    .module("br_netfilter"),
    hop(
        "br_handle_frame_finish",
        Bridge,
        &[at("br_handle_frame_finish", Skb(3))],
    )
    .module("bridge"),
    hop(
        "br_pass_frame_up",
        Bridge,
        &[at("br_pass_frame_up", Skb(1))],
    )
    .module("bridge"),
    // Inlined into br_pass_frame_up on all four kernels, where netif_receive_skb shows the step.
    hop(
        "br_netif_receive_skb",
        Bridge,
        &[at("br_netif_receive_skb", Skb(3))],
    )
    .module("bridge"),
    hop("br_flood", Bridge, &[at("br_flood", Skb(2))]).module("bridge"),
    hop("br_forward", Bridge, &[at("br_forward", Skb(2))]).module("bridge"),
    hop("__br_forward", Bridge, &[at("__br_forward", Skb(2))]).module("bridge"),
    // 6.12 merged br_nf_forward_ip and br_nf_forward_arp into br_nf_forward.
    hop(
        "br_nf_forward",
        Bridge,
        &[at("br_nf_forward", Skb(2)), at("br_nf_forward_ip", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_forward_finish",
        Bridge,
        &[at("br_nf_forward_finish", Skb(3))],
    )
    .module("br_netfilter"),
    hop(
        "br_forward_finish",
        Bridge,
        &[at("br_forward_finish", Skb(3))],
    )
    .module("bridge"),
    hop(
        "br_nf_post_routing",
        Bridge,
        &[at("br_nf_post_routing", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_dev_queue_xmit",
        Bridge,
        &[at("br_nf_dev_queue_xmit", Skb(3))],
    )
    .module("br_netfilter"),
    // ---- copies ---------------------------------------------------------------------------
    // deliver_clone is inlined on all four kernels; its call of skb_clone is what can be seen.
    hop("skb_clone", Bridge, &[at("skb_clone", Skb(1))])
        .kind(Kind::Clone)
        .bare(),
    // ---- tables ---------------------------------------------------------------------------
    // (skb, state, table) up to 5.15, then (priv, skb, state) where priv is the table: 5.16,
    // net/ipv4/netfilter/ip_tables.c. BTF tells; without module BTF it is the old order.
    hop("ipt_do_table", Netfilter, IPT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .v4()
        .module("ip_tables"),
    hop("ip6t_do_table", Netfilter, IP6T_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .v6()
        .module("ip6_tables"),
    hop("arpt_do_table", Netfilter, ARPT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .arp()
        .module("arp_tables"),
    hop(
        "nft_do_chain",
        Netfilter,
        &[table("nft_do_chain", Arg::NftPktinfo(1), 0, 2)],
    )
    .kind(Kind::Verdict(TableKind::Nft))
    .sets(IPTABLE)
    .module("nf_tables"),
    // Absent where BRIDGE_NF_EBTABLES_LEGACY is off (Debian's 7.2).
    hop("ebt_do_table", Netfilter, EBT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Ebt))
        .sets(IPTABLE)
        .module("ebtables"),
];

const IPT_DO_TABLE: &[Site] = &[
    table("ipt_do_table", Skb(2), 3, 1),
    table("ipt_do_table", Skb(1), 2, 3),
];
const IP6T_DO_TABLE: &[Site] = &[
    table("ip6t_do_table", Skb(2), 3, 1),
    table("ip6t_do_table", Skb(1), 2, 3),
];
const ARPT_DO_TABLE: &[Site] = &[
    table("arpt_do_table", Skb(2), 3, 1),
    table("arpt_do_table", Skb(1), 2, 3),
];
const EBT_DO_TABLE: &[Site] = &[
    table("ebt_do_table", Skb(2), 3, 1),
    table("ebt_do_table", Skb(1), 2, 3),
];

/// What a program is told of the one function it is attached to: a 64-bit constant that user
/// space writes into the program before loading it, so that one image serves every function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding(pub u64);

impl Binding {
    /// What stands in the image until user space replaces it.
    pub const PLACEHOLDER: u64 = 0x5eed_5eed_5eed_5eed;

    const POINTER: u64 = 1 << 20;
    const PKTINFO: u64 = 1 << 21;

    const BARE: u64 = 1 << 22;

    /// Packs row `row` of the catalogue, which is `hook`, listened to at `site`.
    #[must_use]
    pub const fn new(row: u16, hook: &Hook, site: &Site) -> Self {
        let (position, how) = match site.arg {
            Skb(position) => (position, 0),
            SkbPtr(position) => (position, Self::POINTER),
            Arg::NftPktinfo(position) => (position, Self::PKTINFO),
        };
        let table_kind = match hook.kind {
            Kind::Verdict(kind) => kind as u64,
            Kind::Hop | Kind::Clone => 0,
        };
        Self(
            row as u64
                | (position as u64) << 16
                | how
                | if hook.bare { Self::BARE } else { 0 }
                | (site.state as u64) << 24
                | (site.table as u64) << 28
                | table_kind << 32
                | (hook.layer3 as u64) << 36,
        )
    }

    /// Row of the catalogue.
    #[must_use]
    #[inline(always)]
    pub const fn hook(self) -> u16 {
        self.0 as u16
    }

    /// Position of the argument that leads to the packet.
    #[must_use]
    #[inline(always)]
    pub const fn position(self) -> u64 {
        self.0 >> 16 & 0xf
    }

    /// The argument is a `struct sk_buff **`.
    #[must_use]
    #[inline(always)]
    pub const fn is_pointer(self) -> bool {
        self.0 & Self::POINTER != 0
    }

    /// The argument is a `struct nft_pktinfo *`.
    #[must_use]
    #[inline(always)]
    pub const fn is_pktinfo(self) -> bool {
        self.0 & Self::PKTINFO != 0
    }

    /// Position of the `nf_hook_state`, or 0.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.0 >> 24 & 0xf
    }

    /// Position of the table or chain, or 0.
    #[must_use]
    #[inline(always)]
    pub const fn table(self) -> u64 {
        self.0 >> 28 & 0xf
    }

    /// Packets may have no network header yet.
    #[must_use]
    #[inline(always)]
    pub const fn is_bare(self) -> bool {
        self.0 & Self::BARE != 0
    }

    /// [`Layer3`] as a number.
    #[must_use]
    #[inline(always)]
    pub const fn layer3(self) -> u8 {
        (self.0 >> 36 & 0xf) as u8
    }

    /// [`TableKind`] as a number.
    #[must_use]
    #[inline(always)]
    pub const fn table_kind(self) -> u8 {
        (self.0 >> 32 & 0xf) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_says_what_it_was_made_of() {
        const HOOK: Hook = hop("f", Socket, &[]);
        let site = table("f", Arg::NftPktinfo(1), 0, 2);
        let nft = HOOK.kind(Kind::Verdict(TableKind::Nft)).v6();
        let binding = Binding::new(42, &nft, &site);
        assert_eq!(binding.layer3(), Layer3::V6 as u8);
        assert!(!binding.is_bare());
        assert_eq!(binding.hook(), 42);
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
    fn the_compilers_suffix_is_not_shown() {
        assert_eq!(at("f.constprop.0.isra.1", Skb(1)).display_name(), "f");
    }
}
