//! Other tracers on the same functions, the same traffic and the same measure.
//!
//! `cargo xtask bench --peers` puts them on a disk, as the distribution has them, with a note for
//! each that it could not get. Only what can be seen from outside is measured: they are stopped
//! with SIGSTOP for the cost of a hit, as skbtrace is. Hits a packet are those that skbtrace counts
//! on the same functions, for they count none.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cases::{ABSENT, FUNCTIONS, exactly, matching, together, words};
use super::cost::{self, per_hit};
use super::figure::{Compared, Unit, Value};
use super::load::{BATCH, Load, Series, per_packet};
use super::subject::{settle, while_stopped};
use super::usage::{self, Memory};
use super::{loaded, runs, without};
use crate::process;
use crate::scenarios::skip;
use crate::topology::CLIENT;
use crate::tracer::Scratch;
use crate::wait;

/// The disk, and where it is seen.
const DISK: &str = "/dev/vda";
const ROOT: &str = "/mnt";
/// Notes of why a peer is not on the disk, by name.
const NOTES: &str = "skipped";
/// Batches while stopped, after two that are not counted: pwru keeps 10 000 events.
const BATCHES: usize = 1;
/// How long a peer is watched doing nothing. Short: the emulation of one that spins takes long.
const IDLE: Duration = Duration::from_millis(200);
/// What it has to print what came while it was stopped.
const CATCH_UP: Duration = Duration::from_millis(500);
/// For starting and ending; they compile first.
const LIMIT: Duration = Duration::from_secs(180);

/// Another tracer.
pub struct Peer {
    name: &'static str,
    version: &'static [&'static str],
    /// Its command line for packets of a host.
    command: fn(host: Ipv4Addr) -> Vec<String>,
    /// What it says once it listens; `None` if it says nothing.
    ready: Option<&'static str>,
    /// Those of [`FUNCTIONS`] that it cannot listen on.
    lacks: &'static [&'static str],
}

/// What was found of one.
pub struct PeerFigures {
    /// Its name.
    pub name: &'static str,
    /// Its figures, or why there are none.
    pub found: Result<Numbers, Value>,
}

/// The figures of one.
pub struct Numbers {
    /// As it calls itself.
    pub version: String,
    /// As the table shows them.
    pub cells: Vec<(Compared, String)>,
    /// The numbers behind them.
    pub raw: String,
}

/// All of them.
pub const fn all() -> [Peer; 2] {
    [
        Peer {
            name: "pwru",
            version: &["pwru", "--version"],
            command: pwru,
            ready: Some("Listening for events"),
            // It takes a pointer to a pointer to the packet.
            lacks: &["br_handle_frame"],
        },
        Peer {
            name: "bpftrace",
            version: &["bpftrace", "--version"],
            command: bpftrace,
            ready: None,
            lacks: &[],
        },
    ]
}

impl Peer {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Measures it.
    pub fn measure(&self, load: &Load) -> PeerFigures {
        PeerFigures {
            name: self.name,
            found: self.numbers(load).map_err(|error| without(&error)),
        }
    }

    fn numbers(&self, load: &Load) -> Result<Numbers> {
        mount()?;
        let note = Path::new(ROOT).join(NOTES).join(self.name);
        if let Ok(reason) = fs::read_to_string(&note) {
            return skip(reason.trim().to_owned());
        }
        let version = process::run("chroot", &together_with_root(self.version))?;
        let functions: Vec<&str> = FUNCTIONS
            .into_iter()
            .filter(|name| !self.lacks.contains(name))
            .collect();
        let options = words(&["--no-follow", "--func", &exactly(&functions)]);
        let hits = cost::count(load, &together(&[options, matching()]))?.hits;

        let rejected = self.run(load, ABSENT)?;
        let matched = self.run(load, CLIENT)?;
        for (run, expected) in [(&rejected, false), (&matched, true)] {
            ensure!(
                (run.lines > 0) == expected,
                "{} printed {} lines",
                self.name,
                run.lines
            );
        }
        let cell = |compared, unit: Unit, value| (compared, unit.text(value));
        let mut cells: Vec<_> = [
            (Compared::Rejected, &rejected),
            (Compared::Matched, &matched),
        ]
        .map(|(compared, run)| {
            let figure = per_hit(&run.alone, &run.base, hits);
            cell(compared, Unit::Instructions, figure)
        })
        .into();
        cells.extend([
            cell(Compared::Ready, Unit::Seconds, rejected.ready.as_secs_f64()),
            cell(Compared::Exit, Unit::Seconds, rejected.exit.as_secs_f64()),
            cell(Compared::Memory, Unit::Megabytes, rejected.memory.own_mb()),
            cell(Compared::Idle, Unit::Percent, rejected.idle),
        ]);
        let mut raw = format!("{hits:.2} hits a packet");
        for (what, run) in [("rejected", &rejected), ("matched", &matched)] {
            raw.push_str(&format!(
                "\n{what}: {} functions, {} lines printed, the last: {}\n  base  {}\n  first {:.0}\n  alone {}",
                run.attached,
                run.lines,
                run.last,
                run.base.raw(),
                run.first,
                run.alone.raw()
            ));
        }
        Ok(Numbers {
            version: version.trim().to_owned(),
            cells,
            raw,
        })
    }

