//! Packets that IPsec protects: through an ESP tunnel and out of it, and lost for want of it.
//!
//! ```text
//!   left  lo 10.84.0.1                             lo 10.84.0.2  right
//!         eth0 10.71.0.1 ======== ESP ========== eth0 10.71.0.2
//! ```
//!
//! No header of ESP tells what is inside, and what is inside cannot be read: that it is the same
//! packet is known from its `sk_buff` alone, which the kernel encrypts and decrypts in place.

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::skip;
use super::turns::{Turn, Turns};
use crate::counters;
use crate::kernel_trace::{KernelDrop, KernelTrace};
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::Outcome;
use crate::traffic::{self, exchange::Exchange};

/// AES-GCM, with a check value of 128 bits; the key ends in four bytes of salt (RFC 4106).
pub const CIPHER: &str = "aead rfc4106(gcm(aes)) 0x7171717171717171717171717171717100000071 128";

pub fn trials() -> Vec<Trial> {
    let both = |trials: &mut Turns, name: &str, run: fn(&Turn, &Family) -> Result<()>| {
        trials.trial(format!("ipsec_{name}"), move |turn| run(turn, &IPV4));
        trials.trial(format!("ipsec_{name}_ipv6"), move |turn| run(turn, &IPV6));
    };
    let mut arriving = Turns::with(&["--route", "--xfrm", "--wide", "-H", LEFT_INNER]);
    both(&mut arriving, "tunnel", tunnel);
    let mut lost = Turns::with(&["--xfrm", "--drop", "--wide", "-H", LEFT_INNER]);
    both(&mut lost, "drop_in_the_clear", in_the_clear);
    both(&mut lost, "drop_no_association", no_association);
    [arriving, lost]
        .into_iter()
        .flat_map(Turns::trials)
        .collect()
}

/// An association in each direction, and the policies that demand it at both ends.
pub struct Protection<'a> {
    /// Addresses of the left and of the right host.
    pub outer: [&'a str; 2],
    /// Addresses or prefixes of what is protected, at the left and at the right end.
    pub ends: [&'a str; 2],
    /// What else it is: `proto udp`, or nothing.
    pub selector: &'a str,
    /// `transport` or `tunnel`.
    pub mode: &'a str,
    /// `esp` or `ah`.
    pub protocol: &'a str,
    /// The algorithm and its key, as `ip xfrm state` reads it.
    pub algorithm: &'a str,
    /// The number of the associations, in both directions.
    pub spi: u32,
    /// `if_id` and the number of the xfrm interface that it is for, or nothing.
    pub interface: &'a str,
}

impl Protection<'_> {
    /// Sets it up at both hosts.
    pub fn agree(&self, link: &Link) -> Result<()> {
        self.associate(&link.left)?;
        self.associate(&link.right)?;
        self.demand(link)
    }

    /// The associations, which are the same at both ends.
    fn associate(&self, host: &Netns) -> Result<()> {
        let [left, right] = self.outer;
        let mut script = String::new();
        for (from, to) in [(left, right), (right, left)] {
            script.push_str(&format!(
                "xfrm state add src {from} dst {to} proto {} spi {} reqid {} mode {} {} {}\n",
                self.protocol, self.spi, self.spi, self.mode, self.algorithm, self.interface
            ));
        }
        host.ip(&script)
    }

    /// The policies.
    fn demand(&self, link: &Link) -> Result<()> {
        let [left, right] = self.outer;
        let [left_end, right_end] = self.ends;
        for (host, own, peer, own_end, peer_end) in [
            (&link.left, left, right, left_end, right_end),
            (&link.right, right, left, right_end, left_end),
        ] {
            let mut script = String::new();
            for (way, from, to, from_end, to_end) in [
                ("out", own, peer, own_end, peer_end),
                ("in", peer, own, peer_end, own_end),
            ] {
                script.push_str(&format!(
                    "xfrm policy add src {from_end} dst {to_end} {} dir {way} {} \
                     tmpl src {from} dst {to} proto {} reqid {} mode {}\n",
                    self.selector, self.interface, self.protocol, self.spi, self.mode
                ));
            }
            host.ip(&script)?;
        }
        Ok(())
    }
}

