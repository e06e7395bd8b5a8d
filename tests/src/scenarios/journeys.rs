//! Journeys: all events of a packet and of what was made from it as one block, and their summary.
//!
//! Told to a file, as they are no rows of the table.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::trial;
use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::node::{self, Routed};
use crate::topology::{CLIENT, CLIENT_PORT, Cluster, PORT, at};
use crate::tracer::{Outcome, Scratch, Tracer};
use crate::traffic;
use crate::wait::{self, SOON};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("journey_of_a_duplicate", duplicate),
        trial("journey_of_an_overheard_packet", overheard),
        trial("journey_to_a_dropping_rule", dropped_by_a_rule),
        trial("journey_of_segments", segments),
        trial("journey_without_an_end", unread),
        trial("journey_told_while_it_runs", told_at_once),
        trial("journey_summary", summary),
        trial("journey_with_a_gap", gap),
        trial("journeys_too_many_at_once", too_many),
    ]
}

/// A tracer that prints to a file.
struct Told {
    tracer: Tracer,
    directory: Scratch,
}

impl Told {
    fn start(options: &[&str]) -> Result<Self> {
        let directory = Scratch::create()?;
        let path = directory.path().join("told");
        let path = path.to_str().context("a path")?.to_owned();
        let options = [options, &["--output", &path]].concat();
        Ok(Self {
            tracer: Tracer::start(&options)?,
            directory,
        })
    }

    /// What it has printed by now.
    fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("told"))?)
    }

    /// Waits until it has printed a text so many times.
    fn wait_for(&self, text: &str, times: usize) -> Result<()> {
        wait::until(&format!("{text:?} to be told"), SOON, || {
            let told = self.text()?.matches(text).count();
            Ok((told >= times).then_some(()))
        })
    }

    fn stop(self) -> Result<Journeys> {
        let Self { tracer, directory } = self;
        let outcome = tracer.stop()?;
        let text = fs::read_to_string(directory.path().join("told"))?;
        let mut blocks: Vec<String> = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                blocks.push(String::new());
            }
            if let Some(block) = blocks.last_mut() {
                block.push_str(line);
                block.push('\n');
            }
        }
        Ok(Journeys {
            outcome,
            text,
            blocks,
        })
    }
}

/// What it printed in all.
struct Journeys {
    outcome: Outcome,
    text: String,
    blocks: Vec<String>,
}

impl Journeys {
    fn explain(&self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| {
            ensure!(self.outcome.lost == Some(0), "events were lost");
            Ok(())
        });
        self.outcome
            .explain(result)
            .with_context(|| self.text.clone())
    }

    /// The only block.
    fn only(&self) -> Result<&str> {
        ensure!(self.blocks.len() == 1, "{} blocks", self.blocks.len());
        Ok(&self.blocks[0])
    }
}

/// Lines with all of these words.
fn lines<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    text.lines().filter(has_all).collect()
}

fn one<'a>(text: &'a str, words: &[&str]) -> Result<&'a str> {
    let found = lines(text, words);
    ensure!(found.len() == 1, "{} lines with {words:?}", found.len());
    Ok(found[0])
}

/// This process, as it is printed.
fn ourselves() -> Result<String> {
    let comm = fs::read_to_string("/proc/self/comm")?;
    Ok(format!("{}[{}]", comm.trim_end(), std::process::id()))
}

/// The article's first scenario is one block: one datagram, translated, of which both copies come
/// to the same socket.
fn duplicate() -> Result<()> {
    let frontend = Frontend::first_that_works()?;
    let [scenario, ..] = SCENARIOS;
    let cluster = Cluster::build(scenario.plan(frontend))?;
    let told = Told::start(&[
        "--route",
        "--iptable",
        "-H",
        CLIENT,
        "--proto",
        "udp",
        "--format",
        "tree",
    ])?;
    let copies = scenario.send(&cluster)?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let block = journeys.only()?;
        ensure!(copies == 2, "{copies} copies");
        let process = ourselves()?;
        let first = block.lines().next().context("no line")?;
        ensure!(first.contains("2 packets: 2 delivered"), "{first}");
        ensure!(
            first.contains(&format!(" of {process}")),
            "not its sender: {first}"
        );
        one(
            block,
            &[
                "172.18.253.6:9999 => 172.18.0.12:9999",
                "DNAT by nat.PREROUTING",
            ],
        )?;
        one(block, &["- #2<#1 made by deliver_clone, delivered"])?;
        let end = format!("end: delivered to 172.18.0.12:9999 of {process}, read by {process}");
        let ends = lines(block, &[&end]);
        ensure!(ends.len() == 2, "{} of the ends with {end}", ends.len());
        // Each namespace is a heading, over the hops in it.
        for net in [&cluster.client, &cluster.node1, &cluster.server] {
            let heading = format!("netns {} ", net.inode());
            ensure!(!lines(block, &[&heading]).is_empty(), "no {heading}");
        }
        Ok(())
    })())
}

