//! Figures of whole runs: starting, a burst at full speed, idling, stopping, memory.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cases::{Hooks, matching, together, words};
use super::figure::{Compared, Figure, Unit};
use super::load::Load;
use super::subject::{Ended, Subject, Usage, settle};
use super::usage::{self, Memory, megabytes};
use super::{Found, offers};

/// Packets of the burst.
const BURST: u32 = 2000;
/// How long skbtrace is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Targets of a run's figures; `None` where there is none.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// CPU seconds until it listens.
    ready: Option<f64>,
    /// Seconds until the prompt is back.
    prompt: Option<f64>,
    /// Seconds until nothing is attached.
    detached: Option<f64>,
}

/// Seconds until nothing is attached any more.
const DETACHED: f64 = 5.0;
/// Without the event buffer.
const MEMORY_MB: f64 = 15.0;

const fn limits(hooks: Hooks) -> Limits {
    let (ready, prompt) = match hooks {
        Hooks::Article | Hooks::Own => (None, None),
        Hooks::Sets => (Some(0.5), Some(0.5)),
        Hooks::All => (Some(1.0), Some(0.7)),
    };
    Limits {
        ready,
        prompt,
        detached: Some(DETACHED),
    }
}

/// A run without filter in which nothing happens: started, watched, stopped by SIGINT.
pub fn quiet(hooks: Hooks) -> Result<Found> {
    if hooks == Hooks::All {
        offers("--all")?;
    }
    settle()?;
    let subject = Subject::start(&hooks.options())?;
    subject.wait_idle()?;
    let memory = Memory::of(subject.pid())?;
    let (cpu, sleeps) = (subject.cpu()?, usage::sleeps(subject.pid())?);
    // Not a wait for anything: what is measured is that nothing happens.
    thread::sleep(IDLE);
    let idle = subject.cpu()?.saturating_sub(cpu);
    let wakeups = usage::sleeps(subject.pid())?.saturating_sub(sleeps);
    let start = subject.start;
    let Ended {
        outcome,
        stop,
        detached,
        ..
    } = subject.end()?;
    let (attached, _) = outcome.explain(outcome.attached.context("nothing said of attaching"))?;

    let (what, limits) = (hooks.name(), limits(hooks));
    // Peers are measured on the 17 functions.
    let like = |figure: Figure, compared| match hooks {
        Hooks::Article => figure.compared(compared),
        _ => figure,
    };
    let figures = vec![
        like(
            seconds(format!("{what}: ready, CPU"), start.cpu)
                .limit(limits.ready)
                .remark(format!("{attached} hooks; elapsed {}", text(start.elapsed))),
            Compared::Ready,
        ),
        like(
            seconds(
                format!("{what}: prompt back after Ctrl-C, elapsed"),
                stop.elapsed,
            )
            .limit(limits.prompt)
            .remark(cpu_of(stop)),
            Compared::Exit,
        ),
        seconds(
            format!("{what}: nothing attached after Ctrl-C, elapsed"),
            detached,
        )
        .limit(limits.detached),
        like(memory_of(what, memory), Compared::Memory),
        like(
            Figure::new(
                format!("{what}: CPU when idle"),
                Unit::Percent,
                part(idle, IDLE),
            )
            .limit(0.0)
            .remark(format!("{wakeups} wake-ups in {} s", IDLE.as_secs())),
            Compared::Idle,
        ),
    ];
    Ok(Found::of(figures))
}

/// CPU time as a part of the time that passed, in hundredths.
pub fn part(used: Duration, passed: Duration) -> f64 {
    used.as_secs_f64() / passed.as_secs_f64() * 100.0
}

fn seconds(what: String, took: Duration) -> Figure {
    Figure::new(what, Unit::Seconds, took.as_secs_f64())
}

fn text(took: Duration) -> String {
    Unit::Seconds.text(took.as_secs_f64())
}

fn cpu_of(stop: Usage) -> String {
    format!("CPU {}", text(stop.cpu))
}

fn memory_of(what: &str, memory: Memory) -> Figure {
    Figure::new(
        format!("{what}: memory without the buffer"),
        Unit::Megabytes,
        memory.own_mb(),
    )
    .limit(MEMORY_MB)
    .remark(format!(
        "{:.1} MB anonymous, {:.1} MB of the program file; buffer {:.1} MB as mapped (twice)",
        megabytes(memory.anonymous),
        megabytes(memory.file),
        megabytes(memory.buffer)
    ))
}

/// [`BURST`] packets at full speed, all of them matching, with the default buffer.
pub fn burst(load: &Load, hooks: Hooks) -> Result<Found> {
    let options = together(&[hooks.options(), matching(), words(&["-v"])]);
    let subject = Subject::start(&options)?;
    settle()?;
    load.send(BURST)?;
    subject.wait_idle()?;
    let memory = Memory::of(subject.pid())?;
    let Ended { outcome, lines, .. } = subject.end()?;
    let counts = outcome.produced.zip(outcome.printed).zip(outcome.lost);
    let ((produced, printed), lost) =
        outcome.explain(counts.context("skbtrace gave no account"))?;

    let what = format!("burst of {BURST} packets, {}", hooks.name());
    let silent = number(produced)? - number(printed)? - number(lost)?;
    Ok(Found::of(vec![
        Figure::new(format!("{what}: lost"), Unit::Events, number(lost)?)
            .limit(0.0)
            .remark(format!("{produced} events, {lines} lines")),
        Figure::new(
            format!("{what}: neither printed nor counted as lost"),
            Unit::Events,
            silent,
        )
        .limit(0.0),
        memory_of(&what, memory),
    ]))
}

fn number(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