/// The addresses of one version of IP.
pub struct Family {
    /// Of the hosts, left and right.
    pub outer: [&'static str; 2],
    /// Inside the tunnel, left and right.
    pub inner: [&'static str; 2],
    is_ipv6: bool,
    /// What PKT_INFO calls ESP and, where a tunnel's outer header is put on, what is inside.
    names: [&'static str; 2],
}

/// The left host's addresses inside the tunnels.
const LEFT_INNER: &str = "10.84.0.1,fd00:84::1";

/// IPv4 in IPv4.
pub const IPV4: Family = Family {
    outer: [LEFT, RIGHT],
    inner: ["10.84.0.1", "10.84.0.2"],
    is_ipv6: false,
    names: ["IP_50", "IP_4"],
};

/// IPv6 in IPv6.
pub const IPV6: Family = Family {
    outer: [LEFT6, RIGHT6],
    inner: ["fd00:84::1", "fd00:84::2"],
    is_ipv6: true,
    names: ["IP_50", "IP_41"],
};

impl Family {
    fn link(&self) -> Result<Link> {
        if self.is_ipv6 {
            Link::build_with_ipv6()
        } else {
            Link::build()
        }
    }

    /// An ESP tunnel between the inner addresses.
    pub const fn tunnel(&self) -> Protection<'static> {
        Protection {
            outer: self.outer,
            ends: self.inner,
            selector: "",
            mode: "tunnel",
            protocol: "esp",
            algorithm: CIPHER,
            spi: 0x73,
            interface: "",
        }
    }

    /// Gives the hosts their inner addresses and the way to each other.
    pub fn address(&self, link: &Link) -> Result<()> {
        let [left, right] = self.inner;
        let [left_outer, right_outer] = self.outer;
        for (host, own, peer, via) in [
            (&link.left, left, right, right_outer),
            (&link.right, right, left, left_outer),
        ] {
            let nodad = if self.is_ipv6 { "nodad" } else { "" };
            host.ip(&format!(
                "addr add {own} dev lo {nodad}\n\
                 route add {peer} via {via} dev eth0 src {own}\n"
            ))?;
        }
        Ok(())
    }

    /// A socket at each end, with the inner addresses: the left one asks.
    pub fn exchange(&self, link: &Link) -> Result<Exchange> {
        let [left, right] = self.inner;
        Exchange::open(
            (&link.left, at(left, CLIENT_PORT)?),
            (&link.right, at(right, PORT)?),
        )
    }

    fn datagram(&self) -> Result<String> {
        let [left, right] = self.inner;
        Ok(format!(
            "U:{}->{}",
            at(left, CLIENT_PORT)?,
            at(right, PORT)?
        ))
    }

    /// PKT_INFO of a packet between the hosts, of the protocol that has this name.
    fn between_hosts(&self, protocol: &str) -> String {
        let [left, right] = self.outer;
        format!("{protocol}:{left}->{right}")
    }
}

/// Skips where the kernel has no ESP.
fn or_skip(made: Result<()>) -> Result<()> {
    match made {
        Ok(()) => Ok(()),
        Err(error) => skip(format!("no ESP here: {error:#}")),
    }
}

fn tunnel(turn: &Turn, family: &Family) -> Result<()> {
    let link = family.link()?;
    family.address(&link)?;
    or_skip(family.tunnel().agree(&link))?;
    let (left, right) = (&link.left, &link.right);
    let exchange = family.exchange(&link)?;
    let [_, peer] = family.inner;
    // Routes and headers are remembered from then on.
    traffic::exchange_one(left, right, at(peer, PORT + 1)?)?;
    let tracer = turn.listen()?;
    exchange.ask(at(peer, PORT)?)?;
    let outcome = tracer.stop()?;
    let inner = family.datagram()?;
    let [esp, wrapped] = family.names.map(|name| family.between_hosts(name));
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let id = outcome.identity(&hop(&[]).inside(left).pkt(&inner))?.id;
        outcome.in_order(&[
            hop(&["ip_send_skb", "ip6_send_skb"])
                .inside(left)
                .pkt(&inner),
            hop(&["xfrm4_output", "xfrm6_output"])
                .inside(left)
                .pkt(&inner),
            hop(&["xfrm_output_resume"]).inside(left).pkt(&inner),
            hop(&["esp_output", "esp6_output"])
                .inside(left)
                .pkt(&wrapped),
            hop(&["ip_output", "ip6_output"]).inside(left).pkt(&esp),
            hop(&["__dev_queue_xmit"]).inside(left).on("eth0").pkt(&esp),
            hop(&["ip_rcv_core", "ip6_rcv_core"])
                .inside(right)
                .on("eth0")
                .pkt(&esp),
            hop(&["xfrm_input"]).inside(right).pkt(&esp),
            hop(&["esp_input", "esp6_input"]).inside(right).pkt(&esp),
            hop(&["ip_rcv_core", "ip6_rcv_core"])
                .inside(right)
                .on("eth0")
                .pkt(&inner),
            hop(&["udp_rcv", "udpv6_rcv"]).inside(right).pkt(&inner),
            hop(&["__xfrm_policy_check"]).inside(right).pkt(&inner),
        ])?;
        // Nobody else holds the packet, so it is not copied, neither to encrypt nor to decrypt.
        for row in &outcome.rows {
            let own = row.identity.context("without identity")?;
            ensure!(
                own.id == id && own.parent.is_none(),
                "not packet #{id}: {row}"
            );
        }
        Ok(())
    })())
}

