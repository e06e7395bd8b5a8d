//! Connection tracking, translation, and rules.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use super::super::stage::Stage;
use crate::counters;
use crate::frontend::Frontend;
use crate::process;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::node::{Routed, SERVER};
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, PORT, Plan, SERVICE, at};
use crate::traffic::{self, exchange::Exchange};

/// Long enough for a guest that is busy.
const TIMEOUT: &str = "600";

/// A node that tracks connections, sends what it has no route for on to the server, and answers for a
/// Service as soon as there are rules.
struct Tracked {
    routed: Routed,
    frontend: Frontend,
    /// The client's flow from a fixed port, which begins before the rule.
    old: Exchange,
}

impl Tracked {
    fn build() -> Result<Self> {
        let frontend = Frontend::first_that_works()?;
        let routed = Routed::build()?;
        // Any rule that needs connection tracking.
        routed.masquerade(frontend)?;
        routed
            .node
            .ip(&format!("route add default via {SERVER}\n"))?;
        for name in ["udp_timeout", "udp_timeout_stream"] {
            let key = format!("netfilter/nf_conntrack_{name}");
            routed.node.sysctl(&key, TIMEOUT)?;
        }
        let old = routed.exchange()?;
        Ok(Self {
            routed,
            frontend,
            old,
        })
    }

    fn service(&self) -> Result<SocketAddr> {
        self.routed.addresses().service()
    }

    /// A further flow, which is translated as the rules are now.
    fn ask_anew(&self) -> Result<()> {
        let ends = self.routed.addresses();
        let socket = traffic::udp_socket(&self.routed.client, at(ends.client, CLIENT_PORT + 1)?)?;
        traffic::send(&socket, self.service()?, b"question")?;
        self.old.hear(b"question").map(drop)
    }

    /// The old flow's datagram is lost.
    fn ask_in_vain(&self, at: &crate::netns::Netns, counter: (&str, &str)) -> Result<()> {
        counters::until_told(at, counter, || self.old.say(self.service()?, b"question"))
    }
}

/// A flow that began before the Service's rule existed. What is told to be done cures it.
pub fn stale() -> Result<Stage> {
    let lost = ("Ip", "InAddrErrors");
    Stage::build_to_cure(
        || {
            let tracked = Tracked::build()?;
            tracked.ask_in_vain(&tracked.routed.server, lost)?;
            tracked.routed.serve_by_dnat(tracked.frontend)?;
            Ok(tracked)
        },
        move |tracked| {
            tracked.ask_anew()?;
            tracked.ask_in_vain(&tracked.routed.server, lost)
        },
        |tracked, told| {
            let told = told.first().context("nothing told")?;
            let command = told.commands().first().copied().context("no command")?;
            let words: Vec<&str> = command.split_whitespace().collect();
            let (program, rest) = words.split_first().context("an empty command")?;
            tracked.routed.node.enter(|| process::run(program, rest))?;
            tracked.old.ask(tracked.service()?).map(drop)
        },
    )
}

/// A flow that outlived its backend.
pub fn stale_backend() -> Result<Stage> {
    // The backend that is no more: an address of the server's network that the node has now.
    const GONE: &str = "10.72.2.9";
    let lost = ("Ip", "InAddrErrors");
    Stage::build(
        || {
            let tracked = Tracked::build()?;
            let rule = format!(
                "-t nat -A PREROUTING -d {} -p udp --dport {PORT} -j DNAT --to-destination {GONE}:{PORT}\n",
                tracked.routed.addresses().service
            );
            let node = &tracked.routed.node;
            tracked.frontend.apply(node, &rule)?;
            let mac = topology::link::written(topology::node::SERVER_MAC);
            node.ip(&format!(
                "neigh replace {GONE} lladdr {mac} dev eth0 nud permanent\n"
            ))?;
            tracked.ask_in_vain(&tracked.routed.server, lost)?;
            tracked.frontend.apply(node, "-t nat -F PREROUTING\n")?;
            tracked.routed.serve_by_dnat(tracked.frontend)?;
            Ok(tracked)
        },
        move |tracked| {
            tracked.ask_anew()?;
            tracked.ask_in_vain(&tracked.routed.server, lost)
        },
    )
}

/// Client and backend are at one bridge, which does not show bridged packets to iptables: the answer
/// goes straight back.
pub fn reply_not_translated() -> Result<Stage> {
    Stage::build(
        || {
            let plan = Plan {
                frontend: Some(Frontend::first_that_works()?),
                ..Plan::default()
            };
            let cluster = Cluster::build(plan)?;
            cluster
                .node1
                .sysctl("bridge/bridge-nf-call-iptables", "0")?;
            Ok(cluster)
        },
        |cluster| {
            let service = at(SERVICE, PORT)?;
            let client = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
            client.connect(service).context("cannot connect")?;
            let server = traffic::udp_socket(&cluster.server, at(topology::SERVER, PORT)?)?;
            counters::until_told(&cluster.client, ("Udp", "NoPorts"), || {
                client.send(b"question").context("cannot send")?;
                traffic::receive(&server)?;
                traffic::send(&server, at(CLIENT, CLIENT_PORT)?, b"answer")
            })
        },
    )
}

/// No new connection, as there are as many as may be.
pub fn full() -> Result<Stage> {
    const MAXIMUM: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed.masquerade(Frontend::first_that_works()?)?;
            // Entries that nothing pushes out, as both directions were seen.
            for port in 1..=8 {
                let port = port.to_string();
                let entry = [
                    "-I",
                    "-p",
                    "udp",
                    "-s",
                    "192.0.2.1",
                    "-d",
                    "192.0.2.2",
                    "--sport",
                    &port,
                    "--dport",
                    &port,
                    "--timeout",
                    TIMEOUT,
                    "-u",
                    "SEEN_REPLY,ASSURED",
                ];
                if let Err(error) = routed.node.run("conntrack", &entry) {
                    return skip(format!("no entries can be made here: {error:#}"));
                }
            }
            let exchange = routed.exchange()?;
            Ok((routed, exchange))
        },
        |(routed, exchange)| {
            let before = std::fs::read_to_string(MAXIMUM).context("the maximum")?;
            std::fs::write(MAXIMUM, "4").context("the maximum")?;
            let server = routed.addresses().server()?;
            let risen = counters::until_risen(
                || counters::dropped_by_conntrack(&routed.node),
                || exchange.say(server, b"one too many"),
            );
            std::fs::write(MAXIMUM, before.trim()).context("the maximum")?;
            risen
        },
    )
}

/// A rule refuses, and says so.
pub fn rejected() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let frontend = Frontend::first_that_works()?;
            let rule = format!("-A INPUT -p udp --dport {PORT} -j REJECT\n");
            if let Err(error) = frontend.apply(&link.right, &rule) {
                return skip(format!("no REJECT here: {error:#}"));
            }
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, sender))
        },
        |(link, sender)| {
            counters::until_told(&link.right, ("Icmp", "OutDestUnreachs"), || {
                traffic::send(sender, at(RIGHT, PORT)?, b"unwanted")
            })
        },
    )
}
