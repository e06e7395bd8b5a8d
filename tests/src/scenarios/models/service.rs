//! A Service before a pod, in the three ways of kube-proxy.
//!
//! Rules have the shape and the names that kube-proxy gives them: a chain for all Services, one for
//! each Service, which chooses among its endpoints, and one for each endpoint, which translates.

use anyhow::{Context as _, Result, ensure};

use super::scene::{Journey, Scene, Seen, delivered_to};
use crate::frontend::Frontend;
use crate::process;
use crate::row::Row;
use crate::scenarios::skip;
use crate::story::hop;
use crate::topology::node::{CLIENT, Routed, SERVER, SERVICE};
use crate::topology::{CLIENT_PORT, PORT};
use crate::traffic::{self, exchange::Exchange};

/// The client and the server pod: what has one of them is of a question or its answer.
const ENDS: &str = "10.72.1.2,10.72.2.2";

pub const TABLES: &[&str] = &[
    "--set=route,iptable,nat",
    "-H",
    ENDS,
    "--func",
    "^(ip_send_skb|ip_rcv|ipt_do_table|nft_do_chain|nf_nat_manip_pkt|ip_forward|udp_rcv)$",
];

/// The rules of iptables, for one Service with one endpoint.
const CHAINS: &str = "\
-t nat -N KUBE-SERVICES
-t nat -N KUBE-POSTROUTING
-t nat -N KUBE-MARK-MASQ
-t nat -N KUBE-SVC-SKBTRACE
-t nat -N KUBE-SEP-SKBTRACE
-t nat -A PREROUTING -j KUBE-SERVICES
-t nat -A OUTPUT -j KUBE-SERVICES
-t nat -A POSTROUTING -j KUBE-POSTROUTING
-t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-t nat -A KUBE-POSTROUTING -j MASQUERADE
";

fn rules() -> String {
    let mut rules = String::from(CHAINS);
    for protocol in ["udp", "tcp"] {
        rules.push_str(&format!(
            "-t nat -A KUBE-SERVICES -d {SERVICE}/32 -p {protocol} -m {protocol} --dport {PORT} -j KUBE-SVC-SKBTRACE\n\
             -t nat -A KUBE-SEP-SKBTRACE -p {protocol} -m {protocol} -j DNAT --to-destination {SERVER}:{PORT}\n"
        ));
    }
    rules.push_str(&format!(
        "-t nat -A KUBE-SVC-SKBTRACE -j KUBE-SEP-SKBTRACE\n\
         -t nat -I KUBE-SEP-SKBTRACE -s {SERVER}/32 -j KUBE-MARK-MASQ\n"
    ));
    rules
}

/// Chains that a packet goes through one rule after the other.
pub fn iptables() -> Result<Scene> {
    let frontend = match Frontend::first_that_works() {
        Ok(frontend) => frontend,
        Err(error) => return skip(format!("{error:#}")),
    };
    let routed = Routed::build()?;
    frontend.apply(&routed.node, &rules())?;
    of(routed, |routed, seen| {
        translated(routed, seen, "nat.PREROUTING")
    })
}

/// The table of nftables, for one Service with one endpoint: a map finds the Service's chain.
fn table() -> String {
    let service = "service-SKBTRACE-default/server/udp/";
    let endpoint = "endpoint-SKBTRACE-default/server/udp/__10.72.2.2/9999";
    format!(
        "table ip kube-proxy {{\n\
           chain mark-for-masquerade {{\n\
             mark set mark or 0x4000\n\
           }}\n\
           chain masquerading {{\n\
             mark and 0x4000 == 0 return\n\
             mark set mark xor 0x4000\n\
             masquerade fully-random\n\
           }}\n\
           chain {endpoint} {{\n\
             ip saddr {SERVER} jump mark-for-masquerade\n\
             meta l4proto udp dnat to {SERVER}:{PORT}\n\
             meta l4proto tcp dnat to {SERVER}:{PORT}\n\
           }}\n\
           chain {service} {{\n\
             numgen random mod 1 vmap {{ 0 : goto {endpoint} }}\n\
           }}\n\
           map service-ips {{\n\
             type ipv4_addr . inet_proto . inet_service : verdict\n\
             elements = {{\n\
               {SERVICE} . udp . {PORT} : goto {service},\n\
               {SERVICE} . tcp . {PORT} : goto {service}\n\
             }}\n\
           }}\n\
           chain services {{\n\
             ip daddr . meta l4proto . th dport vmap @service-ips\n\
           }}\n\
           chain nat-prerouting {{\n\
             type nat hook prerouting priority dstnat; policy accept;\n\
             jump services\n\
           }}\n\
           chain nat-output {{\n\
             type nat hook output priority -100; policy accept;\n\
             jump services\n\
           }}\n\
           chain nat-postrouting {{\n\
             type nat hook postrouting priority srcnat; policy accept;\n\
             jump masquerading\n\
           }}\n\
         }}\n"
    )
}

/// One look into a map, however many Services there are.
pub fn nftables() -> Result<Scene> {
    let routed = Routed::build()?;
    let load = || process::run_with_input("nft", &["-f", "-"], &table());
    routed.node.enter(load).context("the table of kube-proxy")?;
    of(routed, |routed, seen| {
        translated(routed, seen, "kube-proxy.nat-prerouting")
    })
}

