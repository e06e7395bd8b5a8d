//! Hook functions: what the hooks of netfilter may call on this kernel.
//!
//! BTF tells them by their type, those of modules that are no part of the kernel's sources among
//! them. Where it does not describe modules (5.10), a list does.

use std::collections::BTreeSet;

use super::sections::Sections;

/// Of this type and yet none of a hook's: it is called by all functions of translation, each of
/// which hands its verdict on (net/netfilter/nf_nat_core.c, all versions).
const CALLED_BY_OTHERS: &str = "nf_nat_inet_fn";

/// Those of the modules of 5.10.
const WITHOUT_BTF: &[&str] = &[
    // net/netfilter/nft_chain_filter.c, nft_chain_route.c
    "nft_do_chain_arp",
    "nft_do_chain_bridge",
    "nft_do_chain_inet",
    "nft_do_chain_inet_ingress",
    "nft_do_chain_ipv4",
    "nft_do_chain_ipv6",
    "nft_do_chain_netdev",
    "nf_route_table_hook4",
    "nf_route_table_hook6",
    "nf_route_table_inet",
    // net/netfilter/nft_chain_nat.c, net/ipv4/netfilter, net/ipv6/netfilter: the tables. From 5.16
    // on these are ipt_do_table and its like themselves.
    "nft_nat_do_chain",
    "iptable_filter_hook",
    "iptable_mangle_hook",
    "iptable_nat_do_chain",
    "iptable_raw_hook",
    "iptable_security_hook",
    "ip6table_filter_hook",
    "ip6table_mangle_hook",
    "ip6table_nat_do_chain",
    "ip6table_raw_hook",
    "ip6table_security_hook",
    "arptable_filter_hook",
    // net/bridge/netfilter
    "ebt_in_hook",
    "ebt_out_hook",
    "ebt_nat_in",
    "ebt_nat_out",
    "nf_ct_bridge_pre",
    "nf_ct_bridge_post",
    // net/bridge/br_netfilter_hooks.c
    "br_nf_forward_arp",
    "br_nf_forward_ip",
    "br_nf_local_in",
    "br_nf_post_routing",
    "br_nf_pre_routing",
    "ip_sabotage_in",
    // net/netfilter/nf_conntrack_proto.c, nf_defrag_ipv4.c, nf_defrag_ipv6_hooks.c
    "ipv4_confirm",
    "ipv4_conntrack_defrag",
    "ipv4_conntrack_in",
    "ipv4_conntrack_local",
    "ipv6_confirm",
    "ipv6_conntrack_in",
    "ipv6_conntrack_local",
    "ipv6_defrag",
    // net/netfilter/nf_nat_proto.c
    "nf_nat_ipv4_fn",
    "nf_nat_ipv4_in",
    "nf_nat_ipv4_local_fn",
    "nf_nat_ipv4_local_in",
    "nf_nat_ipv4_out",
    "nf_nat_ipv4_pre_routing",
    "nf_nat_ipv6_fn",
    "nf_nat_ipv6_in",
    "nf_nat_ipv6_local_fn",
    "nf_nat_ipv6_out",
    // net/netfilter/nf_flow_table_inet.c, nf_flow_table_ip.c, nf_synproxy_core.c
    "nf_flow_offload_inet_hook",
    "nf_flow_offload_ip_hook",
    "nf_flow_offload_ipv6_hook",
    "ipv4_synproxy_hook",
    "ipv6_synproxy_hook",
    // net/netfilter/ipvs/ip_vs_core.c
    "ip_vs_forward_icmp",
    "ip_vs_forward_icmp_v6",
    "ip_vs_local_reply4",
    "ip_vs_local_reply6",
    "ip_vs_local_request4",
    "ip_vs_local_request6",
    "ip_vs_remote_request4",
    "ip_vs_remote_request6",
    "ip_vs_reply4",
    "ip_vs_reply6",
];

/// Their names, in order.
pub fn read(btf: &Sections) -> Vec<String> {
    let mut names: BTreeSet<String> = btf.kernel.hook_functions().map(str::to_owned).collect();
    let modules = btf.modules();
    for module in &modules {
        // One that is unloaded meanwhile only lacks its functions.
        if let Some(btf) = btf.module(module, &[]) {
            names.extend(btf.hook_functions().map(str::to_owned));
        }
    }
    if modules.is_empty() {
        names.extend(WITHOUT_BTF.iter().map(|name| (*name).to_owned()));
    }
    names.remove(CALLED_BY_OTHERS);
    names.into_iter().collect()
}
