//! Netfilter: hooks as wholes, tables, chains, and what targets do with a packet.

use crate::hooks::{
    Arg::{NftPktinfo, Skb},
    BRIDGE, Hook, IPTABLE, Kind,
    Layer4::Tcp,
    NAT, NETFILTER, NFT, Site,
    Stage::Netfilter,
    TableKind,
    build::{function, hop, table},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- hooks ----------------------------------------------------------------------------
    // One call walks all functions of a hook: conntrack, tables, NAT, in order of priority. Only
    // where the netns has some. Lists of received packets go through nf_hook_slow_list, which
    // calls it for each (net/netfilter/core.c). A packet that comes back from a queue enters in
    // the middle and is not seen (nf_reinject, inlined from 6.12 on).
    hop(
        "nf_hook_slow",
        Netfilter,
        &[table("nf_hook_slow", Skb(1), 2, 0)],
    )
    .kind(Kind::Verdict(TableKind::Hook))
    .sets(NETFILTER),
    function!("nf_queue", Netfilter, Skb(1)).sets(NETFILTER),
    function!("nf_log_packet", Netfilter, Skb(4)).sets(NETFILTER),
    // The packet that is refused, not the answer.
    function!("nf_send_reset", Netfilter, Skb(3))
        .sets(NETFILTER)
        .v4()
        .only(Tcp)
        .module("nf_reject_ipv4"),
    function!("nf_send_unreach", Netfilter, Skb(1))
        .sets(NETFILTER)
        .v4()
        .module("nf_reject_ipv4"),
    // Flow tables: packets of known flows leave here, past routing and all further hooks.
    function!("nf_flow_offload_ip_hook", Netfilter, Skb(2))
        .sets(NETFILTER)
        .module("nf_flow_table"),
    // Keeps a bridged packet that br_netfilter has shown to IPv4's hooks from passing them again.
    function!("ip_sabotage_in", Netfilter, Skb(2))
        .sets(NETFILTER | BRIDGE)
        .module("br_netfilter"),
    // ---- iptables, arptables, ebtables ----------------------------------------------------
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
    // Absent where BRIDGE_NF_EBTABLES_LEGACY is off (Debian's 7.2).
    hop("ebt_do_table", Netfilter, EBT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Ebt))
        .sets(IPTABLE)
        .module("ebtables"),
    // ---- nftables -------------------------------------------------------------------------
    // Where a base chain begins, one function for each family.
    function!("nft_do_chain_ipv4", Netfilter, Skb(2))
        .sets(NFT)
        .v4()
        .module("nf_tables"),
    function!("nft_do_chain_ipv6", Netfilter, Skb(2))
        .sets(NFT)
        .v6()
        .module("nf_tables"),
    function!("nft_do_chain_inet", Netfilter, Skb(2))
        .sets(NFT)
        .module("nf_tables"),
    function!("nft_do_chain_arp", Netfilter, Skb(2))
        .sets(NFT)
        .arp()
        .module("nf_tables"),
    function!("nft_do_chain_bridge", Netfilter, Skb(2))
        .sets(NFT)
        .module("nf_tables"),
    function!("nft_do_chain_netdev", Netfilter, Skb(2))
        .sets(NFT)
        .module("nf_tables"),
    // Chains of type nat: new connections only.
    function!("nft_nat_do_chain", Netfilter, Skb(2))
        .sets(NFT | NAT)
        .module("nft_chain_nat"),
    hop(
        "nft_do_chain",
        Netfilter,
        &[table("nft_do_chain", NftPktinfo(1), 0, 2)],
    )
    .kind(Kind::Verdict(TableKind::Nft))
    .sets(IPTABLE | NFT)
    .module("nf_tables"),
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