pub const IPVS: &[&str] = &[
    "--set=route,ipvs,nat",
    "-H",
    ENDS,
    "--func",
    "^(ip_send_skb|ip_rcv|ip_vs_.*|udp_dnat_handler|nf_nat_manip_pkt|ip_forward|ip_output|udp_rcv)$",
];

/// The node has every Service's address itself, on a device to which nothing is sent: what arrives
/// for one is taken from the way in, and sent on.
pub fn ipvs() -> Result<Scene> {
    let routed = Routed::build()?;
    routed.serve_by_ipvs()?;
    of(routed, |routed, seen| {
        let question = question(
            routed,
            seen,
            &[&["ip_vs_in_hook", "ip_vs_in"], &["udp_dnat_handler"]],
        )?;
        question.says(&format!("{SERVICE}:{PORT} => {SERVER}:{PORT}"))?;
        // IPVS routes by itself what it has translated.
        question.does_not_say(" ip_forward\n")?;
        answer(routed, seen, &[&["ip_vs_out_hook", "ip_vs_out"]])
    })
}

/// A question to the Service and its answer; a trial has a connection to it besides.
fn of(routed: Routed, judge: fn(&Routed, &Seen) -> Result<()>) -> Result<Scene> {
    let exchange: Exchange = routed.exchange()?;
    Ok(Scene::and_also(
        (routed, exchange),
        |(routed, exchange)| {
            let service = routed.addresses().service()?;
            let seen = exchange.ask(service)?;
            exchange.answer(seen, service)
        },
        |(routed, _)| {
            let ends = routed.addresses();
            let (service, server) = (ends.service()?, ends.server()?);
            traffic::tcp_conversation(&routed.client, service, &routed.server, server).map(drop)
        },
        move |(routed, _), seen| {
            judge(routed, seen)?;
            connected(seen)
        },
    ))
}

/// By the nat table on the way there, and back by what connection tracking remembers.
fn translated(routed: &Routed, seen: &Seen, by: &str) -> Result<()> {
    let question = question(routed, seen, &[])?;
    question.says(&format!(" {SERVICE}:{PORT} => {SERVER}:{PORT} DNAT by "))?;
    let family = format!(" 2.{by}.ACCEPT\n");
    question.says(&family)?.says(" ip_forward\n")?;
    answer(routed, seen, &[&["ip_forward"]])
}

/// The question is the Service's until the node, and the pod's behind it; in the node it passes these
/// functions.
fn question<'a>(routed: &Routed, seen: &'a Seen, through: &[&[&str]]) -> Result<Journey<'a>> {
    let asked = format!("U:{CLIENT}:{CLIENT_PORT}->{SERVICE}:{PORT}");
    let translated = format!("U:{CLIENT}:{CLIENT_PORT}->{SERVER}:{PORT}");
    let mut hops = vec![
        hop(&["ip_send_skb"]).inside(&routed.client).pkt(&asked),
        hop(&["ip_rcv"]).inside(&routed.node).on("pod0").pkt(&asked),
    ];
    hops.extend(through.iter().map(|names| hop(names).inside(&routed.node)));
    hops.extend([
        hop(&["ip_rcv"])
            .inside(&routed.server)
            .on("eth0")
            .pkt(&translated),
        hop(&["udp_rcv"]).inside(&routed.server).pkt(&translated),
    ]);
    seen.journey(&hops, &delivered_to(SERVER, PORT))
}

/// The answer is the pod's until the node, and the Service's behind it.
fn answer(routed: &Routed, seen: &Seen, through: &[&[&str]]) -> Result<()> {
    let said = format!("U:{SERVER}:{PORT}->{CLIENT}:{CLIENT_PORT}");
    let translated = format!("U:{SERVICE}:{PORT}->{CLIENT}:{CLIENT_PORT}");
    let mut hops = vec![
        hop(&["ip_send_skb"]).inside(&routed.server).pkt(&said),
        hop(&["ip_rcv"]).inside(&routed.node).on("eth0").pkt(&said),
    ];
    hops.extend(through.iter().map(|names| hop(names).inside(&routed.node)));
    hops.extend([
        hop(&["ip_rcv"])
            .inside(&routed.client)
            .on("eth0")
            .pkt(&translated),
        hop(&["udp_rcv"]).inside(&routed.client).pkt(&translated),
    ]);
    let answer = seen.journey(&hops, &delivered_to(CLIENT, CLIENT_PORT))?;
    answer.says(&format!("{SERVER}:{PORT} => {SERVICE}:{PORT}"))?;
    Ok(())
}

/// The connection is translated in both directions.
fn connected(seen: &Seen) -> Result<()> {
    let syn = format!("T_SYN:{CLIENT}:");
    let is = |row: &&Row, end: &str| row.pkt.starts_with(&syn) && row.pkt.ends_with(end);
    let to = |address| format!("->{address}:{PORT}");
    let ways = [to(SERVICE), to(SERVER)].map(|end| {
        let mut rows = seen.outcome.rows.iter();
        rows.find(|row| is(row, &end))
            .with_context(|| format!("no SYN {end}"))
    });
    let [asked, translated] = ways;
    let (asked, translated) = (asked?, translated?);
    ensure!(
        asked.identity == translated.identity,
        "another packet: {asked} and {translated}"
    );
    let answer = format!("{SERVICE}:{PORT}->{CLIENT}:");
    let mut rows = seen.outcome.rows.iter();
    ensure!(
        rows.any(|row| row.pkt.starts_with("T_SYN,ACK:") && row.pkt.contains(&answer)),
        "no SYN,ACK from the Service"
    );
    Ok(())
}
