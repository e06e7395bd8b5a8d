//! Connection tracking, translation, and rules.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::super::stage::Stage;
use super::guards;
use crate::counters;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;
use crate::told::Told;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::node::{NODE, Routed, SERVER};
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, Ip, PORT, Plan, SERVICE, at};
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
    fn ask_in_vain(&self, at: &Netns, counter: (&str, &str)) -> Result<()> {
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
            let node = &tracked.routed.node;
            forget(node, told, &tracked.old, tracked.service()?)
        },
    )
}

/// Does what is told of the entry, and sees that the old flow arrives.
fn forget(node: &Netns, told: &[Told], old: &Exchange, service: SocketAddr) -> Result<()> {
    let told = told.first().context("nothing told")?;
    let mut commands = told.commands().into_iter();
    let command = commands.find(|command| command.starts_with("conntrack -D"));
    let words: Vec<&str> = command.context("no command")?.split_whitespace().collect();
    let (program, rest) = words.split_first().context("an empty command")?;
    node.enter(|| process::run(program, rest))?;
    old.ask(service).map(drop)
}

/// A node that does not forward, and had a Service's address itself before rules had it: they lead to a
/// program on the node. `first` are rules, by which the node tracks connections; `then` is given the
/// Service's and the node's address.
fn left_alone(
    first: impl Fn(&Netns) -> Result<()> + 'static,
    then: impl Fn(&Netns, SocketAddr, SocketAddr) -> Result<()> + 'static,
    confidence: &'static str,
) -> Result<Stage> {
    Stage::build_to_cure(
        move || {
            let routed = Routed::build()?;
            let (service, own) = (routed.addresses().service()?, at(NODE, PORT)?);
            let node = &routed.node;
            first(node)?;
            node.sysctl("ipv4/ip_forward", "0")?;
            node.sysctl("netfilter/nf_conntrack_udp_timeout", TIMEOUT)?;
            node.ip(&format!("addr add {}/32 dev lo\n", service.ip()))?;
            let client = (&routed.client, routed.addresses().client()?);
            let old = Exchange::open(client, (node, own))?;
            // An entry is there to stay once its packet has arrived.
            counters::until_told(node, ("Udp", "NoPorts"), || old.say(service, b"too early"))?;
            node.ip(&format!("addr del {}/32 dev lo\n", service.ip()))?;
            then(node, service, own)?;
            Ok((routed, old, service))
        },
        |(routed, old, service)| {
            counters::until_told(&routed.node, ("Ip", "InAddrErrors"), || {
                old.say(*service, b"question")
            })
        },
        move |(routed, old, service), told| {
            let said = told.first().map(|told| told.confidence.as_str());
            ensure!(said == Some(confidence), "it is told as {said:?}");
            forget(&routed.node, told, old, *service)
        },
    )
}

/// Nothing else is seen than the old flow. Its entry was made when there were rules already, if not the
/// Service's.
pub fn stale_alone() -> Result<Stage> {
    let frontend = Frontend::first_that_works()?;
    let first = "-t nat -A POSTROUTING -o eth0 -j MASQUERADE\n";
    left_alone(
        move |node| frontend.apply(node, first),
        move |node, service, own| {
            let rule = format!(
                "-t nat -A PREROUTING -d {} -p udp --dport {PORT} -j DNAT --to-destination {own}\n",
                service.ip()
            );
            frontend.apply(node, &rule)
        },
        "likely",
    )
}

