//! A machine that changes while skbtrace listens: modules loaded, interfaces renamed and deleted.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use super::{skip, trial};
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::{self, BRIDGE_MAC, CLIENT, PORT, SERVER, SERVER_MAC};
use crate::tracer::Tracer;
use crate::traffic;

/// Address of an interface that will be gone.
const FROM: &str = "192.168.7.1";

pub fn trials() -> Vec<Trial> {
    let hosts = format!("{CLIENT},{FROM}");
    let mut interfaces = Turns::with(&["--route", "--host", &hosts, "--proto", "udp"]);
    interfaces.trial("interface_renamed", interface_renamed);
    interfaces.trial("interface_deleted", interface_deleted);
    let mut trials = vec![trial(
        "bridge_loaded_after_start",
        bridge_loaded_after_start,
    )];
    trials.extend(interfaces.trials());
    trials
}

/// Hooks whose module is not loaded are named with `-v`, and the others work.
fn bridge_loaded_after_start() -> Result<()> {
    // Unloading it could take bridges of the machine along, so it has to be a fresh kernel.
    if Path::new("/sys/module/bridge").exists() {
        return skip("the module bridge is loaded already; boot a fresh kernel");
    }
    let tracer = Tracer::start(&["-v", "--route", "--host", CLIENT, "--proto", "udp"])?;
    let cluster = topology::pods()?;
    let outcome = tracer.stop()?;
    drop(cluster);
    outcome.explain((|| {
        outcome.complete()?;
        let (name, reason) = outcome
            .skipped
            .iter()
            .find(|(name, _)| name == "br_handle_frame")
            .context("br_handle_frame is not named as skipped")?;
        ensure!(
            reason.contains("bridge"),
            "the reason to skip {name} does not name the module: {reason}"
        );
        outcome.find(&hop(&["__dev_queue_xmit"])).map(drop)
    })())
}

/// An event carries the name that its interface had at that moment.
fn interface_renamed(turn: &Turn) -> Result<()> {
    let cluster = topology::pods()?;
    let client = &cluster.client;
    let tracer = turn.listen()?;
    exchange(client, &cluster.server, SERVER)?;
    client.ip(&format!(
        "link set eth0 down\n\
         link set eth0 name renamed0\n\
         link set renamed0 up\n\
         route replace default via 172.18.0.1\n\
         neigh replace 172.18.0.1 lladdr {BRIDGE_MAC} dev renamed0 nud permanent\n\
         neigh replace {SERVER} lladdr {SERVER_MAC} dev renamed0 nud permanent\n"
    ))?;
    exchange(client, &cluster.server, SERVER)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let sent = |iface| hop(&["__dev_queue_xmit"]).inside(client).on(iface);
        outcome.in_order(&[sent("eth0"), sent("renamed0")])
    })())
}

/// An interface that is gone when its events are printed keeps its name.
fn interface_deleted(turn: &Turn) -> Result<()> {
    const TO: &str = "192.168.7.2";
    let cluster = topology::pods()?;
    let (client, server) = (&cluster.client, &cluster.server);
    client.ip(&format!(
        "link add gone0 type veth peer name gone1 netns {}\n\
         link set gone0 up\n\
         addr add {FROM}/24 dev gone0\n",
        server.name()
    ))?;
    server.ip(&format!("link set gone1 up\naddr add {TO}/24 dev gone1\n"))?;
    let tracer = turn.listen()?;
    exchange(client, server, TO)?;
    client.ip("link del gone0\n")?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["__dev_queue_xmit"]).inside(client).on("gone0"),
            hop(&["ip_rcv"]).inside(server).on("gone1"),
            hop(&["udp_rcv"]).inside(server),
        ])
    })())
}

fn exchange(from: &Netns, to: &Netns, address: &str) -> Result<()> {
    traffic::exchange_one(from, to, topology::at(address, PORT)?)
}
