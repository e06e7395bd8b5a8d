//! Costs that must not grow: with the values of a filter, with the hooks that are attached, with the
//! packets that are followed.
//!
//! Each is measured twice, small and large, and told as the growth in hundredths.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Found;
use super::cases::{Backend, FUNCTIONS, Hooks, exactly, together, words};
use super::cost::{self, Cost, per_hit};
use super::figure::{Figure, Unit};
use super::load::Load;
use super::subject::{Subject, settle};
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;
use crate::topology::{CLIENT, at};
use crate::tracer::{run_to_end, skbtrace};
use crate::traffic;

/// Growth that still counts as none, in hundredths.
const LIMIT: f64 = 10.0;
/// Hooks in the large catalogue.
const HOOKS: usize = 150;
/// What brings more of them along, and no packet into another path.
const MODULES: &[&str] = &[
    "ip6_tables",
    "arp_tables",
    "ebtables",
    "nf_tables",
    "nft_chain_nat",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nf_flow_table",
    "ip_vs",
    "vxlan",
    "geneve",
    "ipip",
    "ip_gre",
    "ip6_tunnel",
    "macvlan",
    "ipvlan",
    "tun",
    "8021q",
    "ifb",
    "wireguard",
    "act_mirred",
    "cls_bpf",
    "sch_fq_codel",
    "sch_tbf",
    "af_packet",
];
/// Packets held.
const HELD: u32 = 10_000;
/// Where they wait.
const LOOPBACK: &str = "127.0.0.1";
const HELD_PORT: u16 = 7777;

fn grown(what: &str, small: f64, large: f64) -> Figure {
    Figure::new(what, Unit::Percent, (large / small - 1.0) * 100.0)
        .limit(LIMIT)
        .remark(format!("{small:.0} → {large:.0} instructions a hit"))
}

/// One value and eight of an option that the load does not match.
pub fn values(load: &Load, what: &str, option: &str, values: &[String; 8]) -> Result<Found> {
    let measure = |count: usize| {
        let list = values[..count].join(",");
        let options = together(&[
            Hooks::for_backend(Backend::Fentry).options(),
            Backend::Fentry.options(),
            words(&[option, &list]),
        ]);
        Cost::measure(load, &options, false, false)
    };
    let (one, eight) = (measure(1)?, measure(8)?);
    Ok(Found {
        figures: vec![grown(what, one.alone_per_hit(), eight.alone_per_hit())],
        raw: format!("one: {}\neight: {}", one.raw(), eight.raw()),
    })
}

/// The same functions hit, with few and with many others attached that are not.
pub fn hooks(load: &Load, what: &str) -> Result<Found> {
    let silent = not_hit(load)?;
    let many: Vec<String> = words(&FUNCTIONS).into_iter().chain(silent).collect();
    let measure = |names: &[String]| {
        // A mark, for it leaves no hook out.
        let options = words(&["--set", "all", "--mark", "0x5eed", "--func"]);
        let options = together(&[options, vec![exactly(names)], Backend::Multi.options()]);
        Cost::measure(load, &options, false, false)
    };
    let few = measure(&many[..FUNCTIONS.len()])?;
    let all = measure(&many[..many.len().min(HOOKS)])?;
    let mut figure = grown(what, few.alone_per_hit(), all.alone_per_hit());
    let _ = write!(
        figure.remarks,
        "; {} → {} hooks attached, {:.0} → {:.0} hits a packet",
        total(&few),
        total(&all),
        few.count.hits,
        all.count.hits
    );
    Ok(Found {
        figures: vec![figure],
        raw: format!("few: {}\nmany: {}", few.raw(), all.raw()),
    })
}

fn total(cost: &Cost) -> usize {
    cost.count.by.iter().map(|(_, count)| count).sum()
}

/// Hooks of the catalogue that a packet of the load does not meet, those of further modules
/// included.
fn not_hit(load: &Load) -> Result<Vec<String>> {
    for module in MODULES {
        // Where there is none, there are fewer hooks.
        let _ = process::run("modprobe", &[module]);
    }
    let mut command = skbtrace();
    command.args(["hooks", "--set", "all"]);
    let listed = run_to_end(command)?;
    let hooks: Vec<(String, String)> = listed.stdout.iter().filter_map(|l| attachable(l)).collect();
    ensure!(
        hooks.len() > FUNCTIONS.len(),
        "`skbtrace hooks` lists too few"
    );
    let symbols: BTreeSet<&str> = hooks.iter().map(|(_, symbol)| symbol.as_str()).collect();
    let met = met(load, &symbols)?;
    ensure!(met.contains("ip_rcv"), "the load was not seen by ftrace");
    Ok(hooks
        .into_iter()
        .filter(|(name, symbol)| {
            !met.contains(symbol.as_str()) && !FUNCTIONS.contains(&name.as_str())
        })
        .map(|(name, _)| name)
        .collect())
}

/// Name and symbol of a line of `skbtrace hooks`, if it is a function that is there. A name with a
/// colon is a further row of a function that has one already.
fn attachable(line: &str) -> Option<(String, String)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (name, symbol, state) = (columns.first()?, columns.get(4)?, columns.get(7)?);
    let is_function = !name.contains(':') && !symbol.contains(':');
    (is_function && *state == "attachable").then(|| ((*name).to_owned(), (*symbol).to_owned()))
}

