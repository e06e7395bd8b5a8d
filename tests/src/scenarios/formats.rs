//! Formats for programs: the same traffic as in the table, told by value.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::trial;
use crate::demo::{OPTIONS, SCENARIOS};
use crate::frontend::Frontend;
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, PORT, SERVER, SERVER_MAC, SERVICE};
use crate::tracer::{Outcome, Tracer};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("json", json_tells_what_the_table_tells),
        trial("json_closed_pipe", json_closed_pipe),
        trial("json_tells_of_losses", json_tells_of_losses),
    ]
}

/// The options of the demo with the format.
fn as_json() -> Vec<&'static str> {
    [OPTIONS, &["--format", "json"]].concat()
}

/// The article's first scenario, traced as a table and then, in a cluster of its own, as JSON.
fn json_tells_what_the_table_tells() -> Result<()> {
    let (cluster, tracer) = send(OPTIONS)?;
    let table = tracer.stop()?;
    let rows = table.rows.iter().map(|row| Seen {
        place: place(&cluster, row.netns),
        interface: Some(row.iface.clone()).filter(|name| name != "nil"),
        dst: row.pkt.rsplit_once("->").map(|(_, dst)| dst.to_owned()),
        what: row.name().to_owned(),
    });
    let rows: Vec<_> = rows.collect();
    // What is left of a cluster would be seen again.
    drop(cluster);
    let (cluster, tracer) = send(&as_json())?;
    let json = tracer.stop_unparsed()?;
    table.explain(json.explain(compare(&cluster, rows, &json)))
}

/// Sends the datagram past a tracer.
fn send(options: &[&str]) -> Result<(Cluster, Tracer)> {
    let scenario = &SCENARIOS[0];
    let cluster = Cluster::build(scenario.plan(Frontend::first_that_works()?))?;
    let tracer = Tracer::start(options)?;
    scenario.send(&cluster)?;
    Ok((cluster, tracer))
}

/// What both formats tell of an event, whatever the run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    place: &'static str,
    interface: Option<String>,
    dst: Option<String>,
    what: String,
}

fn place(cluster: &Cluster, netns: u32) -> &'static str {
    let places = [
        (&cluster.client, "client"),
        (&cluster.node1, "node1"),
        (&cluster.server, "server"),
    ];
    let place = places.iter().find(|(place, _)| place.inode() == netns);
    place.map_or("elsewhere", |(_, name)| name)
}

fn compare(cluster: &Cluster, mut rows: Vec<Seen>, json: &Outcome) -> Result<()> {
    ensure!(json.lost == Some(0), "events were lost");
    let lines = json
        .stdout
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
        .collect::<Result<Vec<Value>>>()?;
    ensure!(
        u64::try_from(lines.len()).ok() == json.printed,
        "the account has another number than {} lines",
        lines.len()
    );
    let told = lines.iter().map(|line| seen(cluster, line));
    let mut told = told.collect::<Result<Vec<_>>>()?;
    // The copy and the original may go their ways on two CPUs.
    told.sort();
    rows.sort();
    ensure!(
        told == rows,
        "the table says:\n{rows:#?}\nand the JSON:\n{told:#?}"
    );
    the_story(cluster, &lines)
}

fn seen(cluster: &Cluster, line: &Value) -> Result<Seen> {
    let what = match line["event"].as_str() {
        Some("verdict") => {
            let part = |key: &str| line["verdict"][key].as_str().unwrap_or("?").to_owned();
            let family = &line["verdict"]["family"];
            let parts = [part("table"), part("chain"), part("verdict")];
            format!("{family}.{}", parts.join("."))
        }
        _ => text(line, "/function")?.to_owned(),
    };
    let (dst, port) = (text(line, "/packet/dst")?, &line["packet"]["dst_port"]);
    Ok(Seen {
        place: place(
            cluster,
            u32::try_from(line["netns"]["inode"].as_u64().unwrap_or(0))?,
        ),
        interface: line["interface"]["name"].as_str().map(str::to_owned),
        dst: Some(format!("{dst}:{port}")),
        what,
    })
}

