//! Recordings (`--write`) and their replay: the same as the live run, whatever became of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::trial;
use crate::disk::Disk;
use crate::frontend::Frontend;
use crate::topology::node::Routed;
use crate::topology::{self, CLIENT};
use crate::tracer::{Outcome, Scratch, Tracer, run_to_end, skbtrace};
use crate::traffic;
use crate::wait::{self, SOON};

/// Hooks of one datagram's way, some ten events.
const PATH: &[&str] = &["--no-follow", "--route", "-H", CLIENT, "--proto", "udp"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("recording_is_replayed", replayed),
        trial("recording_of_a_killed_run", killed),
        trial("recording_on_a_full_disk", full_disk),
        trial("recording_is_rotated", rotated),
        trial("recording_tells_of_losses", losses),
    ]
}

fn replay(files: &[&Path], options: &[&str]) -> Result<Outcome> {
    let mut command = skbtrace();
    command.arg("replay").args(files).args(options);
    run_to_end(command)
}

/// The first difference between what was printed live and in the replay.
fn ensure_same(live: &[String], replayed: &Outcome) -> Result<()> {
    let differs = live.iter().zip(&replayed.stdout).position(|(a, b)| a != b);
    replayed.explain((|| {
        if let Some(at) = differs {
            ensure!(false, "line {at} was, live: {}", live[at]);
        }
        ensure!(
            live.len() == replayed.stdout.len(),
            "{} lines live, {} replayed",
            live.len(),
            replayed.stdout.len()
        );
        Ok(())
    })())
}

/// The last line about events: how many were printed and lost.
fn account(outcome: &Outcome) -> Option<&String> {
    let mut said = outcome.stderr.iter().rev();
    said.find(|line| line.contains(" events printed, "))
}

/// A Service's traffic with all there is to be told, in all columns, with the stacks: the replay
/// prints it byte for byte, and its filters take what the kernel's would have taken.
fn replayed() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::Nft)?;
    let ends = routed.addresses();
    let exchange = routed.exchange()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("run.skb");
    let name = file.to_str().context("a path of ASCII")?;
    let sets = "--set=route,nft,nat,conntrack,netfilter,drop,socket,neigh,life";
    let hosts = format!("{},{}", ends.client, ends.server);
    let options = [sets, "-H", &hosts, "--callstack", "--wide", "-w", name];
    let tracer = Tracer::start(&[&options[..], &["--print"]].concat())?;
    let seen = exchange.ask(ends.service()?)?;
    ensure!(seen == ends.client()?, "the server saw {seen}");
    exchange.answer(seen, ends.service()?)?;
    // Nobody listens there: a drop.
    let other = traffic::udp_socket(&routed.client, topology::at(ends.client, 0)?)?;
    traffic::send(&other, topology::at(ends.server, 7)?, b"nobody")?;
    let live = tracer.stop()?;
    live.complete()?;
    let wide = replay(&[&file], &["--wide"])?;
    ensure_same(&live.stdout, &wide)?;
    ensure!(account(&live) == account(&wide), "{}", wide.transcript());
    let row = |what: &str| live.stdout.iter().any(|line| line.contains(what));
    for what in ["nat:", "ct:", ",sock=", "kfree_skb."] {
        ensure!(row(what), "no {what} to be compared");
    }
    let is_frame = |line: &String| line.starts_with("    ") && line.contains("+0x");
    ensure!(live.stdout.iter().any(is_frame), "no stack to be compared");

    // As many events of the article's columns, and fewer of fewer.
    let table = replay(&[&file], &["--format", "table"])?;
    let events = |outcome: &Outcome| outcome.stdout.iter().filter(|l| l.starts_with('[')).count();
    ensure!(events(&table) == events(&wide), "{}", table.transcript());
    let nat = replay(&[&file], &["--set", "nat"])?;
    let lines = nat.stdout.iter().filter(|line| line.starts_with('['));
    ensure!(
        events(&nat) > 0 && lines.clone().all(|line| line.contains("nat")),
        "{}",
        nat.transcript()
    );
    let other = replay(&[&file], &["-H", "192.0.2.1"])?;
    ensure!(
        other.code == Some(1) && events(&other) == 0,
        "{}",
        other.transcript()
    );
    let service = replay(&[&file], &["--dst", ends.service, "--wide"])?;
    let followed = |at: &str| service.stdout.iter().any(|line| line.contains(at));
    ensure!(
        followed(&format!("->{}", ends.service()?)) && followed(&format!("->{}", ends.server()?)),
        "the datagram is followed through its translation\n{}",
        service.transcript()
    );
    let first = replay(&[&file], &["-c", "3", "--no-header"])?;
    ensure!(
        events(&first) == 3 && first.code == Some(0),
        "{}",
        first.transcript()
    );
    Ok(())
}

