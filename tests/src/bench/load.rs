//! The measured load: one UDP flow through the article's first scenario, which times itself.
//!
//! Under instruction counting a guest nanosecond is a guest instruction, so the sender's own
//! monotonic clock yields instructions per packet: on the one CPU the whole path to the server's
//! socket, bridge and softirqs included, runs inside the sender's system call.
//!
//! The server's socket is never read. A reading server would run at times inside the timed loop
//! and at times outside, which moves the figure by some per cent; a full socket always costs the
//! same.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, PORT, SERVER, SERVICE};
use crate::traffic;

/// Packets in a timed batch: enough that reading the clock does not count, and few enough that
/// most batches see no timer interrupt at all.
pub const BATCH: u32 = 100;
const PAYLOAD: &[u8] = b"hello from the client";

/// Lets the thread to which the kernel puts packets off that it had no time for come before the
/// sender, which else would be timed without the packets' way until its buffer is full.
fn prefer_softirqs() -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        if let Some(pid) = pid
            && comm.starts_with("ksoftirqd/")
        {
            let parameters = libc::sched_param { sched_priority: 1 };
            // SAFETY: a pointer to whole parameters.
            let result = unsafe { libc::sched_setscheduler(pid, libc::SCHED_FIFO, &parameters) };
            Errno::result(result).context("cannot let ksoftirqd come first")?;
        }
    }
    Ok(())
}

/// The cluster with its sender.
pub struct Load {
    _cluster: Cluster,
    sender: UdpSocket,
    _server: UdpSocket,
    service: SocketAddr,
}

impl Load {
    /// Builds the cluster and fills the server's socket.
    pub fn build() -> Result<Self> {
        prefer_softirqs()?;
        let [scenario, ..] = SCENARIOS;
        let cluster = Cluster::build(scenario.plan(Frontend::Legacy))?;
        let server = traffic::udp_socket(&cluster.server, topology::at(SERVER, PORT)?)?;
        setsockopt(&server, sockopt::RcvBuf, &1).context("cannot set SO_RCVBUF")?;
        let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, CLIENT_PORT)?)?;
        let load = Self {
            _cluster: cluster,
            sender,
            _server: server,
            service: topology::at(SERVICE, PORT)?,
        };
        load.send(BATCH)?;
        Ok(load)
    }

    /// Sends packets and yields how long that took.
    pub fn send(&self, packets: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..packets {
            traffic::send(&self.sender, self.service, PAYLOAD)?;
        }
        Ok(start.elapsed())
    }

    /// Times batches, after one that is not counted: it finds cold caches, and after a pause an
    /// expired connection track entry.
    pub fn batches(&self, count: usize) -> Result<Series> {
        self.send(BATCH)?;
        (0..count)
            .map(|_| Ok(per_packet(self.send(BATCH)?, BATCH)))
            .collect::<Result<_>>()
            .map(Series)
    }
}

/// Instructions per packet.
pub fn per_packet(took: Duration, packets: u32) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(packets)
}

/// Instructions per packet of each batch.
#[derive(Clone, Debug, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// The lowest figure: what disturbs a batch, timer interrupts above all, only ever adds.
    pub fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// All figures, for the reader to see how they spread.
    pub fn raw(&self) -> String {
        let figures: Vec<String> = self.0.iter().map(|figure| format!("{figure:.0}")).collect();
        figures.join(" ")
    }
}
