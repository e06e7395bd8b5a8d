//! How a trace ends, and what becomes of its events: signals, counts, pipes, disks, full buffers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::trial;
use crate::disk::Disk;
use crate::story::hop;
use crate::topology::{self, CLIENT, PORT, SERVER};
use crate::tracer::Tracer;
use crate::traffic;
use crate::wait;

const PATH: &[&str] = &["--route", "--host", CLIENT, "--proto", "udp"];
/// Where it is about lines and not about packets, of which these make some ten each; such a tracer
/// starts in a fraction of the time.
const UNFOLLOWED: &[&str] = &[
    "--no-follow",
    "--route",
    "--func",
    "^(ip_send_skb|ip_output|ip_finish_output2?|__dev_queue_xmit|br_handle_frame(_finish)?|__br_forward|\
     br_dev_queue_push_xmit|__netif_receive_skb|ip_rcv|ip_local_deliver|udp_rcv)$",
    "--host",
    CLIENT,
    "--proto",
    "udp",
];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("transport_ringbuf", || transport("ringbuf")),
        trial("transport_perf", || transport("perf")),
        trial("count", count),
        trial("sigint", || ended_by(Signal::SIGINT)),
        trial("sigterm", || ended_by(Signal::SIGTERM)),
        trial("sigkill", killed),
        trial("closed_pipe", closed_pipe),
        trial("stopped_reader", stopped_reader),
        trial("nothing_matched", nothing_matched),
        trial("full_disk", full_disk),
        trial("loss_ringbuf", || loss("ringbuf")),
        trial("loss_perf", || loss("perf")),
    ]
}

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [UNFOLLOWED, more].concat()
}

fn transport(which: &'static str) -> Result<()> {
    let cluster = topology::pods()?;
    let tracer = Tracer::start(&with(&["--transport", which]))?;
    cluster.send(20)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let arrived = outcome.count(&hop(&["udp_rcv"]).inside(&cluster.server));
        ensure!(arrived == 20, "udp_rcv {arrived} times and not 20");
        Ok(())
    })())
}

fn count() -> Result<()> {
    let cluster = topology::pods()?;
    let tracer = Tracer::start(&with(&["-c", "7"]))?;
    cluster.send(3)?;
    let outcome = tracer.finish()?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            outcome.rows.len() == 7,
            "{} rows, not 7",
            outcome.rows.len()
        );
        Ok(())
    })())
}

/// How long an earlier trial's tracer may go on detaching. That is done in seconds; but once, on 5.10 and
/// a busy host, it took more than two minutes.
const DETACHING: Duration = Duration::from_secs(180);
/// How long a run may take from the signal to its end.
const LIMIT: Duration = Duration::from_secs(2);

/// Three tries for the time, as a guest's host may be busy with something else; one for all the
/// rest.
fn ended_by(signal: Signal) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..3 {
        let time = time_to_end(signal)?;
        if time < LIMIT {
            return Ok(());
        }
        took.push(time);
    }
    bail!("from {signal} to the end it took {took:?}, three times more than {LIMIT:?}")
}

fn time_to_end(signal: Signal) -> Result<Duration> {
    let cluster = topology::pods()?;
    let before = probes_at_rest()?;
    let tracer = Tracer::start(PATH)?;
    ensure!(
        before.is_none() || probes()? != before,
        "no kprobe and no traced function while skbtrace listens"
    );
    cluster.send(1)?;
    tracer.signal(signal)?;
    let outcome = tracer.finish()?;
    let after = probes_at_rest()?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            after == before,
            "left behind: {after:?}; before: {before:?}"
        );
        outcome.find(&hop(&["udp_rcv"])).map(drop)
    })())?;
    Ok(outcome.took)
}

/// A tracer that is killed leaves nothing behind: the kernel detaches as it closes what was open.
fn killed() -> Result<()> {
    let cluster = topology::pods()?;
    let before = probes_at_rest()?;
    let tracer = Tracer::start(PATH)?;
    cluster.send(1)?;
    tracer.signal(Signal::SIGKILL)?;
    let outcome = tracer.finish()?;
    let after = probes_at_rest()?;
    outcome.explain((|| {
        ensure!(outcome.code.is_none(), "it was not killed");
        ensure!(
            after == before,
            "left behind: {after:?}; before: {before:?}"
        );
        Ok(())
    })())
}

/// [`probes`] once no tracer runs any more: one that has ended goes on detaching in a process of
/// its own.
fn probes_at_rest() -> Result<Option<Vec<String>>> {
    let ended = wait::until("the end of every skbtrace", DETACHING, || {
        Ok(tracers()?.is_empty().then_some(()))
    });
    ended.with_context(|| format!("still there: {:#?}", tracers()))?;
    probes()
}