/// The third: the bridge's copy is delivered, and the original dropped, as it is another host's.
fn overheard() -> Result<()> {
    let [_, _, scenario, ..] = SCENARIOS;
    let cluster = Cluster::build(scenario.plan(Frontend::first_that_works()?))?;
    let told = Told::start(&["-H", CLIENT, "--proto", "udp", "--format", "tree"])?;
    scenario.send(&cluster)?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let block = journeys.only()?;
        let first = block.lines().next().context("no line")?;
        ensure!(
            first.contains("2 packets: ")
                && first.contains("1 delivered")
                && first.contains("1 dropped"),
            "{first}"
        );
        one(block, &["end: dropped", " at ip_rcv"])?;
        one(block, &["end: delivered to "])?;
        Ok(())
    })())
}

fn dropped_by_a_rule() -> Result<()> {
    let link = Link::build()?;
    let frontend = Frontend::first_that_works()?;
    let rule = format!("-t filter -A INPUT -p udp --dport {PORT} -j DROP\n");
    frontend.apply(&link.right, &rule)?;
    let port = PORT.to_string();
    let told = Told::start(&["--route", "--iptable", "-P", &port, "--format", "tree"])?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"unwanted")?;
    wait::until("the block", SOON, || {
        Ok(told.text()?.contains("end: ").then_some(()))
    })?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let block = journeys.only()?;
        let end = one(block, &["end: "])?;
        // 5.10 has no reasons.
        let reason = [
            "dropped for NETFILTER_DROP at ",
            "dropped for netfilter at ",
        ];
        ensure!(
            reason.iter().any(|reason| end.contains(reason)),
            "another end: {end}"
        );
        // Also where the table frees the packet before it says so.
        one(block, &["2.filter.INPUT."])?;
        Ok(())
    })())
}

/// What the node's `eth0` cuts up is a branch each, and they are all of the packet.
fn segments() -> Result<()> {
    let routed = Routed::build()?;
    routed.cut_at_the_end()?;
    let told = Told::start(&["--src", node::CLIENT, "--proto", "tcp", "--format", "tree"])?;
    let to = at(node::SERVER, PORT)?;
    traffic::stream::send_at_once(&routed.client, to, &routed.server, to, 64 * 1024)?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let cut = journeys.blocks.iter().filter_map(|block| {
            let pieces = lines(block, &["- #", " made by skb_segment, "]).len();
            (pieces >= 2).then_some((block, pieces))
        });
        let cut: Vec<_> = cut.collect();
        ensure!(!cut.is_empty(), "no packet was cut");
        for (block, pieces) in cut {
            let end = format!("end: cut into {pieces} pieces");
            ensure!(
                lines(block, &[&end]).len() == 1,
                "not {end} in the block\n{block}"
            );
            // One that must wait for its socket, or came before its turn, may be joined to another
            // there.
            let delivered = lines(block, &["end: delivered to 10.72.2.2:9999"]).len();
            let joined = lines(block, &["end: taken by ", " for 10.72.2.2:9999"]).len();
            ensure!(
                delivered + joined == pieces,
                "{delivered} and {joined} of {pieces} pieces came to the socket"
            );
        }
        Ok(())
    })())
}

/// Nobody reads: at the end it waits in the socket.
fn unread() -> Result<()> {
    let link = Link::build()?;
    let _reader = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let port = PORT.to_string();
    let told = Told::start(&["-P", &port, "--format", "tree"])?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"unread")?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let end = one(journeys.only()?, &["end: "])?;
        let queue = format!(
            "still alive, in the queue of {RIGHT}:{PORT} of {}",
            ourselves()?
        );
        ensure!(end.contains(&queue), "not {queue}: {end}");
        Ok(())
    })())
}

/// A block comes when its packet has ended, and needs no further packet for that.
fn told_at_once() -> Result<()> {
    let link = Link::build()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let port = PORT.to_string();
    let told = Told::start(&["-P", &port, "--format", "tree"])?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"one")?;
    traffic::receive(&receiver)?;
    told.wait_for("end: delivered", 1)?;
    let journeys = told.stop()?;
    // What comes late, as the release on 7.2, makes no second one.
    journeys.explain(journeys.only().map(drop))
}

