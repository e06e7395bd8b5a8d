//! The benchmark: what skbtrace costs, counted in instructions on one emulated CPU.
//!
//! The network is the article's first scenario: a promiscuous bridge and a Service by
//! iptables-legacy. Everything is measured from outside, on the command as users get it. Figures
//! go to the standard output as they are found; the page's text comes last, between marks by which
//! `cargo xtask bench` finds it.

mod cases;
mod cost;
mod figure;
mod flat;
mod load;
mod loaded;
mod peers;
mod report;
mod runs;
mod subject;
mod usage;

use std::fs;
use std::thread;

use anyhow::{Context as _, Error, Result, ensure};

use crate::netns::Netns;
use crate::scenarios::{Skip, skip};
use crate::tracer::{run_to_end, skbtrace};
use cases::{Backend, Hooks, matching, rejecting, rejecting_unread, together, words};
use cost::Cost;
use figure::{Compared, Figure, Unit, Value};
use load::Load;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only what has this in its title.
    pub filter: Option<String>,
    /// Only what a rejected hit costs.
    pub rejected: bool,
    /// The peers too, from the disk.
    pub peers: bool,
}

/// What a measurement yields: rows of the table, and the numbers behind them.
struct Found {
    figures: Vec<Figure>,
    raw: String,
}

impl Found {
    const fn of(figures: Vec<Figure>) -> Self {
        Self {
            figures,
            raw: String::new(),
        }
    }
}

/// A measurement: its title, and what does it.
type Task<'a> = (String, Box<dyn Fn() -> Result<Found> + 'a>);

/// Measures what is asked for; yields whether all of it could be measured.
pub fn run(options: &Options) -> Result<bool> {
    let cpus = thread::available_parallelism()?;
    ensure!(
        cpus.get() == 1,
        "the benchmark counts on one CPU; this machine has {cpus} (see `cargo xtask bench`)"
    );
    ensure!(
        loaded::programs()? == 0,
        "other eBPF programs are loaded: when ours are gone could not be told"
    );
    let mut page = report::Page {
        kernel: read("/proc/sys/kernel/osrelease")?,
        version: version()?,
        figures: Vec::new(),
        raw: Vec::new(),
        peers: Vec::new(),
    };
    let load = Load::build()?;
    let elsewhere = Netns::create("elsewhere")?;
    let wanted = |title: &str| {
        let filter = options.filter.as_deref();
        filter.is_none_or(|filter| title.contains(filter))
    };

    let mut tasks = costs(&load, &page.kernel, options.rejected);
    if !options.rejected {
        tasks.extend(user_space(&load));
        tasks.extend(others(&load, &elsewhere));
    }
    for (title, measure) in tasks {
        if wanted(&title) {
            page.add(title.clone(), tried(title, measure()));
        }
    }
    if options.peers {
        for peer in peers::all() {
            if wanted(peer.name()) {
                page.peers.push(peer.measure(&load));
            }
        }
    }
    ensure!(
        !page.is_empty(),
        "no title contains {}",
        options.filter.as_deref().unwrap_or_default()
    );
    print!("{page}");
    Ok(!page.has_failures())
}

