//! Many packets at once, on two processors, and a kernel that changes under the tracer.
//!
//! Guests are emulated, so the numbers are what fits: a second of theirs is some thousand packets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt};
use nix::unistd::Pid;

use super::{skip, trial};
use crate::counters;
use crate::netns::Netns;
use crate::process;
use crate::story::hop;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::{self, exchange::Exchange};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("load_strangers", strangers),
        trial("load_modules_removed", modules_removed),
    ];
    for backend in ["fentry", "kprobe-multi", "kprobe"] {
        let name = format!("load_two_processors_{backend}");
        trials.push(trial(name, move || two_processors(backend)));
    }
    trials
}

/// A port whose socket nobody reads: what does not fit is freed at once.
const SINK: u16 = 5555;

/// A socket that sends to `to` alone.
fn sender(from: &Netns, to: SocketAddr) -> Result<UdpSocket> {
    let sender = traffic::udp_socket(from, traffic::any(to))?;
    sender.connect(to)?;
    Ok(sender)
}

/// Sends a datagram again and again until there were `limit` or `time` is over; yields how many there
/// were.
fn blast(sender: &UdpSocket, datagram: &[u8], limit: u64, time: Duration) -> Result<u64> {
    // A hundred at a time: system calls and the clock cost, too.
    const AT_ONCE: u64 = 100;
    let start = Instant::now();
    let mut sent = 0;
    while sent < limit && start.elapsed() < time {
        let count = usize::try_from(AT_ONCE.min(limit - sent))?;
        let datagrams = vec![[IoSlice::new(datagram)]; count];
        let nowhere_else: Vec<Option<SockaddrStorage>> = vec![None; count];
        let mut headers = MultiHeaders::preallocate(count, None);
        let flags = MsgFlags::empty();
        let fd = sender.as_raw_fd();
        match sendmmsg(fd, &mut headers, &datagrams, nowhere_else, [], flags) {
            Ok(results) => sent += results.count() as u64,
            // The other processor's packets had the queues for so long.
            Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    Ok(sent)
}

/// A million strangers, or as many as fit into a minute, pass two processors; the freed
/// addresses of one flow's packets become theirs, and no stranger is taken for one of the flow.
fn strangers() -> Result<()> {
    const MILLION: u64 = 1_000_000;
    const TIME: Duration = Duration::from_secs(60);
    const FIRST_PORT: u16 = 20000;
    // So many leave their socket as one packet and are cut up before the cable (`udp_segment`): a
    // system call and a route for each would take most of the time.
    const CUT: usize = 50;
    const STRANGER: &[u8] = b"stranger";
    let link = Link::build()?;
    link.left
        .run("ethtool", &["-K", "eth0", "tx-udp-segmentation", "off"])?;
    let strangers = STRANGER.repeat(CUT);
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let _sink = traffic::udp_socket(&link.right, at(RIGHT, SINK)?)?;
    let port = PORT.to_string();
    // The path's beginning, middle and end; the packets' ends are listened to as well.
    let some = "^(ip_send_skb|__dev_queue_xmit|__netif_receive_skb|ip_rcv|udp_rcv)$";
    let options = [
        "--route", "--func", some, "--wide", "--proto", "udp", "-P", &port,
    ];
    let tracer = Tracer::start(&options)?;
    let before = counters::ip(&link.right, "InReceives")?;
    let datagrams = thread::scope(|scope| -> Result<u16> {
        let blasters: Vec<_> = (0..2)
            .map(|cpu| {
                let (link, strangers) = (&link, &strangers);
                scope.spawn(move || {
                    pin(cpu)?;
                    let sender = sender(&link.left, at(RIGHT, SINK)?)?;
                    let each = i32::try_from(STRANGER.len())?;
                    setsockopt(&sender, sockopt::UdpGsoSegment, &each).context("UDP_SEGMENT")?;
                    blast(&sender, strangers, MILLION / 2 / CUT as u64, TIME)
                })
            })
            .collect();
        let mut datagrams = 0;
        while blasters.iter().any(|blaster| !blaster.is_finished()) {
            let from = at(LEFT, FIRST_PORT + datagrams)?;
            let sender = traffic::udp_socket(&link.left, from)?;
            traffic::send(&sender, at(RIGHT, PORT)?, b"datagram")?;
            traffic::receive(&receiver)?;
            datagrams += 1;
        }
        for blaster in blasters {
            blaster.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok(datagrams)
    })?;
    let passed = counters::ip(&link.right, "InReceives")? - before - u64::from(datagrams);
    let outcome = tracer.stop()?;
    println!("LOAD {passed} strangers passed, {datagrams} datagrams of the flow");
    outcome.in_short().explain((|| {
        ensure!(passed > 100_000 && datagrams > 1, "too little passed");
        ensure!(outcome.lost == Some(0), "events were lost");
        let mut packets: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for row in &outcome.rows {
            let id = row.identity.context("no identity")?.id;
            packets.entry(&row.pkt).or_default().insert(id);
            addresses.insert(row.skb);
        }
        ensure!(
            packets.len() == usize::from(datagrams),
            "{} different packets and not {datagrams}",
            packets.len()
        );
        let mut all = BTreeSet::new();
        for (packet, ids) in &packets {
            let own = packet.ends_with(&format!("->{RIGHT}:{PORT}"));
            ensure!(own, "a stranger: {packet}");
            ensure!(ids.len() == 1, "{packet} has several identities: {ids:?}");
            ensure!(
                ids.iter().all(|id| all.insert(*id)),
                "{packet} has the identity of another one"
            );
        }
        if addresses.len() >= packets.len() {
            return skip("no address was used twice");
        }
        Ok(())
    })())
}

/// From now on the calling thread runs on this processor alone.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("no processor {cpu}"))
}

/// Functions that each datagram calls once, and the kernel's own count of these calls.
const FUNCTIONS: &str = "^(ip_send_skb|ip_rcv_core|udp_rcv)$";

fn calls(link: &Link) -> Result<u64> {
    Ok(counters::ip(&link.left, "OutRequests")?
        + counters::ip(&link.right, "InReceives")?
        + counters::ip(&link.right, "InDelivers")?)
}

/// The ways by which functions were attached.
fn ways(outcome: &Outcome) -> BTreeSet<&str> {
    outcome
        .stderr
        .iter()
        .filter_map(|line| line.strip_prefix("skbtrace: attached "))
        .filter_map(|rest| rest.split_once(" by "))
        .filter_map(|(_, way)| way.split(' ').next())
        .collect()
}

/// Two processors send at once while skbtrace is stopped and its buffer small: what was printed and
/// what was lost is what was produced, and that is what the kernel counted by itself.
fn two_processors(backend: &'static str) -> Result<()> {
    const EACH: u64 = 4000;
    let link = Link::build()?;
    let _sink = traffic::udp_socket(&link.right, at(RIGHT, SINK)?)?;
    let options = [
        "-v",
        "--buffer",
        "64K",
        "--func",
        FUNCTIONS,
        "--backend",
        backend,
        "-H",
        LEFT,
        "--proto",
        "udp",
    ];
    let tracer = match Tracer::start(&options) {
        Ok(tracer) => tracer,
        Err(error) => return skip(format!("no {backend} here: {error:#}")),
    };
    let before = calls(&link)?;
    tracer.signal(Signal::SIGSTOP)?;
    let sent = thread::scope(|scope| -> Result<u64> {
        let senders: Vec<_> = (0..2)
            .map(|cpu| {
                let link = &link;
                scope.spawn(move || {
                    pin(cpu)?;
                    let sender = sender(&link.left, at(RIGHT, SINK)?)?;
                    blast(&sender, b"datagram", EACH, Duration::MAX)
                })
            })
            .collect();
        let mut sent = 0;
        for sender in senders {
            sent += sender.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok(sent)
    })?;
    let counted = calls(&link)? - before;
    tracer.signal(Signal::SIGCONT)?;
    let outcome = tracer.stop()?;
    outcome.in_short().explain((|| {
        let [printed, lost, produced] = outcome.counts_its_losses()?;
        // Where one is not to be had, or not for so many, another is taken.
        println!(
            "LOAD {backend}, by {:?}: {sent} sent, {counted} calls, {printed} printed, {lost} lost",
            ways(&outcome)
        );
        ensure!(sent == 2 * EACH, "{sent} datagrams were sent");
        ensure!(
            counted > 2 * sent,
            "the kernel counted {counted} calls for {sent} datagrams"
        );
        ensure!(produced == counted, "{produced} events of {counted} calls");
        Ok(())
    })())
}

/// Modules with functions that are listened on are unloaded meanwhile. Where a function is patched
/// through a trampoline the kernel keeps the module; else it forgets the probe. Either way all other
/// functions are traced on, and the kernel has nothing to complain of.
fn modules_removed() -> Result<()> {
    const MODULES: [&str; 5] = ["vxlan", "geneve", "ipip", "nft_chain_nat", "macvlan"];
    // Those of the modules and of what they stand on, and the path's ends.
    const FUNCTIONS: &str = "^(vxlan|geneve|ipip|macvlan|nft|nf_|udp|ip_rcv|ip_output|ip_send)";
    let link = Link::build()?;
    let exchange = Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )?;
    let mut tried = 0;
    for backend in ["fentry", "kprobe-multi", "kprobe"] {
        let loaded: Vec<&str> = MODULES
            .into_iter()
            .filter(|module| process::run("modprobe", &["-q", module]).is_ok())
            .collect();
        let options = [
            "--route",
            "--tunnel",
            "--nft",
            "--func",
            FUNCTIONS,
            "-v",
            "--backend",
            backend,
            "-H",
            LEFT,
            "--proto",
            "udp",
        ];
        let Ok(tracer) = Tracer::start(&options) else {
            continue;
        };
        tried += 1;
        exchange.ask(at(RIGHT, PORT)?)?;
        for module in loaded {
            match process::run("rmmod", &[module]) {
                Ok(_) => println!("LOAD {backend}: {module} was removed"),
                Err(error) => println!("LOAD {backend}: {error:#}"),
            }
        }
        exchange.ask(at(RIGHT, PORT)?)?;
        let outcome = tracer.stop()?;
        outcome.explain((|| {
            outcome.complete()?;
            let arrived = outcome.count(&hop(&["udp_rcv"]).inside(&link.right));
            ensure!(arrived == 2, "udp_rcv {arrived} times and not twice");
            Ok(())
        })())?;
    }
    ensure!(tried > 0, "no way to attach works here");
    let said = process::run("dmesg", &[])?;
    let complaint = said.lines().find(|line| {
        ["BUG:", "Oops", "WARNING:", "general protection"]
            .iter()
            .any(|word| line.contains(word))
    });
    ensure!(complaint.is_none(), "the kernel complains: {complaint:?}");
    Ok(())
}
