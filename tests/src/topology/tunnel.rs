//! Two hosts with a tunnel through the cable between them.
//!
//! ```text
//!   left  tun0 192.168.71.1                       tun0 192.168.71.2  right
//!         eth0 10.71.0.1 ----------------------- eth0 10.71.0.2
//! ```
//!
//! A packet between the inner addresses travels inside one between the outer addresses: each kind
//! of tunnel puts other headers before it, and WireGuard encrypts it too.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use super::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use super::{CLIENT_PORT, Ip, PORT, WARM_UP_PORT, at};
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;
use crate::traffic::{self, exchange::Exchange};

/// Inner address of the left host.
pub const LEFT_INNER: &str = "192.168.71.1";
/// Inner address of the right host.
pub const RIGHT_INNER: &str = "192.168.71.2";
/// Inner addresses of a tunnel that carries IPv6.
const INNER6: [&str; 2] = ["fd00:77::1", "fd00:77::2"];
/// The right host's inner addresses of both versions.
pub const SERVERS: &str = "192.168.71.2,fd00:77::2";

/// UDP port that WireGuard uses here.
pub const WIREGUARD_PORT: u16 = 51820;

const LEFT_MAC: &str = "0a:77:00:00:00:01";
const RIGHT_MAC: &str = "0a:77:00:00:00:02";

/// What kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ethernet in UDP port 4789.
    Vxlan,
    /// The same over IPv6.
    Vxlan6,
    /// Ethernet in UDP port 6081.
    Geneve,
    /// The same over IPv6.
    Geneve6,
    /// IPv4 in IPv4.
    Ipip,
    /// IPv4 in IPv6, behind a destination option that limits how often it may be wrapped.
    Ip6tnl,
    /// IPv6 in IPv6, behind the same option.
    Ip6ip6,
    /// IPv6 in IPv4, and IPv4 too.
    Sit,
    /// IPv4 in GRE, with the key 71.
    Gre,
    /// The same over IPv6, with the destination option.
    Gre6,
    /// Encrypted, in UDP.
    Wireguard,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Vxlan,
        Self::Vxlan6,
        Self::Geneve,
        Self::Geneve6,
        Self::Ipip,
        Self::Ip6tnl,
        Self::Ip6ip6,
        Self::Sit,
        Self::Gre,
        Self::Gre6,
        Self::Wireguard,
    ];

    /// Its name for trials.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Vxlan6 => "vxlan6",
            Self::Geneve => "geneve",
            Self::Geneve6 => "geneve6",
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
            Self::Ip6ip6 => "ip6ip6",
            Self::Sit => "sit",
            Self::Gre => "gre",
            Self::Gre6 => "ip6gre",
            Self::Wireguard => "wireguard",
        }
    }

    /// The version of IP that the outer packet is of.
    pub const fn outside(self) -> Ip {
        match self {
            Self::Vxlan6 | Self::Geneve6 | Self::Ip6tnl | Self::Ip6ip6 | Self::Gre6 => Ip::V6,
            _ => Ip::V4,
        }
    }

    /// The version of IP that the inner packet is of in trials.
    pub const fn inside(self) -> Ip {
        match self {
            Self::Sit | Self::Ip6ip6 => Ip::V6,
            _ => Ip::V4,
        }
    }

    /// Its outer addresses, left and right.
    pub fn outer(self) -> [&'static str; 2] {
        self.outside().of([LEFT, RIGHT], [LEFT6, RIGHT6])
    }

    /// Its inner addresses, left and right.
    pub fn inner(self) -> [&'static str; 2] {
        self.inside().of([LEFT_INNER, RIGHT_INNER], INNER6)
    }

    /// The UDP port that its outer packets go to; none when it does not use UDP.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Vxlan | Self::Vxlan6 => Some(4789),
            Self::Geneve | Self::Geneve6 => Some(6081),
            Self::Wireguard => Some(WIREGUARD_PORT),
            _ => None,
        }
    }

    /// Arguments of `ip link add tun0`, between an `own` and a `peer` outer address.
    fn arguments(self, mac: &str, own: &str, peer: &str) -> String {
        match self {
            Self::Vxlan | Self::Vxlan6 => format!(
                "address {mac} type vxlan id 71 local {own} remote {peer} dstport 4789 nolearning"
            ),
            Self::Geneve | Self::Geneve6 => {
                format!("address {mac} type geneve id 71 remote {peer} dstport 6081")
            }
            Self::Ipip => format!("type ipip local {own} remote {peer} ttl 64"),
            Self::Ip6tnl => format!("type ip6tnl mode ipip6 local {own} remote {peer}"),
            Self::Ip6ip6 => format!("type ip6tnl mode ip6ip6 local {own} remote {peer}"),
            Self::Sit => format!("type sit mode any local {own} remote {peer} ttl 64"),
            Self::Gre6 => format!("type ip6gre local {own} remote {peer} key 71"),
            Self::Gre => format!("type gre local {own} remote {peer} ttl 64 key 71"),
            Self::Wireguard => "type wireguard".to_owned(),
        }
    }

    const fn has_ethernet(self) -> bool {
        matches!(
            self,
            Self::Vxlan | Self::Vxlan6 | Self::Geneve | Self::Geneve6
        )
    }
}

