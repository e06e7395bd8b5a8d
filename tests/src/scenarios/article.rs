//! The article's six scenarios, each with both iptables.
//!
//! They assert the story that the article tells: who copied the packet, what each copy's `pkt_type`
//! was at the bridge's `ip_rcv`, when its addresses changed, and how many copies arrived. The
//! article's own extra copy in scenario 1, flooded back to the client, comes from a forwarding
//! entry that had aged out; here the entries are fresh, and exactly one copy is made.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::skip;
use super::turns::{Turn, Turns};
use crate::demo::{OPTIONS, SCENARIOS, Scenario};
use crate::frontend::Frontend;
use crate::story::{Hop, hop};
use crate::topology::{
    BRIDGE_MAC, CLIENT, CLIENT_PORT, CLIENT_VETH, Cluster, PORT, SERVER_MAC, SERVER_VETH,
};
use crate::tracer::Outcome;

const CLONE: &[&str] = &["deliver_clone"];
const FORWARD: &str = "2.filter.FORWARD.ACCEPT";
const PREROUTING: &str = "2.nat.PREROUTING.ACCEPT";

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(OPTIONS);
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        for frontend in [Frontend::Legacy, Frontend::Nft] {
            let number = index + 1;
            trials.trial(format!("scenario_{number}::{frontend}"), move |turn| {
                hold(turn, number, scenario, frontend)
            });
        }
    }
    trials.trials()
}

fn hold(turn: &Turn, number: usize, scenario: &Scenario, frontend: Frontend) -> Result<()> {
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let cluster = Cluster::build(scenario.plan(frontend))?;
    let tracer = turn.listen()?;
    let copies = scenario.send(&cluster)?;
    let outcome = tracer.stop()?;
    outcome.explain(tell(number, scenario, &cluster, copies, &outcome))
}

fn tell(
    number: usize,
    scenario: &Scenario,
    cluster: &Cluster,
    copies: usize,
    outcome: &Outcome,
) -> Result<()> {
    outcome.complete()?;
    let expected = if number == 1 { 2 } else { 1 };
    ensure!(
        copies == expected,
        "the server received {copies} copies, not {expected}"
    );
    outcome.times_do_not_decrease()?;
    let original = outcome.rows.first().context("nothing was printed")?.skb;
    let story = Story {
        cluster,
        outcome,
        original,
        before: format!("U:{CLIENT}:{CLIENT_PORT}->{}:{PORT}", scenario.target),
        after: format!("U:{CLIENT}:{CLIENT_PORT}->{}:{PORT}", scenario.pod),
    };
    story.leaves_the_client()?;
    match number {
        1 => story.duplicated(),
        2 | 5 => story.to_the_other_node(),
        3 => story.overheard(),
        4 => story.translated_and_bridged(),
        _ => story.bridged(),
    }
}

struct Story<'a> {
    cluster: &'a Cluster,
    outcome: &'a Outcome,
    original: u64,
    /// PKT_INFO as the client sends.
    before: String,
    /// PKT_INFO with the pod's address.
    after: String,
}