/// A host that demands ESP gets a datagram as it is.
fn in_the_clear(turn: &Turn, family: &Family) -> Result<()> {
    let link = family.link()?;
    family.address(&link)?;
    or_skip(family.tunnel().agree(&link))?;
    for command in [["xfrm", "policy", "flush"], ["xfrm", "state", "flush"]] {
        link.left.run("ip", &command)?;
    }
    lose(
        turn,
        family,
        &link,
        &family.datagram()?,
        "XfrmInTmplMismatch",
        |drop| {
            ["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"].contains(&drop.function.as_str())
                && drop
                    .reason
                    .as_deref()
                    .is_none_or(|reason| reason == "XFRM_POLICY")
        },
    )
}

/// The receiver does not know the association.
fn no_association(turn: &Turn, family: &Family) -> Result<()> {
    let link = family.link()?;
    family.address(&link)?;
    or_skip(family.tunnel().agree(&link))?;
    link.right.run("ip", &["xfrm", "state", "flush"])?;
    let [esp, _] = family.names.map(|name| family.between_hosts(name));
    lose(turn, family, &link, &esp, "XfrmInNoStates", |drop| {
        drop.function == "xfrm_input"
    })
}

/// Sends a datagram that the right host drops when it looks as `lost`, which the kernel counts as
/// `counter`: skbtrace must say what the kernel's own trace does.
fn lose(
    turn: &Turn,
    family: &Family,
    link: &Link,
    lost: &str,
    counter: &str,
    is_meant: fn(&KernelDrop) -> bool,
) -> Result<()> {
    let [own, peer] = family.inner;
    let sender = traffic::udp_socket(&link.left, at(own, CLIENT_PORT)?)?;
    let _receiver = traffic::udp_socket(&link.right, at(peer, PORT)?)?;
    let before = counters::xfrm(&link.right, counter)?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    traffic::send(&sender, at(peer, PORT)?, b"unwanted")?;
    let drops = kernel.wait_for(1, is_meant)?;
    let outcome = tracer.stop()?;
    let after = counters::xfrm(&link.right, counter)?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(after == before + 1, "{counter}: {before}, then {after}");
        // What is lost is the packet that was seen with its own addresses before.
        let id = outcome.identity(&hop(&[]).pkt(&family.datagram()?))?.id;
        dropped_as(&outcome, &drops, is_meant, id, lost)
    })())
}

fn dropped_as(
    outcome: &Outcome,
    drops: &[KernelDrop],
    is_meant: fn(&KernelDrop) -> bool,
    id: u64,
    lost: &str,
) -> Result<()> {
    let own: Vec<_> = outcome
        .rows
        .iter()
        .filter_map(|row| Some((row, row.dropped()?)))
        .collect();
    let [(row, told)] = own.as_slice() else {
        bail!("{} drops", own.len());
    };
    let same = |drop: &&KernelDrop| {
        is_meant(drop)
            && told.reason == drop.reason.as_deref()
            && told.function == drop.function
            && told.offset == drop.offset
            && drop.skb.is_none_or(|skb| skb == row.skb)
    };
    println!("DROP {} {}", row.pkt, row.what);
    ensure!(
        drops.iter().any(|drop| same(&drop)),
        "the kernel says otherwise about: {row}\n{drops:#?}"
    );
    ensure!(row.pkt == lost, "lost as another packet: {row}");
    let identity = row.identity.context("without identity")?;
    ensure!(identity.id == id, "not packet #{id}: {row}");
    Ok(())
}