/// What was recorded before the kill is there.
fn killed() -> Result<()> {
    let cluster = topology::pods()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("run.skb");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["-w", name, "--print"]].concat())?;
    cluster.send(20)?;
    let arrived = wait::until("the events to be recorded", SOON, || {
        let outcome = replay(&[&file], &[])?;
        let arrived = outcome
            .stdout
            .iter()
            .filter(|line| line.ends_with(":udp_rcv"));
        Ok((arrived.count() == 20).then_some(outcome))
    })?;
    tracer.signal(Signal::SIGKILL)?;
    let live = tracer.finish()?;
    ensure_same(&live.stdout, &arrived)?;
    let after = replay(&[&file], &[])?;
    ensure_same(&live.stdout, &after)?;
    after.explain((|| {
        ensure!(after.code == Some(0), "exit code {:?}", after.code);
        ensure!(
            after.said().contains("without its account"),
            "it is not said"
        );
        Ok(())
    })())
}

/// The trace goes on, the recording ends with a whole frame, and the exit code tells.
fn full_disk() -> Result<()> {
    let cluster = topology::pods()?;
    let disk = Disk::create("64k")?;
    let file = disk.path().join("run.skb");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["-w", name, "--print"]].concat())?;
    // Until it has said that it has no room.
    let mut sent = 0;
    wait::until("the disk to be full", SOON, || {
        cluster.send(100)?;
        sent += 100;
        Ok(tracer.said().contains("the recording ends").then_some(()))
    })?;
    let live = tracer.stop()?;
    live.in_short().explain((|| {
        ensure!(live.code == Some(2), "exit code {:?}", live.code);
        ensure!(
            live.said().contains(name),
            "the message does not name {name}"
        );
        let arrived = live.stdout.iter().filter(|line| line.ends_with(":udp_rcv"));
        ensure!(
            arrived.count() == sent,
            "not all {sent} datagrams were printed"
        );
        Ok(())
    })())?;
    let replayed = replay(&[&file], &[])?;
    ensure!(
        replayed.code == Some(0),
        "{}",
        replayed.in_short().transcript()
    );
    let kept = replayed.stdout.len();
    ensure!(kept > 100, "{kept} lines were recorded");
    let kept = live
        .stdout
        .get(..kept)
        .context("more was recorded than printed")?;
    ensure_same(kept, &replayed)
}

/// All files of a run together print what it printed; each alone can be read.
fn rotated() -> Result<()> {
    let cluster = topology::pods()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("run.skb");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["-w", name, "--print", "--rotate", "64K"]].concat())?;
    wait::until("three files", SOON, || {
        cluster.send(100)?;
        Ok(scratch.path().join("run.skb.2").exists().then_some(()))
    })?;
    let live = tracer.stop()?;
    let mut files = vec![file.clone()];
    files.extend(
        (1..)
            .map(|part| scratch.path().join(format!("run.skb.{part}")))
            .take_while(|part| part.exists()),
    );
    for file in &files {
        let length = fs::metadata(file)?.len();
        ensure!(length < 512 << 10, "a file of {length} bytes");
    }
    let files: Vec<&Path> = files.iter().map(|file| &**file).collect();
    let all = replay(&files, &[])?;
    ensure_same(&live.stdout, &all)?;
    ensure!(
        account(&live) == account(&all),
        "{}",
        all.in_short().transcript()
    );
    let last = replay(&files[files.len() - 1..], &["--no-header"])?;
    ensure!(
        last.code == Some(0) && live.stdout.ends_with(&last.stdout),
        "{}",
        last.in_short().transcript()
    );
    Ok(())
}

/// What was lost live is told again.
fn losses() -> Result<()> {
    let cluster = topology::pods()?;
    let scratch = Scratch::create()?;
    let file = scratch.path().join("run.skb");
    let name = file.to_str().context("a path of ASCII")?;
    let tracer = Tracer::start(&[PATH, &["--buffer", "64K", "-w", name]].concat())?;
    tracer.signal(Signal::SIGSTOP)?;
    cluster.send(500)?;
    tracer.signal(Signal::SIGCONT)?;
    let live = tracer.stop()?;
    let replayed = replay(&[&file], &[])?;
    replayed.in_short().explain((|| {
        let said = account(&replayed).context("no account")?;
        let recorded = said.replace("printed", "recorded");
        ensure!(live.stderr.contains(&recorded), "live: {}", live.said());
        ensure!(!said.contains(" 0 lost"), "nothing was lost");
        Ok(())
    })())
}
