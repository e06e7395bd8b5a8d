//! A question from a pod to one on another machine, and its answer, with skbtrace on both machines.
//!
//! `cargo xtask test` runs these by themselves, on two virtual machines with a cable between them. As
//! the other packets between the nodes are TCP's, a filter on UDP and on both nodes' and both pods'
//! addresses has the packet from its socket to the device, and from the device to its socket.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::pair::Pair;
use crate::story::hop;
use crate::told::Told;
use crate::topology::machine::{VXLAN_PORT, Way};
use crate::topology::nodes::{NODES, PODS, Side};
use crate::tracer::Outcome;

/// What the names of these trials begin with.
pub const NAME: &str = "two_machines";
/// What is traced on both.
pub const OPTIONS: &[&str] = &[
    "--route",
    "--tunnel",
    "--explain",
    "--proto",
    "udp",
    "-H",
    PODS,
    "-H",
    NODES,
];

pub fn trials() -> Vec<Trial> {
    let trials = Way::ALL.map(|way| trial(format!("{NAME}_{}", way.name()), move || across(way)));
    trials.into_iter().collect()
}

fn across(way: Way) -> Result<()> {
    let mut pair = Pair::meet()?;
    pair.lay(way)?;
    pair.trace(&[OPTIONS, &["--wide"]].concat())?;
    pair.exchange()?;
    let [mut first, mut second] = pair.stop()?;
    for outcome in [&mut first, &mut second] {
        let found = Told::all(&outcome.stdout)?;
        outcome.explain(match found.as_slice() {
            [] => Ok(()),
            [told, ..] => Err(anyhow::anyhow!("{}: {}", told.rule, told.sentence)),
        })?;
        outcome.parse()?;
        outcome.explain(outcome.complete())?;
    }
    let question = Passing::of(way, Side::First)?;
    let answer = Passing::of(way, Side::Second)?;
    first
        .explain(
            question
                .leaves(&first)
                .and_then(|()| answer.arrives(&first)),
        )
        .context("on the first machine")?;
    second
        .explain(
            question
                .arrives(&second)
                .and_then(|()| answer.leaves(&second)),
        )
        .context("on the second machine")
}

/// A datagram from one machine's pod to the other's.
struct Passing {
    from: Side,
    /// Between the pods.
    inner: String,
    /// As it is on the cable.
    outer: String,
    way: Way,
}

impl Passing {
    fn of(way: Way, from: Side) -> Result<Self> {
        let inner = format!("U:{}->{}", from.pod()?, from.other().pod()?);
        let outer = match way {
            Way::Routes => inner.clone(),
            Way::Vxlan => format!("->{}:{VXLAN_PORT}", from.other().node()),
        };
        Ok(Self {
            from,
            inner,
            outer,
            way,
        })
    }

    /// From the pod's socket to the device that the cable is at.
    fn leaves(&self, outcome: &Outcome) -> Result<()> {
        let id = outcome
            .identity(&hop(&["ip_send_skb"]).pkt(&self.inner))?
            .id;
        let to = self.from.other().node_mac();
        let row = |names, device| hop(names).on(device).id(id);
        let mut path = vec![
            row(&["__dev_queue_xmit"], "eth0").pkt(&self.inner),
            row(&["ip_rcv"], "pod0").pkt(&self.inner),
            row(&["ip_forward"], "pod0").pkt(&self.inner),
        ];
        if self.way == Way::Vxlan {
            path.push(row(&["vxlan_xmit"], "vxlan0").pkt(&self.inner));
        }
        path.push(row(&["__dev_queue_xmit"], "eth0").pkt(&self.outer).mac(&to));
        outcome.in_order(&path)?;
        passes_two_namespaces(outcome, id)
    }

    /// From the device that the cable is at to the pod's socket.
    fn arrives(&self, outcome: &Outcome) -> Result<()> {
        let id = outcome.identity(&hop(&["udp_rcv"]).pkt(&self.inner))?.id;
        let own = self.from.other().node_mac();
        let row = |names, device| hop(names).on(device).id(id);
        // `ip_rcv` itself only where a packet is not in a list of several.
        let ip: &[&str] = &["ip_rcv_core"];
        let mut path = vec![row(ip, "eth0").pkt(&self.outer).mac(&own)];
        let mut from = "eth0";
        if self.way == Way::Vxlan {
            path.push(row(&["vxlan_rcv"], "eth0").pkt(&self.outer));
            from = "vxlan0";
            path.push(row(ip, from).pkt(&self.inner));
        }
        path.extend([
            row(&["ip_forward"], from).pkt(&self.inner),
            row(&["__dev_queue_xmit"], "pod0").pkt(&self.inner),
            row(&["ip_rcv"], "eth0").pkt(&self.inner),
            row(&["udp_rcv"], "eth0").pkt(&self.inner),
        ]);
        outcome.in_order(&path)?;
        passes_two_namespaces(outcome, id)
    }
}

/// The node's and the pod's.
fn passes_two_namespaces(outcome: &Outcome, id: u64) -> Result<()> {
    let of_packet = hop(&[]).id(id);
    let rows = outcome.rows.iter().filter(|row| of_packet.matches(row));
    let places: BTreeSet<u32> = rows.map(|row| row.netns).collect();
    ensure!(places.len() == 2, "packet #{id} is in netns {places:?}");
    Ok(())
}