/// The counts are those of what was sent.
fn summary() -> Result<()> {
    const READ: usize = 40;
    const REFUSED: usize = 15;
    const NOBODY: u16 = 5555;
    let link = Link::build()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let ports = format!("{PORT},{NOBODY}");
    let told = Told::start(&["--dport", &ports, "--format", "summary"])?;
    for _ in 0..READ {
        traffic::send(&sender, at(RIGHT, PORT)?, b"read")?;
        traffic::receive(&receiver)?;
    }
    for _ in 0..REFUSED {
        traffic::send(&sender, at(RIGHT, NOBODY)?, b"refused")?;
    }
    let journeys = told.stop()?;
    journeys.explain((|| {
        let text = &journeys.text;
        let row = |words: &[&str]| -> Result<Vec<String>> {
            let line = one(text, words)?;
            Ok(line.split_whitespace().map(str::to_owned).collect())
        };
        let packets = text.lines().next().context("nothing")?;
        let sent = format!("{} packets", READ + REFUSED);
        ensure!(packets == sent, "not {sent}: {packets}");
        let delivered = row(&["  delivered  "])?;
        ensure!(delivered[0] == READ.to_string(), "{delivered:?}");
        let flow = row(&[&format!("{LEFT}:{CLIENT_PORT}->{RIGHT}:{PORT}")])?;
        ensure!(flow[0] == READ.to_string(), "{flow:?}");
        let refused = row(&[&format!("{LEFT}:{CLIENT_PORT}->{RIGHT}:{NOBODY}")])?;
        ensure!(refused[0] == REFUSED.to_string(), "{refused:?}");
        let dropped = lines(text, &["  dropped  "]);
        let counts = dropped
            .iter()
            .filter_map(|line| line.split_whitespace().next());
        let counts: usize = counts.filter_map(|count| count.parse::<usize>().ok()).sum();
        ensure!(counts == REFUSED, "{counts} of {REFUSED} are dropped");
        one(text, &["SEGMENT", "P50", "P99", "MAX"])?;
        one(text, &["0 packets delivered more than once"])?;
        Ok(())
    })())
}

/// Events are lost between a packet's coming to a socket and its being read.
fn gap() -> Result<()> {
    const BURST: usize = 300;
    const OTHERS: u16 = CLIENT_PORT + 1;
    let link = Link::build()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let others = traffic::udp_socket(&link.left, at(LEFT, OTHERS)?)?;
    let nobody = at(RIGHT, PORT + 1)?;
    let ports = format!("{PORT},{}", nobody.port());
    let told = Told::start(&["--dport", &ports, "--format", "tree", "--buffer", "64K"])?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"waits")?;
    // One behind it that has ended: what was before it has been seen.
    traffic::send(&others, nobody, b"ends")?;
    told.wait_for("end: dropped", 1)?;
    told.tracer.signal(Signal::SIGSTOP)?;
    for _ in 0..BURST {
        traffic::send(&others, nobody, b"burst")?;
    }
    told.tracer.signal(Signal::SIGCONT)?;
    // What the buffer had room for; that the rest was lost is known by then.
    told.wait_for("end: dropped", 2)?;
    traffic::receive(&receiver)?;
    let journeys = told.stop()?;
    let result = (|| {
        ensure!(journeys.outcome.lost > Some(0), "nothing was lost");
        let port = format!(":{CLIENT_PORT}->");
        let mut blocks = journeys.blocks.iter();
        let block = blocks.find(|block| block.contains(&port));
        let lines: Vec<&str> = block.context("no block")?.lines().collect();
        let place = |word: &str| {
            let found = lines.iter().position(|line| line.contains(word));
            found.with_context(|| format!("no {word}"))
        };
        let gap = place("events lost here")?;
        ensure!(place("__udp_enqueue_schedule_skb")? < gap, "queued after");
        ensure!(gap < place("skb_consume_udp")?, "read before");
        let after = lines.get(gap + 1).context("nothing follows")?;
        ensure!(after.contains(" .."), "timed across the gap: {after}");
        Ok(())
    })();
    journeys
        .outcome
        .explain(result)
        .with_context(|| journeys.text.clone())
}

/// More packets are under way at once than are kept: the oldest are given up, and counted, and memory
/// stays within bounds.
fn too_many() -> Result<()> {
    const SENT: u64 = 12_000;
    /// As in `journey::Limits`.
    const KEPT: u64 = 10_000;
    const MOST_MEMORY: u64 = 300 << 20;
    let link = Link::build()?;
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    traffic::make_room(&receiver)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let port = PORT.to_string();
    let told = Told::start(&[
        "--dport", &port, "--func", "^ip_rcv$", "--format", "summary", "--buffer", "64M",
    ])?;
    for _ in 0..SENT {
        traffic::send(&sender, at(RIGHT, PORT)?, b"unread")?;
    }
    let peak = told.tracer.peak_memory()?;
    let journeys = told.stop()?;
    journeys.explain((|| {
        let count = |what: &str| -> Result<u64> {
            let line = one(&journeys.text, &[what])?;
            Ok(line.split_whitespace().next().context("a count")?.parse()?)
        };
        let early = count(" packets closed early, as too many")?;
        ensure!(early == SENT - KEPT, "{early} were closed early");
        for (fate, expected) in [("  waiting  ", KEPT), ("  closed early  ", SENT - KEPT)] {
            let told = count(fate)?;
            ensure!(told == expected, "{told} and not {expected} are{fate}");
        }
        ensure!(peak < MOST_MEMORY, "{peak} bytes of memory");
        Ok(())
    })())
}
