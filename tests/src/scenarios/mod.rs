//! The trials, by theme, and how they are run.
//!
//! Each trial builds what it needs and removes it, so any of them can be run alone. They run one
//! after another, or take turns under one tracer ([`turns`]): hooks see the traffic of the whole
//! machine. What this kernel or this guest cannot do is a [`Skip`], found out where it matters and
//! not from a version number.

mod article;
mod backends;
mod changes;
mod command;
mod conntrack;
mod deciders;
pub mod drops;
mod edges;
pub mod explained;
mod filters;
mod following;
mod formats;
mod functions;
mod groundwork;
mod ipsec;
mod journeys;
mod lifecycle;
mod lit;
mod load;
mod lockdown;
pub mod machines;
pub mod models;
mod nat;
mod native;
mod neighbours;
mod pcapng;
mod programs;
mod protocols;
mod queues;
mod recordings;
mod retransmissions;
mod shared;
mod sockets;
mod top;
mod tunnel_headers;
mod tunnels;
mod turns;

use std::cmp::Reverse;
use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub use self::lit::open_tun;
use crate::wait;

/// The reason why a trial cannot be held here.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a trial without a verdict.
pub fn skip<T>(reason: impl Into<String>) -> Result<T> {
    bail!(Skip(reason.into()))
}

/// How long each trial took.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// Names those that took longest: a run is to stay short.
fn tell_slowest(how_many: usize) {
    let Ok(mut times) = TIMES.lock() else {
        return;
    };
    times.sort_by_key(|(time, _)| Reverse(*time));
    println!("slowest:");
    for (time, name) in times.iter().take(how_many) {
        println!("  {:6.1} s {name}", time.as_secs_f64());
    }
}

/// Makes a trial of a function that fails, passes or skips.
pub fn trial(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let name = name.into();
    let shown = name.clone();
    Trial::ignorable_test(name, move || {
        let start = Instant::now();
        let outcome = wait::check_interrupted().and_then(|()| run());
        if let Ok(mut times) = TIMES.lock() {
            times.push((start.elapsed(), shown.clone()));
        }
        match outcome {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => verdict(&shown, &error),
        }
    })
}

fn verdict(name: &str, error: &Error) -> Result<Completion, Failed> {
    match error.downcast_ref::<Skip>() {
        Some(skip) => {
            println!("SKIP {name}: {skip}");
            Ok(Completion::ignored_with(skip))
        }
        None => Err(format!("{error:#}").into()),
    }
}

/// Runs the trials whose name contains `filter`, or lists them; tells how long the `told` slowest
/// took.
pub fn run(filter: Option<String>, list: bool, told: usize) -> ExitCode {
    // What the trials stand on, for when one of them fails: they show it themselves otherwise. And what
    // takes a second machine.
    let trials = match filter.as_deref() {
        Some(name) if name.starts_with("network_") => groundwork::trials(),
        Some(name) if name.starts_with("dropped_") => drops::groundwork(),
        Some(name) if name.starts_with(machines::NAME) => machines::trials(),
        filter => all(filter),
    };
    let arguments = Arguments {
        filter,
        list,
        test_threads: Some(1),
        ..Arguments::default()
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !list {
        tell_slowest(told);
    }
    conclusion.exit_code()
}

fn all(filter: Option<&str>) -> Vec<Trial> {
    // The first of `changes` needs a kernel on which nothing has loaded the bridge yet; after
    // `lockdown` nothing can be traced any more.
    let themes = [
        changes::trials(),
        article::trials(),
        protocols::trials(),
        filters::trials(),
        functions::trials(),
        formats::trials(),
        lifecycle::trials(),
        command::trials(),
        drops::trials(filter),
        following::trials(),
        nat::trials(),
        native::trials(),
        conntrack::trials(),
        deciders::trials(),
        tunnels::trials(),
        tunnel_headers::trials(),
        ipsec::trials(),
        queues::trials(),
        neighbours::trials(),
        sockets::trials(),
        retransmissions::trials(),
        journeys::trials(),
        explained::trials(filter),
        models::trials(),
        backends::trials(),
        programs::trials(),
        edges::trials(),
        pcapng::trials(),
        recordings::trials(),
        top::trials(),
        lit::trials(),
        load::trials(),
        lockdown::trials(),
    ];
    themes.into_iter().flatten().collect()
}