impl Story<'_> {
    /// All scenarios: out of the client's eth0, into the bridge, through the nat table. Every row
    /// has the datagram's true addresses and ports, also where its headers are still being written.
    fn leaves_the_client(&self) -> Result<()> {
        let known = |pkt: &String| *pkt == self.before || *pkt == self.after;
        let garbled = self.outcome.rows.iter().find(|row| !known(&row.pkt));
        ensure!(
            garbled.is_none(),
            "not the datagram's addresses and ports: {}",
            garbled.map_or("", |row| &row.line)
        );
        let (client, node) = (&self.cluster.client, &self.cluster.node1);
        let first = |names| hop(names).of(self.original).pkt(&self.before);
        self.outcome.in_order(&[
            first(&["ip_send_skb"]).inside(client),
            first(&["ip_output"]).inside(client),
            first(&["ip_finish_output"]).inside(client).on("eth0"),
            first(&["__dev_queue_xmit"]).inside(client).on("eth0"),
            first(&["__netif_receive_skb"]).inside(node).on(CLIENT_VETH),
            first(&["br_handle_frame"]).inside(node).on(CLIENT_VETH),
            first(&["br_nf_pre_routing"]).inside(node),
            first(&[PREROUTING]).inside(node).on("cbr0"),
            hop(&["br_nf_pre_routing_finish"])
                .of(self.original)
                .inside(node)
                .on("cbr0")
                .pkt(&self.after),
            hop(&["br_handle_frame_finish"])
                .of(self.original)
                .inside(node)
                .on(CLIENT_VETH)
                .pkt(&self.after),
        ])?;
        let translated = hop(&["br_nf_pre_routing_finish"]);
        let mut rows = self.outcome.rows.iter();
        rows.find(|row| translated.matches(row));
        let stale = rows.find(|row| row.pkt != self.after);
        ensure!(
            stale.is_none(),
            "not the pod's address after the nat table's verdict: {}",
            stale.map_or("", |row| &row.line)
        );
        Ok(())
    }

    /// Scenario 1: the bridge forwards a copy and passes the original up, and node1 forwards it.
    fn duplicated(&self) -> Result<()> {
        self.changes_hardware_address()?;
        let copy = self.cloned_once()?;
        self.passes_bridge_to_server(copy)?;
        self.arrives(copy)?;
        let up = |names| hop(names).of(self.original).pkt_type(0).pkt(&self.after);
        let node = &self.cluster.node1;
        self.outcome.in_order(&[
            up(&["br_pass_frame_up"]).inside(node).on(CLIENT_VETH),
            up(&["ip_rcv"]).inside(node).on("cbr0"),
            up(&["ip_forward"]).inside(node).on("cbr0"),
            up(&[FORWARD]).inside(node).on("cbr0"),
            up(&["ip_output"]).inside(node).on("cbr0"),
            up(&["__dev_queue_xmit"]).inside(node).on("cbr0"),
            up(&["__br_forward"]).inside(node),
            up(&["__dev_queue_xmit"]).inside(node).on(SERVER_VETH),
        ])?;
        self.arrives(self.original)
    }

    /// Scenario 3: the bridge passes the original up too, where `ip_rcv` drops another host's.
    fn overheard(&self) -> Result<()> {
        let copy = self.cloned_once()?;
        self.passes_bridge_to_server(copy)?;
        self.arrives(copy)?;
        let node = &self.cluster.node1;
        let last = hop(&["ip_rcv"])
            .of(self.original)
            .inside(node)
            .on("cbr0")
            .pkt_type(3);
        self.outcome.in_order(&[
            hop(&["br_pass_frame_up"]).of(self.original).inside(node),
            last.clone(),
        ])?;
        let mut after = self
            .outcome
            .rows
            .iter()
            .skip_while(|row| !last.matches(row));
        let further = after.find(|row| {
            row.skb == self.original && !["ip_rcv", "ip_rcv_core"].contains(&row.name())
        });
        ensure!(
            further.is_none(),
            "the original goes on after ip_rcv on cbr0: {}",
            further.map_or("", |row| &row.line)
        );
        self.outcome.none(&hop(&["ip_forward"]))
    }

    /// Scenarios 2 and 5: up through the bridge, routed out of node1's eth0.
    fn to_the_other_node(&self) -> Result<()> {
        self.outcome.none(&hop(CLONE))?;
        let second = self.cluster.second.as_ref().context("no second node")?;
        let node = &self.cluster.node1;
        let hop = |names| hop(names).of(self.original).pkt(&self.after).pkt_type(0);
        self.outcome.in_order(&[
            hop(&["br_handle_frame_finish"])
                .inside(node)
                .mac(BRIDGE_MAC),
            hop(&["br_pass_frame_up"]).inside(node).on(CLIENT_VETH),
            hop(&["ip_rcv"]).inside(node).on("cbr0"),
            hop(&["ip_forward"]).inside(node).on("cbr0"),
            hop(&[FORWARD]).inside(node),
            hop(&["ip_output"]).inside(node),
            hop(&["2.nat.POSTROUTING.ACCEPT"]).inside(node).on("eth0"),
            hop(&["ip_finish_output"]).inside(node).on("eth0"),
            hop(&["__dev_queue_xmit"]).inside(node).on("eth0"),
            hop(&["ip_rcv"]).inside(&second.node2).on("eth0"),
            hop(&["ip_forward"]).inside(&second.node2),
            hop(&["br_dev_xmit"]).inside(&second.node2),
            hop(&["ip_rcv"]).inside(&second.server2).on("eth0"),
            hop(&["udp_rcv"]).inside(&second.server2).on("eth0"),
        ])
    }

    /// Scenario 4: translated, then bridged, without a copy.
    fn translated_and_bridged(&self) -> Result<()> {
        self.changes_hardware_address()?;
        self.bridged()
    }

    /// Scenarios 4 and 6: bridged without a copy.
    fn bridged(&self) -> Result<()> {
        self.outcome.none(&hop(CLONE))?;
        self.outcome.none(&hop(&["br_pass_frame_up"]))?;
        self.outcome.none(&hop(&["ip_forward"]))?;
        self.passes_bridge_to_server(self.original)?;
        self.arrives(self.original)
    }

    /// Scenarios 1 and 4: the DNAT on the bridge gives the frame the server's hardware address.
    fn changes_hardware_address(&self) -> Result<()> {
        let hop = |names| hop(names).of(self.original).on(CLIENT_VETH);
        self.outcome.in_order(&[
            hop(&["br_handle_frame"]).mac(BRIDGE_MAC).pkt(&self.before),
            hop(&["br_handle_frame_finish"])
                .mac(SERVER_MAC)
                .pkt(&self.after),
        ])
    }

    /// The bridge made exactly one copy, out of the original; yields the copy.
    fn cloned_once(&self) -> Result<u64> {
        let clones = self.outcome.count(&hop(CLONE));
        ensure!(
            clones == 1,
            "{clones} copies were made by the bridge, not 1"
        );
        let clone = self
            .outcome
            .find(&hop(CLONE).of(self.original).on(CLIENT_VETH))?;
        let copy = clone.clone_address().context("the copy has no address")?;
        ensure!(copy != self.original, "the copy is the original");
        Ok(copy)
    }

    fn passes_bridge_to_server(&self, skb: u64) -> Result<()> {
        let node = &self.cluster.node1;
        let hop = |names| hop(names).of(skb).inside(node).pkt(&self.after);
        let port = |names| hop(names).on(SERVER_VETH);
        self.outcome.in_order(&[
            hop(&["__br_forward"]).on(CLIENT_VETH),
            port(&["br_nf_forward", "br_nf_forward_ip"]),
            port(&[FORWARD]),
            port(&["br_nf_forward_finish"]),
            port(&["br_forward_finish"]),
            port(&["br_nf_post_routing"]),
            port(&["2.nat.POSTROUTING.ACCEPT"]),
            port(&["br_nf_dev_queue_xmit"]),
            port(&["__dev_queue_xmit"]).mac(SERVER_MAC),
        ])
    }

    /// The server's eth0 gets it as its own and the socket takes it.
    fn arrives(&self, skb: u64) -> Result<()> {
        let server = &self.cluster.server;
        let hop = |names| -> Hop<'_> {
            hop(names)
                .of(skb)
                .inside(server)
                .on("eth0")
                .pkt_type(0)
                .pkt(&self.after)
        };
        self.outcome.in_order(&[
            hop(&["__netif_receive_skb"]).mac(SERVER_MAC),
            hop(&["ip_rcv"]),
            hop(&["udp_rcv"]),
        ])
    }
}