/// What a hit costs.
fn costs<'a>(load: &'a Load, kernel: &str, rejected: bool) -> Vec<Task<'a>> {
    // Since 6.2 programs read kernel memory by plain loads (bpf_rdonly_cast).
    let plain_loads = version_of(kernel) >= (6, 2);
    let mut tasks: Vec<Task<'a>> = Vec::new();
    for backend in Backend::ALL {
        // kprobe.multi can be attached since 5.18, and to modules since 6.2.
        if backend == Backend::Multi && !plain_loads {
            continue;
        }
        let limit = match (backend, plain_loads) {
            (Backend::Fentry, true) => 260.0,
            (Backend::Fentry, false) => 340.0,
            (Backend::Multi, _) => 400.0,
            (Backend::Kprobe, true) => 500.0,
            (Backend::Kprobe, false) => 600.0,
        };
        let title = format!("rejected, a hit, hooks alone: {}", backend.name());
        let what = title.clone();
        let measure = move || {
            let options = options(backend, &rejecting());
            let cost = Cost::measure(load, &options, false, false)?;
            let figure = Figure::new(&what, Unit::Instructions, cost.alone_per_hit());
            Ok(Found {
                figures: vec![
                    figure
                        .limit(limit)
                        .compared(Compared::Rejected)
                        .remark(remark(backend, &cost)),
                ],
                raw: cost.raw(),
            })
        };
        tasks.push((title, Box::new(measure)));
    }
    // Where the instructions of a rejected hit go: coming and going alone, then with the headers;
    // what is left is for following.
    for backend in Backend::ALL {
        if backend == Backend::Multi && !plain_loads {
            continue;
        }
        let parts = [
            ("rejected unread, not followed", rejecting_unread()),
            ("rejected, not followed", rejecting()),
        ];
        for (part, filter) in parts {
            let title = format!("{part}, a hit, hooks alone: {}", backend.name());
            let what = title.clone();
            let filter = together(&[filter, words(&["--no-follow"])]);
            let measure = move || {
                let cost = Cost::measure(load, &options(backend, &filter), false, false)?;
                let figure = Figure::new(&what, Unit::Instructions, cost.alone_per_hit());
                Ok(Found {
                    figures: vec![figure.remark(remark(backend, &cost))],
                    raw: cost.raw(),
                })
            };
            tasks.push((title, Box::new(measure)));
        }
    }
    // A return that is shown, as it comes and by kprobes alone.
    for (way, how) in [
        ("auto", Vec::new()),
        (Backend::Kprobe.name(), Backend::Kprobe.options()),
    ] {
        for (part, filter, matches) in [
            ("rejected", rejecting(), false),
            ("matched", matching(), true),
        ] {
            let title = format!("table verdict, {part}, a hit, hooks alone: {way}");
            let what = title.clone();
            let options = together(&[words(&["--iptable", "--no-follow"]), how.clone(), filter]);
            let measure = move || {
                let cost = Cost::measure(load, &options, matches, false)?;
                let figure = Figure::new(&what, Unit::Instructions, cost.alone_per_hit());
                Ok(Found {
                    figures: vec![figure.remark(cost.remark())],
                    raw: cost.raw(),
                })
            };
            if !(rejected && matches) {
                tasks.push((title, Box::new(measure)));
            }
        }
    }
    if rejected {
        return tasks;
    }
    for backend in Backend::ALL {
        let limit = match backend {
            Backend::Fentry => 750.0,
            Backend::Multi => 900.0,
            Backend::Kprobe => 1000.0,
        };
        // The printed line costs the same however it was come by.
        let live = backend == Backend::Fentry;
        let what = format!("matched, a hit, hooks alone: {}", backend.name());
        let printed = format!("matched and printed, a hit, live: {}", backend.name());
        let title = if live {
            format!("{what}; {printed}")
        } else {
            what.clone()
        };
        let measure = move || {
            let options = options(backend, &matching());
            let cost = Cost::measure(load, &options, true, live)?;
            let figure = Figure::new(&what, Unit::Instructions, cost.alone_per_hit());
            let mut figures = vec![
                figure
                    .limit(limit)
                    .compared(Compared::Matched)
                    .remark(remark(backend, &cost)),
            ];
            if live {
                let live = Figure::new(&printed, Unit::Instructions, cost.live_per_hit());
                figures.push(live.limit(2000.0).remark("to a file on a tmpfs"));
            }
            Ok(Found {
                figures,
                raw: cost.raw(),
            })
        };
        tasks.push((title, Box::new(measure)));
    }
    let title = "matched with --pcapng, a hit, hooks alone: fentry".to_owned();
    let what = title.clone();
    let measure = move || {
        let capture = words(&["--pcapng", "/dev/shm/skbtrace-bench"]);
        let options = options(Backend::Fentry, &together(&[matching(), capture]));
        let cost = Cost::measure(load, &options, true, false)?;
        let figure = Figure::new(&what, Unit::Instructions, cost.alone_per_hit());
        Ok(Found {
            figures: vec![figure.remark(remark(Backend::Fentry, &cost))],
            raw: cost.raw(),
        })
    };
    tasks.push((title, Box::new(measure)));
    tasks
}

fn options(backend: Backend, filter: &[String]) -> Vec<String> {
    let hooks = Hooks::for_backend(backend);
    together(&[hooks.options(), backend.options(), filter.to_vec()])
}

/// Says so if it is about other hooks than usual, or if none is attached in this way.
fn remark(backend: Backend, cost: &Cost) -> String {
    let mut remark = String::new();
    if !cost.count.by.iter().any(|(how, _)| how == backend.said()) {
        remark.push_str("NO HOOK IS ATTACHED THIS WAY; ");
    }
    let hooks = Hooks::for_backend(backend);
    if hooks != Hooks::Article {
        remark.push_str("modules have no types here, so only ");
        remark.push_str(hooks.name());
        remark.push_str("; ");
    }
    remark.push_str(&cost.remark());
    remark
}

