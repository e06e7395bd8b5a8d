//! Captures (`--pcapng`): the bytes that were sent, wherever the hooks saw them.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::trial;
use crate::capture::{self, Captured};
use crate::disk::Disk;
use crate::netns::Netns;
use crate::topology::link::{LEFT6, Link, RIGHT6};
use crate::topology::{
    self, CLIENT, CLIENT_MAC, CLIENT_PORT, CLIENT_VETH, Cluster, PORT, SERVER, SERVER_MAC, at,
};
use crate::tracer::{Outcome, Scratch, Tracer, run_to_end, skbtrace};
use crate::traffic;
use crate::wait::{self, SOON};

/// Hooks of one datagram's way, some ten events.
const PATH: &[&str] = &["--no-follow", "--route", "-H", CLIENT, "--proto", "udp"];
/// Before the payload of a datagram.
const ETHERNET: usize = 14;
const HEADERS: usize = 20 + 8;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("capture_has_the_bytes::ringbuf", || bytes("ringbuf")),
        trial("capture_has_the_bytes::perf", || bytes("perf")),
        trial("capture_of_ipv6", ipv6),
        trial("capture_of_a_killed_run", killed),
        trial("capture_on_a_full_disk", full_disk),
    ]
}

/// Nothing like it is in any header.
fn payload(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31) ^ seed)
        .collect()
}

fn send(cluster: &Cluster, payload: &[u8]) -> Result<()> {
    let receiver = traffic::udp_socket(&cluster.server, at(SERVER, PORT)?)?;
    let sender = traffic::udp_socket(&cluster.client, at(CLIENT, CLIENT_PORT)?)?;
    traffic::send(&sender, at(SERVER, PORT)?, payload)?;
    ensure!(traffic::receive(&receiver)? == payload, "another datagram");
    Ok(())
}

/// A MAC address as bytes.
fn mac(text: &str) -> Result<Vec<u8>> {
    text.split(':')
        .map(|byte| u8::from_str_radix(byte, 16).context("a MAC address"))
        .collect()
}

/// Three datagrams of different lengths. The table, the capture, and a capture made of the
/// recording tell the same; the capture has every byte at every hop, and where a header of the link
/// layer is, that too.
fn bytes(transport: &str) -> Result<()> {
    let cluster = topology::pods()?;
    let scratch = Scratch::create()?;
    let file = |name: &str| scratch.path().join(name);
    let (live, recording) = (file("live.pcapng"), file("run.skb"));
    let name = live.to_str().context("a path of ASCII")?;
    let recording = recording.to_str().context("a path of ASCII")?;
    let options = ["--pcapng", name, "--snaplen", "1024", "-w", recording];
    let printed = ["--print", "--transport", transport];
    let before = SystemTime::UNIX_EPOCH.elapsed()?;
    let tracer = Tracer::start(&[PATH, &options, &printed].concat())?;
    let sent = [payload(0, 0), payload(300, 7), payload(1100, 9)];
    for payload in &sent {
        send(&cluster, payload)?;
    }
    let outcome = tracer.stop()?;
    outcome.complete()?;
    let packets = capture::read(&fs::read(&live)?)?;
    outcome.explain(compare(&cluster, &sent, &packets, &outcome))?;
    let after = SystemTime::UNIX_EPOCH.elapsed()?;
    for pair in packets.windows(2) {
        ensure!(pair[0].time <= pair[1].time, "not in order of time");
    }
    ensure!(
        packets.iter().all(|p| before < p.time && p.time < after),
        "the clock is not the wall clock"
    );

    // The same from the recording, shorter and to standard output.
    let mut replay = skbtrace();
    replay.args(["replay", recording, "--pcapng", "-", "--snaplen", "64"]);
    let output = replay.output().context("cannot start skbtrace")?;
    ensure!(output.status.success(), "{:?}", output.status);
    let short = capture::read(&output.stdout)?;
    ensure!(short.len() == packets.len(), "{} packets", short.len());
    for (short, whole) in short.iter().zip(&packets) {
        let most = whole.data.len().min(64);
        ensure!(
            short.data == whole.data[..most]
                && short.length == whole.length
                && (&short.comment, short.time, &short.interface)
                    == (&whole.comment, whole.time, &whole.interface),
            "live and replayed:\n{whole:?}\n{short:?}"
        );
    }
    // Without the option, what was kept.
    let again = file("again.pcapng");
    let mut replay = skbtrace();
    replay.args(["replay", recording, "--pcapng"]).arg(&again);
    run_to_end(replay)?;
    let again = capture::read(&fs::read(&again)?)?;
    ensure!(
        again
            .iter()
            .map(|p| &p.data)
            .eq(packets.iter().map(|p| &p.data)),
        "the replay has other bytes"
    );
    Ok(())
}

