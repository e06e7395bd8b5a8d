//! The kernel takes every program in every shape: specialised, with debug lines, and whole, as it is
//! loaded where the specialised one is refused.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::trial;
use crate::process;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::Tracer;
use crate::traffic;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("programs_accepted", || accepted(&[])),
        trial("programs_accepted_with_a_filter", || {
            accepted(&["-H", "10.71.0.1,fd00:71::1", "--port", "9", "--mark", "7"])
        }),
        trial("programs_say_debug_lines", debug_lines),
    ]
}

/// With `-vv` the kernel side says what had no room, from programs of several kinds.
fn debug_lines() -> Result<()> {
    let link = Link::build()?;
    let _sink = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let tracer = Tracer::start(&[
        "-vv", "--route", "--socket", "--buffer", "64K", "-H", LEFT, "--proto", "udp",
    ])?;
    tracer.signal(Signal::SIGSTOP)?;
    for _ in 0..100 {
        traffic::send(&sender, at(RIGHT, PORT)?, b"one of many")?;
    }
    tracer.signal(Signal::SIGCONT)?;
    let outcome = tracer.stop()?;
    outcome.in_short().explain((|| {
        let [_, lost, _] = outcome.counts_its_losses()?;
        let line = "skbtrace: kernel side: no room for an event";
        let said = outcome.stderr.iter().filter(|said| *said == line).count();
        ensure!(
            said as u64 == lost,
            "{lost} events were lost, {said} times it was said"
        );
        Ok(())
    })())
}

/// Functions of each kind that the catalogue has, and of each way to take a packet; those that follow
/// packets are listened to anyhow.
const FUNCTIONS: &str = "^(ip_rcv|ipv6_rcv|arp_rcv|__netif_receive_skb_core|__tcp_transmit_skb|\
    tcp_retransmit_skb|neigh_resolve_output|tcp_rcv_established|iptunnel_xmit|ip6_local_out|kfree_skb|\
    qdisc_drop|qdisc_dequeue|br_handle_frame|nf_hook_slow|nft_do_chain|ipt_do_table|nf_conntrack_in|\
    nf_nat_manip_pkt)$";

/// Modules that have some of them.
const MODULES: [&str; 5] = ["bridge", "ip_tables", "nf_tables", "nf_conntrack", "nf_nat"];

/// What listens to a function, and how.
type Attached = BTreeSet<String>;

fn accepted(filter: &[&str]) -> Result<()> {
    for module in MODULES {
        // Built in, or not there: then its rows are not attached.
        let _ = process::run("modprobe", &["-q", module]);
    }
    let usual = attached(filter, &["-v"])?;
    ensure!(usual.len() > 15, "only {usual:?} are attached");
    for shape in [&["-vv"][..], &["-v", "--whole-programs"]] {
        let other = attached(filter, shape)?;
        let differ: Vec<_> = usual.symmetric_difference(&other).collect();
        ensure!(
            differ.is_empty(),
            "with {shape:?} others are attached: {differ:?}"
        );
    }
    Ok(())
}

fn attached(filter: &[&str], shape: &[&str]) -> Result<Attached> {
    let options = [&["--set", "all", "--func", FUNCTIONS], filter, shape].concat();
    let outcome = Tracer::start(&options)?.stop()?;
    outcome.explain((|| {
        ensure!(
            !outcome.said().contains("loaded whole"),
            "a specialised program was refused"
        );
        let lines = outcome.stderr.iter();
        Ok(lines
            .filter_map(|line| line.strip_prefix("skbtrace: attached "))
            .filter(|rest| rest.contains(" by "))
            .map(str::to_owned)
            .collect())
    })())
}