/// The same where no rules translated anything when the entry was made, and now some of nftables do, in a
/// table that is called what nobody knows: that the node does not forward is what shows.
pub fn stale_unseen() -> Result<Stage> {
    let script = |node: &Netns, script: String| {
        node.enter(|| process::run_with_input("nft", &["-f", "-"], &script))
            .map(drop)
    };
    left_alone(
        move |node| {
            let guard = "add table ip guard\n\
                         add chain ip guard input { type filter hook input priority 0; }\n\
                         add rule ip guard input ct state invalid counter\n";
            match script(node, guard.to_owned()) {
                Ok(()) => Ok(()),
                Err(error) => skip(format!("no nftables here: {error:#}")),
            }
        },
        move |node, service, own| {
            script(
                node,
                format!(
                    "add table ip services\n\
                     add chain ip services pre {{ type nat hook prerouting priority -100; }}\n\
                     add rule ip services pre ip daddr {} udp dport {PORT} dnat to {own}\n",
                    service.ip()
                ),
            )
        },
        "likely",
    )
}

/// A client that asks a node for a way that it has not, and asks again: the second question follows the
/// entry of the first, and has the same end, for the same cause.
pub fn asked_again() -> Result<Stage> {
    Stage::build(
        || {
            let tracked = Tracked::build()?;
            // Its way ends behind the node, where the entry is made for good.
            tracked.routed.server.sysctl("ipv4/ip_forward", "1")?;
            tracked
                .routed
                .server
                .ip("route del default\nroute add 10.72.1.0/24 via 10.72.2.1\n")?;
            Ok(tracked)
        },
        |tracked| {
            for _ in 0..2 {
                let told = ("Icmp", "OutDestUnreachs");
                tracked.ask_in_vain(&tracked.routed.server, told)?;
            }
            Ok(())
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
    Stage::build(occupied, |(routed, exchange)| {
        with_little_room(|| {
            let server = routed.addresses().server()?;
            counters::until_risen(
                || counters::dropped_by_conntrack(&routed.node),
                || exchange.say(server, b"one too many"),
            )
        })
    })
}

/// The same, for a connection that has its entry.
pub fn full_for_others() -> Result<Stage> {
    Stage::build(occupied, |(routed, exchange)| {
        let server = routed.addresses().server()?;
        // An entry that nobody has asked for is forgotten after a while.
        exchange.ask(server)?;
        with_little_room(|| exchange.ask(server).map(drop))
    })
}

/// A node that has more entries than [`with_little_room`] lets it have.
fn occupied() -> Result<(Routed, Exchange)> {
    let routed = Routed::build()?;
    routed.masquerade(Frontend::first_that_works()?)?;
    // Entries that nothing pushes out, as both directions were seen.
    for port in 1..=8 {
        let entry = format!(
            "-I -p udp -s 192.0.2.1 -d 192.0.2.2 --sport {port} --dport {port} \
             --timeout {TIMEOUT} -u SEEN_REPLY,ASSURED"
        );
        let entry: Vec<&str> = entry.split_whitespace().collect();
        if let Err(error) = routed.node.run("conntrack", &entry) {
            return skip(format!("no entries can be made here: {error:#}"));
        }
    }
    let exchange = routed.exchange()?;
    Ok((routed, exchange))
}

/// Nobody gets a new entry meanwhile: the limit is the machine's.
fn with_little_room<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    const MAXIMUM: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    let before = std::fs::read_to_string(MAXIMUM).context("the maximum")?;
    std::fs::write(MAXIMUM, "4").context("the maximum")?;
    let done = work();
    std::fs::write(MAXIMUM, before.trim()).context("the maximum")?;
    done
}

/// A rule refuses, and says so.
pub fn rejected() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let link = Link::build()?;
            let frontend = Frontend::first_that_works()?;
            let rule = format!("-A INPUT -p udp --dport {PORT} -j REJECT\n");
            if let Err(error) = frontend.apply(&link.right, &rule) {
                return skip(format!("no REJECT here: {error:#}"));
            }
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, sender, frontend))
        },
        |(link, sender, _)| {
            counters::until_told(&link.right, ("Icmp", "OutDestUnreachs"), || {
                traffic::send(sender, at(RIGHT, PORT)?, b"unwanted")
            })
        },
        |(.., frontend), told| guards::by_the_first_rule(*frontend, Ip::V4, told),
    )
}