/// All processes of skbtrace: their command lines, and where in the kernel each of their threads is.
fn tracers() -> Result<Vec<(String, Vec<String>)>> {
    let mut tracers = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let of = |name: &str| fs::read_to_string(entry.path().join(name));
        if of("comm").is_ok_and(|comm| comm == "skbtrace\n") {
            let threads = fs::read_dir(entry.path().join("task"));
            let threads = threads.into_iter().flatten().filter_map(Result::ok);
            let places = threads.filter_map(|thread| {
                let stack = fs::read_to_string(thread.path().join("stack")).ok()?;
                stack.lines().next().map(str::to_owned)
            });
            let places = places.collect();
            tracers.push((of("cmdline").unwrap_or_default().replace('\0', " "), places));
        }
    }
    Ok(tracers)
}

/// The kprobes and traced functions of this kernel; none where it does not list them.
fn probes() -> Result<Option<Vec<String>>> {
    let files = [
        "/sys/kernel/debug/kprobes/list",
        "/sys/kernel/tracing/enabled_functions",
    ];
    let mut probes = None;
    for file in files
        .map(Path::new)
        .into_iter()
        .filter(|file| file.exists())
    {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let list: &mut Vec<String> = probes.get_or_insert_default();
        list.extend(text.lines().map(str::to_owned));
    }
    Ok(probes)
}

/// `skbtrace … | head -1` is a success.
fn closed_pipe() -> Result<()> {
    let cluster = topology::pods()?;
    let (reader, writer) = std::io::pipe()?;
    let mut tracer = Tracer::spawn(UNFOLLOWED, Stdio::from(writer), Stdio::piped())?;
    tracer.wait_ready()?;
    cluster.send(1)?;
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line)?;
    ensure!(!line.is_empty(), "the pipe was closed without a line");
    drop(reader);
    cluster.send(3)?;
    let outcome = tracer.finish()?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(0), "exit code {:?}", outcome.code);
        let said = outcome.said().to_lowercase();
        ensure!(
            !said.contains("error") && !said.contains("pipe"),
            "a closed pipe is an error"
        );
        Ok(())
    })())
}

/// A pager that waits for a key does not keep skbtrace from ending.
fn stopped_reader() -> Result<()> {
    let cluster = topology::pods()?;
    let (reader, writer) = std::io::pipe()?;
    let mut tracer = Tracer::spawn(UNFOLLOWED, Stdio::from(writer), Stdio::piped())?;
    tracer.wait_ready()?;
    // Several times what a pipe holds (64 KiB).
    cluster.send(100)?;
    tracer.signal(Signal::SIGTERM)?;
    let outcome = tracer.finish()?;
    drop(reader);
    outcome.explain((|| {
        ensure!(outcome.code == Some(0), "exit code {:?}", outcome.code);
        ensure!(
            outcome.said().contains("not written"),
            "it does not say that lines are missing"
        );
        Ok(())
    })())
}

fn nothing_matched() -> Result<()> {
    let tracer = Tracer::start(&[
        "--route",
        "--func",
        "^ip_rcv$",
        "--host",
        "203.0.113.9",
        "--duration",
        "1",
    ])?;
    let outcome = tracer.finish()?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(1), "exit code {:?}", outcome.code);
        ensure!(outcome.rows.is_empty(), "there are rows");
        Ok(())
    })())
}

fn full_disk() -> Result<()> {
    let cluster = topology::pods()?;
    let disk = Disk::create("4k")?;
    let file = disk.path().join("trace.txt");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[UNFOLLOWED, &["-o", name]].concat())?;
    cluster.send(50)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(2), "exit code {:?}", outcome.code);
        ensure!(
            outcome.said().contains(name),
            "the message does not name {name}"
        );
        Ok(())
    })())
}

/// Events that find no room are counted one by one. skbtrace is stopped during the burst, so the
/// buffer is sure to run full.
fn loss(transport: &'static str) -> Result<()> {
    const BURST: usize = 3000;
    let cluster = topology::pods()?;
    let tracer = Tracer::start(&with(&["-v", "--buffer", "64K", "--transport", transport]))?;
    let receiver = traffic::udp_socket(&cluster.server, topology::at(SERVER, PORT)?)?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, 0)?)?;
    tracer.signal(Signal::SIGSTOP)?;
    for _ in 0..BURST {
        traffic::send(&sender, topology::at(SERVER, PORT)?, b"burst")?;
        traffic::receive(&receiver)?;
    }
    tracer.signal(Signal::SIGCONT)?;
    let outcome = tracer.stop()?;
    outcome.in_short().explain((|| {
        ensure!(outcome.code == Some(0), "exit code {:?}", outcome.code);
        let [_, _, produced] = outcome.counts_its_losses()?;
        ensure!(
            produced >= (BURST * 10) as u64,
            "{produced} events are too few for {BURST} datagrams"
        );
        Ok(())
    })())
}
