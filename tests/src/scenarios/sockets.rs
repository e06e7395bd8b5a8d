//! Which socket a packet goes to or comes from, which process has it, and how full it is (`--socket`).

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::socket::{setsockopt, sockopt};

use super::turns::{Turn, Turns};
use crate::row::Row;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::Outcome;
use crate::traffic::{self, exchange::Exchange};
use crate::wait::{self, SOON};

pub fn trials() -> Vec<Trial> {
    let mut datagrams = Turns::with(&options("udp"));
    let mut segments = Turns::with(&options("tcp"));
    for family in [&V4, &V6] {
        let name = |what: &str| format!("socket_{what}_{}", family.name);
        datagrams.trial(name("udp"), |turn| udp(turn, family));
        datagrams.trial(name("full"), |turn| full(turn, family));
        segments.trial(name("tcp"), |turn| tcp(turn, family));
        segments.trial(name("backlog"), |turn| backlog(turn, family));
    }
    [datagrams, segments]
        .into_iter()
        .flat_map(Turns::trials)
        .collect()
}

/// A family, with the functions that only it has.
struct Family {
    name: &'static str,
    left: &'static str,
    right: &'static str,
    /// The first of a datagram.
    send: &'static str,
    /// Where the socket of a received datagram is known.
    receive: &'static str,
    /// Where that of a segment is.
    segment: &'static str,
}

static V4: Family = Family {
    name: "ipv4",
    left: LEFT,
    right: RIGHT,
    send: "ip_send_skb",
    receive: "udp_unicast_rcv_skb",
    segment: "tcp_v4_do_rcv",
};

static V6: Family = Family {
    name: "ipv6",
    left: LEFT6,
    right: RIGHT6,
    send: "ip6_send_skb",
    receive: "udpv6_queue_rcv_skb",
    segment: "tcp_v6_do_rcv",
};

/// What passes the left host of either family.
fn options(proto: &str) -> [&str; 6] {
    [
        "--socket",
        "--wide",
        "-H",
        "10.71.0.1,fd00:71::1",
        "--proto",
        proto,
    ]
}

impl Family {
    /// An end of a connection as it is printed.
    fn end(&self, address: &str, port: u16) -> String {
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    }
}

/// The first row of a function that tells a socket.
fn first<'a>(outcome: &'a Outcome, function: &str) -> Result<&'a Row> {
    let mut rows = outcome.rows.iter();
    rows.find(|row| row.name() == function && row.sock().is_some())
        .with_context(|| format!("no row of {function} with a socket"))
}

/// This process, as it is printed.
fn ourselves() -> Result<String> {
    let comm = std::fs::read_to_string("/proc/self/comm")?;
    Ok(format!("{}/{}", std::process::id(), comm.trim_end()))
}

/// Sender and receiver are known, each at its side.
fn udp(turn: &Turn, family: &'static Family) -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let exchange = Exchange::open(
        (&link.left, at(family.left, CLIENT_PORT)?),
        (&link.right, at(family.right, PORT)?),
    )?;
    let tracer = turn.listen()?;
    exchange.ask(at(family.right, PORT)?)?;
    let outcome = tracer.stop()?;
    let process = ourselves()?;
    outcome.explain((|| {
        outcome.complete()?;
        let ends = [
            (family.send, family.left, CLIENT_PORT),
            (family.receive, family.right, PORT),
            ("__udp_enqueue_schedule_skb", family.right, PORT),
            ("skb_consume_udp", family.right, PORT),
        ];
        for (function, address, port) in ends {
            let row = first(&outcome, function)?;
            let sock = row.sock().context("no socket")?;
            ensure!(
                sock.name == family.end(address, port),
                "another socket: {row}"
            );
            ensure!(sock.process == process, "another process: {row}");
            ensure!(!sock.is_full, "there is room: {row}");
        }
        // The packet is in the queue when it is read, and not before it is put there.
        let used = |function| -> Result<Option<u32>> {
            Ok(first(&outcome, function)?.sock().and_then(|sock| sock.used))
        };
        ensure!(used("__udp_enqueue_schedule_skb")? == Some(0), "not empty");
        ensure!(used("skb_consume_udp")?.is_some(), "no memory told");
        Ok(())
    })())
}

