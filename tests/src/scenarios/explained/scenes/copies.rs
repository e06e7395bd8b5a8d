//! Packets that arrive twice.

use anyhow::{Context as _, Result, bail, ensure};

use super::super::stage::Stage;
use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC, written};
use crate::topology::{
    self, CLIENT, CLIENT_PORT, Cluster, PORT, SERVER, SERVER_MAC, SERVER_VETH, at,
};
use crate::traffic;

/// The article: both of what is told to be done helps, each by itself.
pub fn promiscuous() -> Result<Stage> {
    let scenario = SCENARIOS[0];
    Stage::build_to_cure(
        || Cluster::build(scenario.plan(Frontend::first_that_works()?)),
        move |cluster| {
            let copies = scenario.send(cluster)?;
            ensure!(copies == 2, "{copies} copies arrived");
            Ok(())
        },
        move |cluster, told| {
            let told = told.first().context("nothing told")?;
            let commands = told.commands();
            ensure!(commands.len() == 2, "to be done: {commands:?}");
            let again = [
                "ip link set cbr0 promisc on",
                "ebtables -t filter -F OUTPUT",
            ];
            for (command, undo) in commands.iter().zip(again) {
                done(&cluster.node1, command)?;
                let copies = scenario.send(cluster)?;
                ensure!(copies == 1, "{copies} copies arrived after: {command}");
                done(&cluster.node1, undo)?;
            }
            Ok(())
        },
    )
}

/// tc gives a copy to another cable between the same hosts.
pub fn mirrored() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            link.left.ip(&format!(
                "link add eth1 type veth peer name eth1 address {} netns {}\nlink set eth1 up\n",
                written(RIGHT_MAC),
                link.right.name(),
            ))?;
            link.right.ip("link set eth1 up\n")?;
            for line in [
                "qdisc add dev eth0 clsact",
                "filter add dev eth0 egress protocol ip matchall action mirred egress mirror dev eth1",
            ] {
                let words: Vec<&str> = line.split_whitespace().collect();
                link.left.run("tc", &words)?;
            }
            Ok(link)
        },
        |link| twice(&link.left, &link.right, (LEFT, RIGHT)),
    )
}

/// The bridge learns nothing at the server's port, and the server has another one.
pub fn flooded() -> Result<Stage> {
    Stage::build(
        || {
            let cluster = topology::pods()?;
            cluster.node1.ip(&format!(
                "link add veth-two type veth peer name eth1 address {SERVER_MAC} netns {}\n\
                 link set veth-two master cbr0 up\n",
                cluster.server.name()
            ))?;
            cluster.server.ip("link set eth1 up\n")?;
            for port in [SERVER_VETH, "veth-two"] {
                let off = ["link", "set", "dev", port, "learning", "off"];
                cluster.node1.run("bridge", &off)?;
            }
            let forget = [
                "link",
                "set",
                "dev",
                SERVER_VETH,
                "type",
                "bridge_slave",
                "fdb_flush",
            ];
            cluster.node1.run("ip", &forget)?;
            Ok(cluster)
        },
        |cluster| twice(&cluster.client, &cluster.server, (CLIENT, SERVER)),
    )
}

/// A host's macvlan gets a copy of what comes from the sender's address. Both of what is told to be
/// done helps, each by itself.
pub fn macvlan() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let link = Link::build()?;
            let list = format!("type macvlan macaddr set {}\n", written(LEFT_MAC));
            link.right.ip(&format!(
                "link add link eth0 name mac0 type macvlan mode source\n\
                 link set mac0 up\n\
                 link set dev mac0 {list}"
            ))?;
            Ok((link, list))
        },
        |(link, _)| twice(&link.left, &link.right, (LEFT, RIGHT)),
        |(link, list), told| {
            let told = told.first().context("nothing told")?;
            let commands = told.commands();
            let [_, flush, nodst] = commands.as_slice() else {
                bail!("to be done: {commands:?}");
            };
            done(&link.right, flush)?;
            arrives(1, &link.left, &link.right, (LEFT, RIGHT))?;
            link.right.ip(&format!("link set dev mac0 {list}"))?;
            match done(&link.right, nodst) {
                Ok(()) => arrives(1, &link.left, &link.right, (LEFT, RIGHT)),
                // Since 5.13.
                Err(error) if format!("{error:#}").contains("Invalid argument") => Ok(()),
                Err(error) => Err(error),
            }
        },
    )
}

/// A rule sends a copy to a gateway, which is the receiver itself.
pub fn netfilter() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let rule = format!("-t mangle -A POSTROUTING -d {RIGHT} -j TEE --gateway {RIGHT}\n");
            if let Err(error) = Frontend::first_that_works()?.apply(&link.left, &rule) {
                return skip(format!("no TEE here: {error:#}"));
            }
            Ok(link)
        },
        |link| twice(&link.left, &link.right, (LEFT, RIGHT)),
    )
}

/// A queueing discipline that tries out what programs do with duplicates: no rule knows of it.
pub fn by_queue() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let netem = "qdisc add dev eth0 root netem duplicate 100%";
            let words: Vec<&str> = netem.split_whitespace().collect();
            link.left.run("tc", &words)?;
            Ok(link)
        },
        |link| twice(&link.left, &link.right, (LEFT, RIGHT)),
    )
}

/// Runs a command as it was told.
pub fn done(at: &Netns, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (program, rest) = words.split_first().context("no command")?;
    at.enter(|| process::run(program, rest)).map(drop)
}

/// A datagram arrives twice.
fn twice(from: &Netns, to: &Netns, ends: (&str, &str)) -> Result<()> {
    arrives(2, from, to, ends)
}

/// A datagram arrives so many times.
fn arrives(times: usize, from: &Netns, to: &Netns, (source, target): (&str, &str)) -> Result<()> {
    let receiver = traffic::udp_socket(to, at(target, PORT)?)?;
    let sender = traffic::udp_socket(from, at(source, CLIENT_PORT)?)?;
    traffic::send(&sender, at(target, PORT)?, b"once")?;
    let copies = traffic::count_copies(&receiver, b"once")?;
    ensure!(copies == times, "{copies} copies arrived");
    Ok(())
}