/// Which of these functions packets of the load pass, as the kernel's function tracer sees them.
fn met(load: &Load, symbols: &BTreeSet<&str>) -> Result<BTreeSet<String>> {
    let tracing = Path::new("/sys/kernel/tracing");
    let set = |file: &str, value: &str| {
        fs::write(tracing.join(file), value).with_context(|| format!("cannot write {file}"))
    };
    let tracers = fs::read_to_string(tracing.join("available_tracers"))?;
    if !tracers
        .split_whitespace()
        .any(|tracer| tracer == "function")
    {
        return skip("this kernel has no function tracer to find hooks that are not hit");
    }
    {
        let mut filter = fs::File::create(tracing.join("set_ftrace_filter"))?;
        for symbol in symbols {
            // One that cannot be traced cannot be attached either.
            let _ = filter.write_all(format!("{symbol} ").as_bytes());
        }
    }
    set("current_tracer", "function")?;
    let sent = load.send(3);
    let text = fs::read_to_string(tracing.join("trace"));
    set("current_tracer", "nop")?;
    set("set_ftrace_filter", "")?;
    sent?;
    Ok(text?.lines().filter_map(called).collect())
}

/// The function of a line of ftrace: `task-1 [000] ..... 1.0: ip_rcv <-__netif_receive_skb`.
fn called(line: &str) -> Option<String> {
    let (start, _) = line.split_once(" <-")?;
    Some(start.rsplit_once(": ")?.1.to_owned())
}

/// No packet followed, and [`HELD`], which matched and wait in a socket that nobody reads. They go
/// over another network than the load.
pub fn followed(load: &Load, elsewhere: &Netns, what: &str, matches: bool) -> Result<Found> {
    elsewhere.ip("link set lo up\n")?;
    let filter = if matches {
        format!("{LOOPBACK},{CLIENT}")
    } else {
        LOOPBACK.to_owned()
    };
    let options = together(&[
        Hooks::for_backend(Backend::Fentry).options(),
        Backend::Fentry.options(),
        words(&["-H", &filter, "--proto", "udp"]),
    ]);
    let count = cost::count(load, &options)?;
    let base = cost::base(load)?;

    let scope = Subject::start(&options)?;
    settle()?;
    let none = cost::alone(load, &scope)?;
    let held = hold(elsewhere)?;
    scope.wait_idle()?;
    let many = cost::alone(load, &scope)?;
    let waiting = drain(&held)?;
    let outcome = scope.end()?.outcome;
    let forgotten = forgotten(&outcome.stderr);
    let complete = || {
        ensure!(waiting == HELD, "{waiting} packets were held, not {HELD}");
        ensure!(outcome.lost == Some(0), "events were lost");
        ensure!(
            forgotten <= HELD / 100,
            "{forgotten} of the packets were not followed"
        );
        Ok(())
    };
    outcome.explain(complete())?;
    let mut figure = grown(
        what,
        per_hit(&none, &base, count.hits),
        per_hit(&many, &base, count.hits),
    );
    let _ = write!(figure.remarks, "; {forgotten} forgotten for want of room");
    Ok(Found {
        figures: vec![figure],
        raw: format!(
            "{:.2} hits and {:.2} events a packet\n  base  {}\n  none  {}\n  {HELD} {}",
            count.hits,
            count.events,
            base.raw(),
            none.raw(),
            many.raw()
        ),
    })
}

/// Packets of which skbtrace says that it followed them no longer.
fn forgotten(said: &[String]) -> u32 {
    let count = said.iter().find_map(|line| {
        let line = line.strip_prefix("skbtrace: ")?;
        line.split_once(" packets not followed to their end")?
            .0
            .parse()
            .ok()
    });
    count.unwrap_or(0)
}

/// Sends packets to a socket that keeps them.
fn hold(net: &Netns) -> Result<UdpSocket> {
    let address = at(LOOPBACK, HELD_PORT)?;
    let receiver = traffic::udp_socket(net, address)?;
    traffic::make_room(&receiver)?;
    let sender = traffic::udp_socket(net, at(LOOPBACK, 0)?)?;
    for _ in 0..HELD {
        traffic::send(&sender, address, b"held")?;
    }
    Ok(receiver)
}

/// Takes all that there is, and counts it.
fn drain(socket: &UdpSocket) -> Result<u32> {
    let mut count = 0;
    while traffic::try_receive(socket)?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_are_there_are_taken() {
        let line =
            "init_conntrack conntrack netfilter hop init_conntrack.isra.0 skb=4 nf_conntrack";
        let there = format!("{line}  attachable");
        assert_eq!(
            attachable(&there),
            Some((
                "init_conntrack".to_owned(),
                "init_conntrack.isra.0".to_owned()
            ))
        );
        assert_eq!(
            attachable(&format!("{line}  absent: no such function")),
            None
        );
        assert_eq!(
            attachable("x s s hop tracepoint:x skb=2 vmlinux attachable"),
            None
        );
        assert_eq!(attachable(""), None);
    }

    #[test]
    fn a_line_of_ftrace_names_the_function() {
        let line = "  skbtrace: t-148 [000] b.s2.  12.345678: ip_rcv <-__netif_receive_skb";
        assert_eq!(called(line).as_deref(), Some("ip_rcv"));
        assert_eq!(called("# tracer: function"), None);
    }

    #[test]
    fn packets_that_lost_their_place_are_counted() {
        let said = words(&[
            "skbtrace: 50000 events printed, 0 lost",
            "skbtrace: 8 packets not followed to their end (too many at once); a larger",
        ]);
        assert_eq!(forgotten(&said), 8);
        assert_eq!(forgotten(&said[..1]), 0);
    }
}