/// The story of the duplicate, by values of their own.
fn the_story(cluster: &Cluster, lines: &[Value]) -> Result<()> {
    let first = lines.first().context("no line")?;
    has(
        first,
        &[
            ("/type", json!("event")),
            ("/schema", json!(1)),
            ("/event", json!("hop")),
            ("/packet_id", json!(1)),
            ("/has_parent", json!(false)),
            ("/netns/inode", json!(cluster.client.inode())),
            ("/netns/name", json!(cluster.client.name())),
            ("/packet/kind", json!("udp")),
            ("/packet/src", json!(CLIENT)),
            ("/packet/src_port", json!(CLIENT_PORT)),
            ("/packet/dst", json!(SERVICE)),
            ("/packet/dst_port", json!(PORT)),
        ],
    )?;
    let nat = |line: &&Value| {
        line["verdict"]["table"] == "nat" && line["verdict"]["chain"] == "PREROUTING"
    };
    let nat = lines.iter().find(nat).context("no verdict of nat")?;
    has(
        nat,
        &[
            ("/event", json!("verdict")),
            ("/packet_id", json!(1)),
            ("/verdict/verdict", json!("ACCEPT")),
            ("/verdict/family", json!(2)),
            ("/verdict/hook", json!(0)),
            ("/stage", json!("netfilter")),
            ("/interface/name", json!("cbr0")),
            ("/interface/link", json!("bridge")),
            ("/netns/inode", json!(cluster.node1.inode())),
        ],
    )?;
    let copied = |line: &&Value| line["event"] == "clone";
    let clone = lines.iter().find(copied).context("no copy")?;
    has(
        clone,
        &[
            ("/function", json!("deliver_clone")),
            ("/hook", json!("skb_clone")),
            ("/packet_id", json!(1)),
            ("/packet/dst", json!(SERVER)),
        ],
    )?;
    let copy = text(clone, "/clone/skb")?;
    let is_the_copy = |line: &&Value| line["skb"] == copy;
    let forwarded = lines.iter().find(is_the_copy).context("no line of it")?;
    has(
        forwarded,
        &[
            ("/packet_id", json!(2)),
            ("/parent_id", json!(1)),
            ("/has_parent", json!(true)),
            ("/head", clone["head"].clone()),
        ],
    )?;
    let last = lines.iter().rfind(is_the_copy).context("no line of it")?;
    let mac = text(last, "/dest_mac")?;
    ensure!(crate::row::parse_mac(mac) == crate::row::parse_mac(SERVER_MAC));
    for pair in lines.windows(2) {
        ensure!(
            text(&pair[0], "/time")? <= text(&pair[1], "/time")?,
            "times decrease"
        );
    }
    Ok(())
}

/// `skbtrace --format json … | head -1` is a success, and the line is whole.
fn json_closed_pipe() -> Result<()> {
    let scenario = &SCENARIOS[0];
    let cluster = Cluster::build(scenario.plan(Frontend::first_that_works()?))?;
    let (reader, writer) = std::io::pipe()?;
    let mut tracer = Tracer::spawn(&as_json(), Stdio::from(writer), Stdio::piped())?;
    tracer.wait_ready()?;
    scenario.send(&cluster)?;
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line)?;
    drop(reader);
    let line: Value = serde_json::from_str(&line).with_context(|| format!("line {line:?}"))?;
    has(&line, &[("/packet/dst", json!(SERVICE))])?;
    scenario.send(&cluster)?;
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

fn text<'a>(line: &'a Value, at: &str) -> Result<&'a str> {
    let value = line.pointer(at).and_then(Value::as_str);
    value.with_context(|| format!("no string at {at} of {line}"))
}

fn has(line: &Value, expected: &[(&str, Value)]) -> Result<()> {
    for (at, expected) in expected {
        ensure!(
            line.pointer(at) == Some(expected),
            "{at} is not {expected} in {line}"
        );
    }
    Ok(())
}

/// What the account says was lost is among the lines, too.
fn json_tells_of_losses() -> Result<()> {
    let cluster = topology::pods()?;
    let tracer = Tracer::start(&[&as_json()[..], &["--buffer", "64K"]].concat())?;
    tracer.signal(Signal::SIGSTOP)?;
    cluster.send(500)?;
    tracer.signal(Signal::SIGCONT)?;
    let outcome = tracer.stop_unparsed()?;
    outcome.in_short().explain((|| {
        let mut lost = 0;
        for line in &outcome.stdout {
            let line: Value = serde_json::from_str(line).context("not JSON")?;
            if line["type"] == "lost" {
                lost += line["events"].as_u64().context("a number")?;
            }
        }
        ensure!(lost > 0, "no line of lost events");
        ensure!(outcome.lost == Some(lost), "{lost} lost by the lines");
        Ok(())
    })())
}