fn compare(
    cluster: &Cluster,
    sent: &[Vec<u8>],
    packets: &[Captured],
    outcome: &Outcome,
) -> Result<()> {
    // What was printed, in the same order.
    let rows = outcome.stdout.iter().filter(|line| line.starts_with('['));
    let functions: Vec<&str> = rows
        .filter_map(|line| Some(line.rsplit_once(':')?.1.trim_end()))
        .collect();
    let captured: Vec<&str> = packets.iter().map(Captured::what).collect();
    ensure!(captured == functions, "captured {captured:?}");
    for packet in packets {
        let link = if packet.is_ethernet { ETHERNET } else { 0 };
        let sent = sent
            .iter()
            .find(|sent| packet.length as usize == link + HEADERS + sent.len());
        let sent = sent.with_context(|| format!("a packet of another length: {packet:?}"))?;
        let whole = packet.length as usize;
        ensure!(
            packet.data.len() == whole.min(1024),
            "{} bytes of {whole}: {}",
            packet.data.len(),
            packet.comment
        );
        let kept = packet.data.len() - link - HEADERS;
        ensure!(
            packet.data.ends_with(&sent[..kept]),
            "another payload: {}",
            packet.comment
        );
        ensure!(
            packet.data[link + 12..][..8] == [172, 18, 0, 15, 172, 18, 0, 12],
            "other addresses: {}",
            packet.comment
        );
    }
    let places: [(&str, &str, &Netns, bool); 4] = [
        ("ip_output", "", &cluster.client, false),
        ("br_handle_frame", CLIENT_VETH, &cluster.node1, true),
        ("ip_rcv", "eth0", &cluster.server, true),
        ("udp_rcv", "eth0", &cluster.server, true),
    ];
    for (function, device, netns, is_ethernet) in places {
        let here: Vec<_> = packets.iter().filter(|p| p.what() == function).collect();
        ensure!(here.len() == sent.len(), "{} at {function}", here.len());
        for packet in here {
            let names = [netns.name().to_owned(), netns.inode().to_string()];
            ensure!(
                packet.is_ethernet == is_ethernet
                    && (names.iter()).any(|name| packet.interface.ends_with(&format!("@{name}")))
                    && packet.interface.starts_with(device)
                    && packet.about.contains(&netns.inode().to_string()),
                "{packet:?}"
            );
            let macs = [mac(SERVER_MAC)?, mac(CLIENT_MAC)?].concat();
            ensure!(
                !is_ethernet || packet.data.starts_with(&macs),
                "other MAC addresses: {packet:?}"
            );
        }
    }
    Ok(())
}

/// Both versions of IP before there is an Ethernet header, and by the default length.
fn ipv6() -> Result<()> {
    const HEADERS: usize = 40 + 8;
    let link = Link::build_with_ipv6()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("trip.pcapng");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&["-H", LEFT6, "--proto", "udp", "--pcapng", name])?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT6, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT6, 0)?)?;
    let sent = payload(500, 3);
    traffic::send(&sender, at(RIGHT6, PORT)?, &sent)?;
    traffic::receive(&receiver)?;
    let outcome = tracer.stop()?;
    let packets = capture::read(&fs::read(&file)?)?;
    outcome.explain((|| {
        ensure!(outcome.stdout.is_empty(), "something was printed");
        let hops = [
            ("ip6_output", 0),
            ("ip6_rcv_core", ETHERNET),
            ("udpv6_rcv", ETHERNET),
        ];
        for (function, before) in hops {
            let packet = packets.iter().find(|packet| packet.what() == function);
            let packet = packet.with_context(|| format!("none at {function}"))?;
            ensure!(
                packet.is_ethernet == (before != 0)
                    && packet.length as usize == before + HEADERS + sent.len()
                    && packet.data.len() == 128
                    && packet.data[before] >> 4 == 6
                    && packet.data[before + HEADERS..] == sent[..128 - before - HEADERS],
                "{packet:?}"
            );
        }
        Ok(())
    })())
}

/// What was captured before the kill is there.
fn killed() -> Result<()> {
    let cluster = topology::pods()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("trip.pcapng");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["--pcapng", name]].concat())?;
    cluster.send(20)?;
    let arrived = wait::until("the packets to be captured", SOON, || {
        // While it is being written its last block may not be whole.
        let Ok(packets) = capture::read(&fs::read(&file)?) else {
            return Ok(None);
        };
        let arrived = packets.iter().filter(|packet| packet.what() == "udp_rcv");
        Ok((arrived.count() == 20).then_some(packets.len()))
    })?;
    tracer.signal(Signal::SIGKILL)?;
    tracer.finish()?;
    let after = capture::read(&fs::read(&file)?)?.len();
    ensure!(after == arrived, "{after} packets of {arrived}");
    Ok(())
}

/// The trace goes on, the capture ends with a whole block, and the exit code tells.
fn full_disk() -> Result<()> {
    let cluster = topology::pods()?;
    let disk = Disk::create("64k")?;
    let file = disk.path().join("trip.pcapng");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["--pcapng", name, "--print"]].concat())?;
    let mut sent = 0;
    wait::until("the disk to be full", SOON, || {
        cluster.send(100)?;
        sent += 100;
        Ok(tracer.said().contains("the capture ends").then_some(()))
    })?;
    cluster.send(10)?;
    sent += 10;
    let live = tracer.stop()?;
    live.in_short().explain((|| {
        ensure!(live.code == Some(2), "exit code {:?}", live.code);
        let said = live.said();
        ensure!(said.contains(name), "the message does not name {name}");
        ensure!(
            said.matches("the capture ends").count() == 1,
            "it is not said once"
        );
        let arrived = live.stdout.iter().filter(|line| line.ends_with(":udp_rcv"));
        ensure!(
            arrived.count() == sent,
            "not all {sent} datagrams were printed"
        );
        let kept = capture::read(&fs::read(&file)?)?.len();
        // As much as fits, but for the round that did not.
        ensure!(kept > 0, "{kept} packets were captured");
        Ok(())
    })())
}
