//! The kernel modules a guest carries.
//!
//! In the cloud kernels everything that matters here is a module. The list names what the scenarios
//! use and what people put into a node's packet path; what a kernel does not have is left out, for
//! that is the very difference the scenarios have to cope with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Module names; a trailing `*` stands for any rest.
const WANTED: &[&str] = &[
    // devices
    "veth",
    "bridge",
    "br_netfilter",
    "8021q",
    "vxlan",
    "geneve",
    "ipip",
    "ip_gre",
    "ip6_gre",
    "ip6_tunnel",
    "sit",
    "tun",
    "dummy",
    "macvlan",
    "ipvlan",
    "wireguard",
    "ifb",
    "nlmon",
    // netfilter: tables, both iptables back ends, bridge and ARP tables
    "nf_tables",
    "nft_*",
    "nfnetlink*",
    "x_tables",
    "xt_*",
    "ip_tables",
    "iptable_*",
    "ipt_*",
    "ip6_tables",
    "ip6table_*",
    "ip6t_*",
    "ebtable*",
    "ebt_*",
    "arp_tables",
    "arptable_*",
    "arpt_*",
    "ip_set*",
    // connection tracking and its helpers
    "nf_conntrack*",
    "nf_nat*",
    "nf_defrag*",
    "nf_reject*",
    "nf_log*",
    "nf_dup*",
    "nf_flow*",
    "nf_socket*",
    "nf_tproxy*",
    "ip_vs*",
    // traffic control
    "sch_fq_codel",
    "sch_fq",
    "sch_netem",
    "sch_ingress",
    "sch_tbf",
    "sch_htb",
    "sch_prio",
    "sch_plug",
    "sch_sfq",
    "cls_bpf",
    "cls_u32",
    "cls_flower",
    "cls_matchall",
    "act_mirred",
    "act_gact",
    "act_bpf",
    "act_police",
    "act_skbedit",
    "act_vlan",
    "act_pedit",
    "act_ct",
    // IPsec
    "xfrm_user",
    "xfrm_interface",
    "esp4",
    "esp6",
    "ah4",
    // the virtual machine's own devices
    "virtio_net",
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "af_packet",
    "af_packet_diag",
    "inet_diag",
    "udp_diag",
    "tcp_diag",
    "unix_diag",
    // asked for by name at run time, so that no dependency tells (text search,
    // checksums of ext4 and SCTP, wireguard's cipher)
    "ts_*",
    "crc32c*",
    "libcrc32c",
    "chacha*",
    "poly1305*",
    "curve25519*",
    // the same for IPsec: rfc4106(gcm(aes)) with what draws its initial vectors, hmac(…), and
    // authenc(hmac(…),cbc(aes)); much of it is built in, other parts on other kernels
    "gcm",
    "ctr",
    "cbc",
    "aes_generic",
    "ghash_generic",
    "seqiv",
    "echainiv",
    "authenc*",
    "crypto_null",
    "drbg",
    "jitterentropy_rng",
    "hmac",
    "sha1_generic",
    "sha256_generic",
    "sha512*",
];

/// Files of `modules` (a lib/modules/VERSION with modules.dep) for `WANTED` and all they depend on,
/// relative to it.
pub fn select(modules: &Path) -> Result<Vec<PathBuf>> {
    let index = modules.join("modules.dep");
    let text =
        fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    Ok(with_dependencies(&text, WANTED))
}

fn with_dependencies(index: &str, wanted: &[&str]) -> Vec<PathBuf> {
    // file -> everything it needs, as depmod lists it: already transitive
    let needs: BTreeMap<&str, Vec<&str>> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, rest)| (file, rest.split_whitespace().collect()))
        .collect();
    let mut chosen = BTreeSet::new();
    for (file, dependencies) in &needs {
        if wanted
            .iter()
            .any(|pattern| matches(pattern, &name_of(file)))
        {
            chosen.insert(PathBuf::from(file));
            chosen.extend(dependencies.iter().map(PathBuf::from));
        }
    }
    chosen.into_iter().collect()
}

/// The module name of a file; the kernel itself takes `-` for `_`.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_modules_come_with_their_dependencies() {
        let index = "\
kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/bridge/bridge.ko.xz: kernel/net/llc/llc.ko.xz
kernel/net/llc/llc.ko.xz:
kernel/net/xt/xt-mark.ko:
kernel/sound/noise.ko:
";
        let chosen = with_dependencies(index, &["br_netfilter", "xt_*"]);
        let names: Vec<String> = chosen
            .iter()
            .map(|file| name_of(&file.to_string_lossy()))
            .collect();
        assert_eq!(names, ["br_netfilter", "bridge", "llc", "xt_mark"]);
    }
}
