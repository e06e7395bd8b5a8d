//! `--all`: functions that the catalogue does not have.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::story::hop;
use crate::topology::{self, CLIENT, PORT, SERVER};
use crate::tracer::{Tracer, run_to_end, skbtrace};
use crate::traffic;

/// One that is not in the catalogue, and two that are.
const NARROW: &str = "^(__ip_local_out|netif_skb_features|udp_rcv)$";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("all_functions", all_functions),
        trial("all_without_functions", all_without_functions),
    ]
}

/// A datagram is seen by functions that the catalogue does not have, and the catalogue's keep what
/// it knows of them.
fn all_functions() -> Result<()> {
    let cluster = topology::pods()?;
    let mut args = vec!["-v", "--all", "--host", CLIENT, "--proto", "udp"];
    let at_once = attaches_at_once()?;
    if !at_once {
        // One by one, all of them take minutes.
        args.extend(["--func", NARROW]);
    }
    let tracer = Tracer::start(&args)?;
    let (client, server) = (&cluster.client, &cluster.server);
    traffic::exchange_one(client, server, topology::at(SERVER, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        outcome.in_order(&[
            hop(&["__ip_local_out"]).inside(client),
            hop(&["netif_skb_features"]).inside(client).on("eth0"),
            hop(&["udp_rcv"]).inside(server).on("eth0"),
        ])?;
        if at_once {
            let said = outcome.said();
            let attached = said.lines().filter(|line| line.contains(" attached "));
            ensure!(attached.count() > 1000, "fewer than a thousand functions");
        }
        Ok(())
    })())
}

/// What leaves no function is refused, with the options that did so.
fn all_without_functions() -> Result<()> {
    let mut command = skbtrace();
    command.args(["--all", "--module", "no_such_module"]);
    let outcome = run_to_end(command)?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(2), "exit code {:?}", outcome.code);
        ensure!(
            outcome.said().contains("--module"),
            "the message does not name the option"
        );
        Ok(())
    })())
}

/// Whether this kernel attaches many functions in one call.
fn attaches_at_once() -> Result<bool> {
    let mut command = skbtrace();
    command.arg("check");
    let outcome = run_to_end(command)?;
    let line = outcome
        .stdout
        .iter()
        .find(|line| line.starts_with("kprobe.multi"))
        .context("check says nothing of kprobe.multi")?;
    Ok(line.split_whitespace().nth(1) == Some("ok"))
}