    fn run(&self, load: &Load, host: &str) -> Result<Run> {
        let base = cost::base(load)?;
        let mut running = Running::start(self, host.parse()?)?;
        let ready = usage::cpu_time(running.pid)?;
        let attached = enabled()?;
        let memory = Memory::of(running.pid)?;
        let before = usage::cpu_time(running.pid)?;
        thread::sleep(IDLE);
        let idle = usage::cpu_time(running.pid)?.saturating_sub(before);
        let (first, alone) = while_stopped(running.pid, || {
            settle()?;
            let first = per_packet(load.send(BATCH)?, BATCH);
            Ok((first, load.batches(BATCHES)?))
        })?;
        thread::sleep(CATCH_UP);
        let exit = running.end()?;
        loaded::wait_for_none()?;
        Ok(Run {
            base,
            first,
            alone,
            ready,
            exit,
            memory,
            idle: runs::part(idle, IDLE),
            attached,
            lines: running.lines()?,
            last: running.last_line()?,
        })
    }
}

/// One run of a peer.
struct Run {
    base: Series,
    /// The first packets: dearer than the others by more than cold caches if those found the
    /// buffer full.
    first: f64,
    alone: Series,
    /// CPU time until it listened.
    ready: Duration,
    /// From SIGINT to its end.
    exit: Duration,
    memory: Memory,
    /// Hundredths of the CPU.
    idle: f64,
    attached: usize,
    lines: usize,
    /// The end of its output, which may tell of losses.
    last: String,
}

/// A running peer.
struct Running {
    child: Child,
    pid: i32,
    scratch: Scratch,
}

impl Running {
    fn start(peer: &Peer, host: Ipv4Addr) -> Result<Self> {
        let scratch = Scratch::create()?;
        let file = |name: &str| -> Result<(PathBuf, File)> {
            let path = scratch.path().join(name);
            let file =
                File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            Ok((path, file))
        };
        let (_, out) = file(OUTPUT)?;
        let (said, errors) = file("said")?;
        let child = Command::new("chroot")
            .arg(ROOT)
            .args((peer.command)(host))
            // As much room as skbtrace has.
            .env("BPFTRACE_PERF_RB_PAGES", "4096")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .context("cannot start chroot")?;
        let mut running = Self {
            pid: i32::try_from(child.id())?,
            child,
            scratch,
        };
        let result = wait::until("a peer to listen", LIMIT, || {
            if let Some(status) = running.child.try_wait()? {
                bail!("it ended before it listened ({status})");
            }
            let ready = match peer.ready {
                Some(words) => fs::read_to_string(&said)?.contains(words),
                None => enabled()? >= FUNCTIONS.len(),
            };
            Ok(ready.then_some(()))
        });
        result.with_context(|| {
            let said = fs::read_to_string(&said).unwrap_or_default();
            format!("{} said {:?}", peer.name, said.trim())
        })?;
        Ok(running)
    }

    /// Sends SIGINT; how long it takes to end.
    fn end(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        kill(Pid::from_raw(self.pid), Signal::SIGINT).context("cannot send SIGINT")?;
        let child = &mut self.child;
        wait::regardless("a peer to end", LIMIT, || Ok(child.try_wait()?))?;
        Ok(begin.elapsed())
    }

