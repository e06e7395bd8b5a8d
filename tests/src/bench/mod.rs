//! The benchmark: what skbtrace costs, counted in instructions on one emulated CPU.
//!
//! The network is the article's first scenario: a promiscuous bridge and a Service by
//! iptables-legacy. Everything is measured from outside, on the command as users get it. Figures
//! go to the standard output as they are found; the page's text comes last, between two marks by
//! which `cargo xtask bench` finds it.

mod cases;
mod cost;
mod load;
mod report;
mod runs;
mod subject;
mod usage;

use std::fs;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Netns;
use crate::tracer::{run_to_end, skbtrace};
use cases::{Case, Hooks, REJECTING, words};
use cost::Cost;
use load::Load;
use runs::{Burst, BurstCase, Quiet};

/// All that was found.
struct Figures {
    kernel: String,
    version: String,
    costs: Vec<(Case, Cost)>,
    bursts: Vec<(BurstCase, Burst)>,
    quiet: Vec<(String, Quiet)>,
}

/// Measures everything, or with a filter only the rows whose title or kind contains it.
pub fn run(filter: Option<&str>) -> Result<()> {
    let cpus = thread::available_parallelism()?;
    ensure!(
        cpus.get() == 1,
        "the benchmark counts on one CPU; this machine has {cpus} (see `cargo xtask bench`)"
    );
    let wanted = |title: &str| filter.is_none_or(|filter| title.contains(filter));
    let mut figures = Figures {
        kernel: read("/proc/sys/kernel/osrelease")?,
        version: version()?,
        costs: Vec::new(),
        bursts: Vec::new(),
        quiet: Vec::new(),
    };
    let load = Load::build()?;
    let elsewhere = Netns::create("elsewhere")?;

    for case in cases::all(&elsewhere) {
        let title = format!(
            "cost, {}, {}, {}",
            case.hooks.name(),
            case.transport.name(),
            case.title
        );
        if wanted(&title) {
            let cost = Cost::measure(&load, &case).with_context(|| title.clone())?;
            println!("{title}: {cost}");
            figures.costs.push((case, cost));
        }
    }
    for case in BurstCase::all() {
        let title = case.title();
        if wanted(&title) {
            let burst = case.measure(&load).with_context(|| title.clone())?;
            println!("{title}: {burst:?}");
            figures.bursts.push((case, burst));
        }
    }
    for hooks in [Hooks::Article, Hooks::Sets] {
        for (name, filter) in [("no filter", &[][..]), ("filter", REJECTING)] {
            let title = format!("run, {}, {name}", hooks.name());
            if wanted(&title) {
                let quiet = Quiet::measure(hooks, &words(filter)).with_context(|| title.clone())?;
                println!("{title}: {quiet:?}");
                figures.quiet.push((title, quiet));
            }
        }
    }
    ensure!(
        !(figures.costs.is_empty() && figures.bursts.is_empty() && figures.quiet.is_empty()),
        "no row's title contains {}",
        filter.unwrap_or_default()
    );
    println!(
        "BENCH-TABLE-BEGIN\n{}BENCH-TABLE-END",
        report::page(&figures)
    );
    Ok(())
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().to_owned())
}

fn version() -> Result<String> {
    let mut command = skbtrace();
    command.arg("--version");
    let outcome = run_to_end(command)?;
    let line = outcome.stdout.first().context("skbtrace has no version");
    outcome.explain(line.cloned())
}