/// A receiver that does not read, with room for a datagram or two.
fn full(turn: &Turn, family: &'static Family) -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let receiver = traffic::udp_socket(&link.right, at(family.right, PORT)?)?;
    setsockopt(&receiver, sockopt::RcvBuf, &1).context("cannot set SO_RCVBUF")?;
    let sender = traffic::udp_socket(&link.left, at(family.left, CLIENT_PORT)?)?;
    let tracer = turn.listen()?;
    for _ in 0..10 {
        traffic::send(&sender, at(family.right, PORT)?, &[b'x'; 1000])?;
    }
    let outcome = tracer.stop()?;
    let process = ourselves()?;
    let mut read = 0;
    while traffic::try_receive(&receiver)?.is_some() {
        read += 1;
    }
    outcome.explain((|| {
        outcome.complete()?;
        let offered = outcome.rows.iter();
        let offered = offered.filter(|row| row.name() == family.receive);
        ensure!(offered.count() == 10, "not ten datagrams");
        let full = outcome
            .rows
            .iter()
            .filter(|row| row.sock().is_some_and(|sock| sock.is_full));
        // Newer kernels tell of one packet twice: before and after.
        let packets: BTreeSet<_> = full.clone().filter_map(|row| row.identity).collect();
        ensure!(
            packets.len() == 10 - read,
            "{read} of 10 were read, {} found no room",
            packets.len()
        );
        for row in full {
            let sock = row.sock().context("no socket")?;
            ensure!(
                sock.name == family.end(family.right, PORT) && sock.process == process,
                "another socket or process: {row}"
            );
        }
        Ok(())
    })())
}

/// A server that is a process of its own.
struct Server(Child);

impl Server {
    /// Listens on [`PORT`] in the right host.
    fn start(link: &Link) -> Result<Self> {
        let port = PORT.to_string();
        let child = link.right.enter(|| {
            Command::new("nc")
                .args(["-l", "-p", &port])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .context("cannot run nc")
        })?;
        let server = Self(child);
        let wanted = format!(":{PORT:04X} ");
        let pid = server.0.id();
        wait::until("a server", SOON, || {
            let listens = |file: &str| {
                let list = std::fs::read_to_string(format!("/proc/{pid}/net/{file}"));
                let list = list.unwrap_or_default();
                list.lines()
                    .any(|line| line.contains(&wanted) && line.contains(" 0A "))
            };
            Ok((listens("tcp") || listens("tcp6")).then_some(()))
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection to another process: first the socket that listens is its, then the connection's.
fn tcp(turn: &Turn, family: &'static Family) -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let server = Server::start(&link)?;
    let tracer = turn.listen()?;
    let to = at(family.right, PORT)?;
    let stream = link.left.enter(|| {
        TcpStream::connect_timeout(&to, SOON).with_context(|| format!("cannot connect to {to}"))
    })?;
    let client = stream.local_addr()?.port();
    drop(stream);
    let outcome = tracer.stop()?;
    let process = format!("{}/nc", server.0.id());
    outcome.explain((|| {
        outcome.complete()?;
        let told = |row: &&Row| {
            let inside = row.netns == link.right.inode() && row.name() == family.segment;
            inside && row.pkt.starts_with("T_SYN:")
        };
        let row = outcome.rows.iter().find(told).context("no SYN")?;
        let sock = row.sock().context("no socket")?;
        ensure!(
            sock.name.ends_with(&format!(":{PORT}")) && sock.process == process,
            "not the server's socket: {row}"
        );
        let name = format!(
            "{}->{}",
            family.end(family.left, client),
            family.end(family.right, PORT)
        );
        let connected = outcome
            .rows
            .iter()
            .filter_map(Row::sock)
            .find(|sock| sock.name == name);
        let connected = connected.with_context(|| format!("no socket {name}"))?;
        ensure!(
            connected.process == ourselves()? || connected.process == "?",
            "not our socket: {connected:?}"
        );
        Ok(())
    })())
}

/// More is written at once than fits a segment: while the sender has the socket, acknowledgements
/// come and must wait.
fn backlog(turn: &Turn, family: &'static Family) -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let tracer = turn.listen()?;
    let to = at(family.right, PORT)?;
    traffic::stream::send_at_once(&link.left, to, &link.right, to, 1 << 20)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let row = first(&outcome, "tcp_add_backlog")?;
        let sock = row.sock().context("no socket")?;
        ensure!(sock.name.contains("->"), "not a connection: {row}");
        let waiting = outcome.rows.iter().filter_map(Row::sock);
        let most = waiting.filter_map(|sock| sock.backlog).max();
        ensure!(most > Some(0), "nothing ever waits");
        Ok(())
    })())
}