/// The two hosts with their tunnel; dropping it removes everything.
pub struct Tunnel {
    /// The hosts and the cable.
    pub link: Link,
    kind: Kind,
}

impl Tunnel {
    /// Builds a tunnel. Skips where the kernel has no such device.
    pub fn build(kind: Kind) -> Result<Self> {
        let tunnel = Self {
            link: if Ip::V6 == kind.outside() || Ip::V6 == kind.inside() {
                Link::build_with_ipv6()?
            } else {
                Link::build()?
            },
            kind,
        };
        let (left, right) = (&tunnel.link.left, &tunnel.link.right);
        let ends = [
            (left, LEFT_MAC, kind.outer()),
            (right, RIGHT_MAC, {
                let [left, right] = kind.outer();
                [right, left]
            }),
        ];
        for (host, mac, [own, peer]) in ends {
            let add = kind.arguments(mac, own, peer);
            if let Err(error) = host.ip(&format!("link add tun0 {add}\n")) {
                return skip(format!("no device {}: {error:#}", kind.name()));
            }
        }
        if kind == Kind::Wireguard {
            agree_on_keys(&tunnel.link)?;
        }
        let ends = [
            (left, LEFT_INNER, RIGHT_INNER, RIGHT_MAC),
            (right, RIGHT_INNER, LEFT_INNER, LEFT_MAC),
        ];
        for (host, own, peer, peer_mac) in ends {
            let mut script = format!("link set tun0 up\naddr add {own}/24 dev tun0\n");
            if kind.has_ethernet() {
                script.push_str(&format!(
                    "neigh replace {peer} lladdr {peer_mac} dev tun0 nud permanent\n"
                ));
            }
            host.ip(&script)?;
        }
        let [left_inner, right_inner] = kind.inner();
        if kind.inside() == Ip::V6 {
            for (host, own) in [(left, left_inner), (right, right_inner)] {
                host.ip(&format!("addr add {own}/64 dev tun0 nodad\n"))?;
            }
        }
        for (from, to, address) in [(left, right, right_inner), (right, left, left_inner)] {
            traffic::exchange_one(from, to, at(address, WARM_UP_PORT)?)
                .with_context(|| format!("the new {} tunnel does not work", kind.name()))?;
        }
        Ok(tunnel)
    }

    /// The inner addresses with their ports: who asks, and who answers.
    pub fn inner(&self) -> Result<[SocketAddr; 2]> {
        let [left, right] = self.kind.inner();
        Ok([at(left, CLIENT_PORT)?, at(right, PORT)?])
    }

    /// Opens a socket at each end, to talk through the tunnel: the left one asks.
    pub fn exchange(&self) -> Result<Exchange> {
        let [left, right] = self.inner()?;
        Exchange::open((&self.link.left, left), (&self.link.right, right))
    }
}

/// Gives each end a key of its own and the other's public one.
fn agree_on_keys(link: &Link) -> Result<()> {
    let key = || -> Result<(String, String)> {
        let private = process::run("wg", &["genkey"])?;
        let public = process::run_with_input("wg", &["pubkey"], &private)?;
        Ok((private, public.trim().to_owned()))
    };
    let (left, right) = (key()?, key()?);
    let introduce = |host: &Netns, own: &str, public: &str, peer: &str, inner: &str| {
        let port = WIREGUARD_PORT.to_string();
        let endpoint = format!("{peer}:{WIREGUARD_PORT}");
        let allowed = format!("{inner}/32");
        host.enter(|| {
            let arguments = [
                "set",
                "tun0",
                "listen-port",
                &port,
                "private-key",
                "/proc/self/fd/0",
                "peer",
                public,
                "endpoint",
                &endpoint,
                "allowed-ips",
                &allowed,
            ];
            process::run_with_input("wg", &arguments, own).map(drop)
        })
    };
    introduce(&link.left, &left.0, &right.1, RIGHT, RIGHT_INNER)?;
    introduce(&link.right, &right.0, &left.1, LEFT, LEFT_INNER)
}
