//! The page: tables of the figures, with the targets and the peers' figures beside them.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Figures;
use super::cases::{Case, FUNCTIONS};
use super::cost::Cost;
use super::runs::{BURST, Burst, BurstCase, IDLE, Quiet};
use super::usage::megabytes;

/// Instructions a hit.
const REJECTED_ALONE: f64 = 750.0;
const MATCHED_LIVE: f64 = 3500.0;
/// CPU time until it listens.
const READY: Duration = Duration::from_secs(1);
/// Without the event buffer.
const MEMORY_MB: f64 = 20.0;

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} a hit hooks alone, {:.0} live; {} hits and {} events a packet, {} lost\n  \
             base  {}\n  alone {}\n  live  {}",
            self.alone_per_hit(),
            self.live_per_hit(),
            self.hits,
            self.events,
            self.lost,
            self.base.raw(),
            self.alone.raw(),
            self.live.raw(),
        )
    }
}

/// The whole page but its title.
pub fn page(figures: &Figures) -> String {
    let mut page = format!(
        "{}, kernel {}, one CPU, backend kprobe.\n\n",
        figures.version, figures.kernel
    );
    page.push_str(METHOD);
    let _ = writeln!(page, "The 17 functions: `{}`.\n", FUNCTIONS.join("`, `"));
    costs(&mut page, &figures.costs);
    bursts(&mut page, &figures.bursts);
    quiet(&mut page, &figures.quiet);
    raw(&mut page, figures);
    page
}

const METHOD: &str = "\
A UDP sender in the client's network namespace sends to a Service, which iptables-legacy translates to
a pod on the same node behind a promiscuous bridge (scenario 1 of `cargo xtask demo`), and times its own
loop. The server's socket is never read. *Hooks alone*: skbtrace is stopped with SIGSTOP while packets go
through that its buffer can hold, so that only the kernel side runs. *Live*: all that the packets
make happen, reading and printing to a file on a tmpfs included. Figures are the best of several
batches, less the best without skbtrace just before, divided by the hook hits a packet makes, which a
run with `-v` counts apart. After attaching and detaching 1.5 s pass before anything is timed: the
kernel is still tidying up. The first live burst of each row is dearer, as it finds memory untouched.

pwru is 1.0.5, retis 1.7.0 (one line of it changed so that it starts on this kernel), both measured apart
in the same topology on the same number of route and bridge functions, with 29 hits a packet.

";

fn costs(page: &mut String, costs: &[(Case, Cost)]) {
    if costs.is_empty() {
        return;
    }
    page.push_str(
        "## Instructions for a hook hit\n\n\
         | hooks | transport | filter | hits a packet | events | hooks alone | live | target | pwru | retis |\n\
         |---|---|---|--:|--:|--:|--:|---|--:|--:|\n",
    );
    for (case, cost) in costs {
        let (target, pwru, retis) = if !case.principal {
            (String::new(), "", "")
        } else if case.matches {
            let met = met(cost.live_per_hit() <= MATCHED_LIVE);
            (
                format!("live ≤ {MATCHED_LIVE}: {met}"),
                "3100, live 7400",
                "6100, live 16000",
            )
        } else {
            let met = met(cost.alone_per_hit() <= REJECTED_ALONE);
            (
                format!("alone ≤ {REJECTED_ALONE}: {met}"),
                "1200, live 3100",
                "3700, live 4000",
            )
        };
        let spoilt = if cost.lost > 0 { " (events lost)" } else { "" };
        let _ = writeln!(
            page,
            "| {} | {} | {}{spoilt} | {} | {} | **{:.0}** | **{:.0}** | {target} | {pwru} | {retis} |",
            case.hooks.name(),
            case.transport.name(),
            case.title,
            cost.hits,
            cost.events,
            cost.alone_per_hit(),
            cost.live_per_hit(),
        );
    }
    page.push_str(
        "\n## Instructions for a packet\n\n\
         | hooks | transport | filter | no tracer | hooks alone | live |\n\
         |---|---|---|--:|--:|--:|\n",
    );
    for (case, cost) in costs {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {:.0} | {:.0} | {:.0} |",
            case.hooks.name(),
            case.transport.name(),
            case.title,
            cost.base.best(),
            cost.alone.best(),
            cost.live.best(),
        );
    }
    page.push('\n');
}