/// What an event costs in user space, by what is made of it. Text goes nowhere: copying it into a
/// file is the kernel's.
fn user_space<'a>(load: &'a Load) -> Vec<Task<'a>> {
    let kinds: [(&str, &[&str], f64); 5] = [
        ("printed as a table", &["-o", "/dev/null"], 1200.0),
        // 1500 for the explaining.
        (
            "printed as a table and explained",
            &["--explain", "-o", "/dev/null"],
            2700.0,
        ),
        (
            "printed as JSON",
            &["--format", "json", "-o", "/dev/null"],
            1800.0,
        ),
        ("recorded", &["-w", "/dev/shm/skbtrace-bench"], 400.0),
        ("captured", &["--pcapng", "/dev/shm/skbtrace-bench"], 6000.0),
    ];
    let task = |(kind, kind_options, limit): (&str, &'static [&str], f64)| -> Task<'a> {
        let title = format!("an event in user space, live: {kind}");
        let what = title.clone();
        let measure = move || {
            let options = options(Backend::Fentry, &matching());
            let options = together(&[options, words(kind_options)]);
            let cost = Cost::measure(load, &options, true, true)?;
            let figure = Figure::new(&what, Unit::Instructions, cost.user_space_per_event());
            Ok(Found {
                figures: vec![figure.limit(limit).remark(
                    "from the buffer to /dev/null, or a file on a tmpfs; system calls included",
                )],
                raw: cost.raw(),
            })
        };
        (title, Box::new(measure))
    };
    kinds.into_iter().map(task).collect()
}

/// Whole runs, and what must not grow.
fn others<'a>(load: &'a Load, elsewhere: &'a Netns) -> Vec<Task<'a>> {
    let mut tasks: Vec<Task<'a>> = Vec::new();
    let title = "burst of 2000 packets".to_owned();
    tasks.push((title, Box::new(|| runs::burst(load, Hooks::Article))));
    for hooks in [Hooks::Sets, Hooks::All, Hooks::Article] {
        let title = format!("run, {}", hooks.name());
        tasks.push((title, Box::new(move || runs::quiet(hooks))));
    }
    let lists: [(&str, &str, [String; 8]); 2] = [
        (
            "growth from 1 to 8 hosts in the filter",
            "-H",
            std::array::from_fn(|n| format!("10.9.9.{}", n + 1)),
        ),
        (
            "growth from 1 to 8 ports in the filter",
            "--port",
            std::array::from_fn(|n| (n + 4).to_string()),
        ),
    ];
    for (title, option, values) in lists {
        let measure = move || flat::values(load, title, option, &values);
        tasks.push((title.to_owned(), Box::new(measure)));
    }
    let title = "growth from 17 to 150 hooks, of which the packets meet the same";
    tasks.push((title.to_owned(), Box::new(|| flat::hooks(load, title))));
    for (title, matches) in [
        ("growth from 0 to 10000 followed packets, rejected", false),
        ("growth from 0 to 10000 followed packets, matched", true),
    ] {
        let measure = move || flat::followed(load, elsewhere, title, matches);
        tasks.push((title.to_owned(), Box::new(measure)));
    }
    tasks
}

/// What came of a measurement; one that failed or cannot be made is a row that says so.
fn tried(title: String, result: Result<Found>) -> Found {
    let value = match result {
        Ok(found) => return found,
        Err(error) => without(&error),
    };
    Found::of(vec![Figure::without(title, value)])
}

/// Why there is no figure.
fn without(error: &Error) -> Value {
    match error.downcast_ref::<Skip>() {
        Some(Skip(reason)) => Value::Skipped(reason.clone()),
        None => {
            eprintln!("skbtrace-tests: {error:#}");
            let first = format!("{error:#}");
            Value::Failed(first.lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// Skips the measurement if skbtrace has no such option.
fn offers(option: &str) -> Result<()> {
    let mut command = skbtrace();
    command.arg("--help");
    let help = run_to_end(command)?;
    let words = help.stdout.iter().flat_map(|line| line.split_whitespace());
    if !words
        .map(|word| word.trim_end_matches(','))
        .any(|word| word == option)
    {
        return skip(format!("skbtrace has no option {option}"));
    }
    Ok(())
}

/// Major and minor number.
fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version_of("6.12.117+deb13-cloud-amd64"), (6, 12));
        assert!(version_of("5.10.0-46-cloud-amd64") < version_of("6.1.0"));
    }

    #[test]
    fn a_failure_is_a_row() {
        let found = tried("x".to_owned(), Err(Skip("why".to_owned()).into()));
        assert_eq!(found.figures[0].verdict(), "SKIP: why");
        let found = tried("x".to_owned(), Err(anyhow::anyhow!("a\nb")));
        assert_eq!(found.figures[0].verdict(), "**failed**: a");
    }
}
