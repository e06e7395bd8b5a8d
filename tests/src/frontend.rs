//! The two iptables commands, and the rules of a Kubernetes node written through them.
//!
//! The same rules reach the kernel as `ip_tables` tables (legacy) or as nftables chains (nft);
//! other functions decide over the packet then, and the trace must tell the same story.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::netns::Netns;
use crate::process;
use crate::topology::Ip;

/// Which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Frontend {
    /// `iptables-legacy`: the kernel's ip_tables.
    Legacy,
    /// `iptables-nft`: nftables through iptables' syntax.
    Nft,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        })
    }
}

impl Frontend {
    /// Name of the command.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Legacy => "iptables-legacy",
            Self::Nft => "iptables-nft",
        }
    }

    /// Name of the command for IPv6.
    pub const fn command6(self) -> &'static str {
        match self {
            Self::Legacy => "ip6tables-legacy",
            Self::Nft => "ip6tables-nft",
        }
    }

    /// Name of the command for this version of IP.
    pub const fn command_for(self, ip: Ip) -> &'static str {
        match ip {
            Ip::V4 => self.command(),
            Ip::V6 => self.command6(),
        }
    }

    /// Whether the command and this kernel can do NAT together; the error says why not.
    pub fn probe(self) -> Result<()> {
        self.probe_for(Ip::V4)
    }

    /// The same over this version of IP.
    pub fn probe_for(self, ip: Ip) -> Result<()> {
        let scratch = Netns::create("probe")?;
        let command = self.command_for(ip);
        scratch
            .run(command, &["-t", "nat", "-S"])
            .map(drop)
            .with_context(|| format!("{command} does not work here"))
    }

    /// The first one that works.
    pub fn first_that_works() -> Result<Self> {
        match Self::Legacy.probe() {
            Ok(()) => Ok(Self::Legacy),
            Err(legacy) => match Self::Nft.probe() {
                Ok(()) => Ok(Self::Nft),
                Err(nft) => Err(nft.context(format!("{legacy:#}"))),
            },
        }
    }

    /// Writes `rules` (the part after `iptables`, one a line) inside `node`.
    pub fn apply(self, node: &Netns, rules: &str) -> Result<()> {
        self.apply_for(Ip::V4, node, rules)
    }

    /// The same over this version of IP.
    pub fn apply_for(self, ip: Ip, node: &Netns, rules: &str) -> Result<()> {
        let command = self.command_for(ip);
        node.enter(|| {
            for rule in rules.lines().filter(|line| !line.trim().is_empty()) {
                let mut args = vec!["-w"];
                args.extend(rule.split_whitespace());
                process::run(command, &args)?;
            }
            Ok(())
        })
    }
}