    fn output(&self) -> Result<String> {
        let text = fs::read(self.scratch.path().join(OUTPUT))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn last_line(&self) -> Result<String> {
        let text = self.output()?;
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        Ok(last.unwrap_or_default().trim().to_owned())
    }

    /// Lines about packets in its output.
    fn lines(&self) -> Result<usize> {
        let text = self.output()?;
        // pwru tells the address, bpftrace was told to.
        Ok(text.lines().filter(|line| line.contains("0x")).count())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do about a failure: either it is gone or it cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OUTPUT: &str = "trace";

/// Makes the disk's programs usable, once.
fn mount() -> Result<()> {
    if Path::new(ROOT).join("usr").exists() {
        return Ok(());
    }
    if !Path::new(DISK).exists() {
        return skip("no disk with the peers (`cargo xtask bench --peers` makes one)");
    }
    process::run("mount", &["-o", "ro", DISK, ROOT])?;
    for dir in ["proc", "sys", "dev", "tmp"] {
        let (from, to) = (format!("/{dir}"), format!("{ROOT}/{dir}"));
        process::run("mount", &["--rbind", &from, &to])?;
    }
    read_all(&Path::new(ROOT).join("usr"))
}

/// Reads all files once. What is not in memory yet takes no instructions to come, but time that has
/// no meaning: with nothing to run, the emulated clock leaps to the next timer.
fn read_all(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_all(&entry.path())?;
        } else if kind.is_file() {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

fn together_with_root(command: &[&'static str]) -> Vec<&'static str> {
    [&[ROOT], command].concat()
}

/// Functions at which something is attached, as ftrace knows.
fn enabled() -> Result<usize> {
    let path = "/sys/kernel/tracing/enabled_functions";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.lines().count())
}

fn pwru(host: Ipv4Addr) -> Vec<String> {
    let functions = exactly(&FUNCTIONS);
    let mut command = words(&["pwru", "--kmods", "bridge,br_netfilter", "--filter-func"]);
    command.push(functions);
    command.extend(words(&["--output-meta", "--output-tuple"]));
    command.push(format!("host {host} and udp"));
    command
}

/// The place of the `sk_buff` among the arguments, and the functions; 6.12.
const ARGUMENTS: &[(&str, &[&str])] = &[
    (
        "arg0",
        &[
            "__dev_queue_xmit",
            "__netif_receive_skb",
            "ip_rcv",
            "br_pass_frame_up",
        ],
    ),
    (
        "arg1",
        &[
            "br_nf_pre_routing",
            "__br_forward",
            "br_nf_forward",
            "br_nf_post_routing",
        ],
    ),
    (
        "arg2",
        &[
            "ip_output",
            "ip_finish_output",
            "ip_rcv_finish",
            "br_nf_pre_routing_finish",
            "br_handle_frame_finish",
            "br_nf_forward_finish",
            "br_forward_finish",
            "br_nf_dev_queue_xmit",
        ],
    ),
    ("*(uint64 *)arg0", &["br_handle_frame"]),
];

fn bpftrace(host: Ipv4Addr) -> Vec<String> {
    // As the word lies in memory. The netns (dev->nd_net) would crash bpftrace 0.23.2.
    let address = u32::from_ne_bytes(host.octets());
    let mut program = String::new();
    for (argument, functions) in ARGUMENTS {
        let probes: Vec<String> = functions
            .iter()
            .map(|name| format!("kprobe:{name}"))
            .collect();
        program.push_str(&format!(
            "{} {{ $skb = (struct sk_buff *){argument}; \
             $ip = (struct iphdr *)($skb->head + $skb->network_header); \
             if ($ip->protocol == 17 && ($ip->saddr == {address} || $ip->daddr == {address})) {{ \
             $udp = (struct udphdr *)($skb->head + $skb->network_header + 20); \
             printf(\"0x%llx %s %d %s %s:%u > %s:%u\\n\", (uint64)$skb, func, \
             $skb->dev->ifindex, $skb->dev->name, ntop($ip->saddr), \
             bswap($udp->source), ntop($ip->daddr), bswap($udp->dest)); }} }}\n",
            probes.join(",")
        ));
    }
    words(&["bpftrace", "-e", &program])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_its_argument() {
        let mut listed: Vec<&str> = ARGUMENTS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let mut functions = FUNCTIONS.to_vec();
        listed.sort_unstable();
        functions.sort_unstable();
        assert_eq!(listed, functions);
    }

    #[test]
    fn addresses_are_compared_as_they_lie_in_memory() {
        let command = bpftrace(Ipv4Addr::new(1, 0, 0, 0));
        assert!(command[2].contains(&format!("saddr == {}", u32::from_ne_bytes([1, 0, 0, 0]))));
    }
}