fn bursts(page: &mut String, bursts: &[(BurstCase, Burst)]) {
    if bursts.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "## Bursts\n\n\
         {BURST} packets at full speed, all matching, one CPU. Target: with the 17 functions and the default \
         buffer nothing\nis lost, and what is lost otherwise is counted. pwru prints 3 to 24 % of the events \
         and says nothing of the others;\nretis 62 to 70 %, and loses 16000 more without a word when it is \
         stopped right after.\n\n\
         | run | produced | printed | lines | lost | lost in silence | target |\n\
         |---|--:|--:|--:|--:|--:|---|\n",
    );
    for (case, burst) in bursts {
        let told = burst.in_silence() == 0 && u64::try_from(burst.lines) == Ok(burst.printed);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            case.title(),
            burst.produced,
            burst.printed,
            burst.lines,
            burst.lost,
            burst.in_silence(),
            met(told && (burst.lost == 0 || !case.principal())),
        );
    }
    page.push('\n');
}

fn quiet(page: &mut String, runs: &[(String, Quiet)]) {
    if runs.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "## Starting, idling, stopping\n\n\
         CPU is that of the whole process by its CPU clock, ended threads included (`clock_getcpuclockid`); when \
         it has\nended, by `getrusage`. Seconds are 10⁹ instructions. Stopping counts from SIGTERM to the end; \
         its elapsed time is\nmostly the kernel's waiting for RCU. Idle is {} s without a matching packet. The filter is the rejecting one; \
         hooks\nthat it can match no packet at are left out.\n\
         Targets: ready within {} s of CPU (pwru 5.2, retis 2.9); no CPU when idle (pwru 100 %). Exit takes \
         pwru 0.7 s and\nretis 0.9 to 1.4 s of CPU.\n\n\
         | run | hooks | CPU to ready | target | elapsed | CPU to exit | elapsed | CPU when idle | wake-ups |\n\
         |---|--:|--:|---|--:|--:|--:|--:|--:|\n",
        IDLE.as_secs(),
        READY.as_secs(),
    );
    for (title, run) in runs {
        let _ = writeln!(
            page,
            "| {title} | {} | {:.3} s | {} | {:.3} s | {:.3} s | {:.3} s | {:.6} s | {} |",
            run.attached,
            run.start.cpu.as_secs_f64(),
            met(run.start.cpu <= READY),
            run.start.elapsed.as_secs_f64(),
            run.stop.cpu.as_secs_f64(),
            run.stop.elapsed.as_secs_f64(),
            run.idle_cpu.as_secs_f64(),
            run.wakeups,
        );
    }
    page.push('\n');
}

fn raw(page: &mut String, figures: &Figures) {
    memory(page, figures);
    if figures.costs.is_empty() {
        return;
    }
    page.push_str(
        "## All batches\n\nInstructions for a packet: without skbtrace, hooks alone, live.\n\n```text\n",
    );
    for (case, cost) in &figures.costs {
        let _ = writeln!(
            page,
            "{}, {}, {}\n  {cost}",
            case.hooks.name(),
            case.transport.name(),
            case.title,
        );
    }
    page.push_str("```\n");
}

fn memory(page: &mut String, figures: &Figures) {
    let rows: Vec<_> = figures
        .quiet
        .iter()
        .map(|(title, run)| (title.clone(), run.memory))
        .chain(
            figures
                .bursts
                .iter()
                .map(|(case, burst)| (case.title(), burst.memory)),
        )
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "## Memory\n\n\
         Resident, in MB, from `/proc/PID/smaps`: when ready, and after a burst. The event buffer stands apart: \
         the kernel\nmaps a ring buffer's data twice in a row and counts both, although the memory is there \
         once.\nTarget: ≤ {MEMORY_MB} MB without the buffer (pwru 146, retis 122).\n\n\
         | run | anonymous | program file | together | target | event buffer as mapped |\n\
         |---|--:|--:|--:|---|--:|\n",
    );
    for (title, memory) in rows {
        let _ = writeln!(
            page,
            "| {title} | {:.1} | {:.1} | {:.1} | {} | {:.1} |",
            megabytes(memory.anonymous),
            megabytes(memory.file),
            memory.own_mb(),
            met(memory.own_mb() <= MEMORY_MB),
            megabytes(memory.buffer),
        );
    }
    page.push('\n');
}

const fn met(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}
