//! `cargo xtask test`: the unit tests here, and the scenarios on every kernel of the table.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::cli::{KernelArgs, TestArgs};
use crate::guest::{Guest, Sink};
use crate::initramfs::Extra;
use crate::kernels::{self, Kernel};
use crate::report::{self, Report};
use crate::{cable, compile, paths, setup};

/// How long the scenarios may take on one kernel.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);
/// What the names of the trials begin with that take place on two machines.
pub const TWO_MACHINES: &str = "two_machines";
/// So many failed trials are tried once more; of more something is broken.
const FEW: usize = 6;

pub fn run(args: &TestArgs) -> Result<ExitCode> {
    setup::ensure()?;
    let mut total = Report::default();
    let mut summary = Vec::new();
    for (line, report) in verdicts(args)? {
        summary.push(line);
        total.add(&report);
    }
    println!();
    for failure in &total.failures {
        println!("FAILED {}", failure.test);
        failure.said.iter().for_each(|line| println!("    {line}"));
    }
    summary.iter().for_each(|line| println!("{line}"));
    let nothing_ran = total.passed + total.failed == 0;
    if nothing_ran {
        println!(
            "no test ran{}",
            args.filter
                .as_ref()
                .map(|name| format!(": none is called {name}"))
                .unwrap_or_default()
        );
    }
    println!("{}", total.counts());
    Ok(if total.failed > 0 || nothing_ran {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A summary line and counts for each of what is wanted. Unit tests are built and run beside the guests,
/// in the time that these leave: one waits for its kernel a tenth to a third of the time.
fn verdicts(args: &TestArgs) -> Result<Vec<(String, Report)>> {
    if args.unit_only {
        return Ok(vec![unit_tests(args)?]);
    }
    if args.vm_only {
        return guests(args);
    }
    thread::scope(|scope| {
        let unit = scope.spawn(|| unit_tests(args));
        let guests = guests(args);
        let unit = unit
            .join()
            .map_err(|_| anyhow!("the unit tests' thread panicked"))??;
        Ok(std::iter::once(unit).chain(guests?).collect())
    })
}

/// `cargo test`, its output shown and counted. Without `--workspace`: that would take the kernel side
/// too, which compiles for its own target only.
fn unit_tests(args: &TestArgs) -> Result<(String, Report)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = if args.unit_only {
        Command::new(cargo)
    } else {
        // What waits for a guest has limits to its patience.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(cargo);
        command
    };
    command
        .args(["test", "--no-fail-fast"])
        .current_dir(paths::workspace());
    command.args(args.filter.iter()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.context("cannot read cargo's output")?;
        println!("[unit] {line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let mut report = Report::read(&text);
    if !status.success() && report.failed == 0 {
        println!("unit tests: cargo test failed without a failed test (a build error?), see above");
        report.failed += 1;
    }
    Ok((format!("unit tests: {}", report.counts()), report))
}

/// Runs the scenarios on the kernels, a few at a time, and then those that need two machines, of
/// which no more than two run; a summary line and counts for each.
fn guests(args: &TestArgs) -> Result<Vec<(String, Report)>> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        compile::build()?
    };
    let names: Vec<String> = if args.kernel.is_empty() {
        kernels::TABLE
            .iter()
            .map(|row| row.name.to_owned())
            .collect()
    } else {
        args.kernel.clone()
    };
    let filter = args.filter.as_deref();
    let only_two = needs_two(filter);
    let mut results = Vec::new();
    if !only_two {
        results.extend(several_at_once(&names, args, &extras));
    }
    if filter.is_none() || only_two {
        let filter = filter.unwrap_or(TWO_MACHINES);
        results.extend(
            names
                .iter()
                .map(|name| on_two_machines(name, filter, &extras)),
        );
    }
    Ok(results)
}

fn several_at_once(names: &[String], args: &TestArgs, extras: &[Extra]) -> Vec<(String, Report)> {
    let filter = args.filter.as_deref();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, names.len()) {
            // Each thread sees its guests through: they die with it.
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = on_kernel(name, filter, extras);
                    if let Ok(mut done) = done.lock() {
                        done.push((name, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(name, _)| names.iter().position(|other| other == *name));
    done.into_iter().map(|(_, result)| result).collect()
}

fn on_two_machines(name: &str, filter: &str, extras: &[Extra]) -> (String, Report) {
    let Some(obstacle) = cable::obstacle() else {
        return on_kernel(name, Some(filter), extras);
    };
    let report = Report {
        skipped: 1,
        reasons: vec![format!("{TWO_MACHINES}: {obstacle}")],
        ..Report::default()
    };
    let line = format!("kernel {name}, {}: SKIP {obstacle}", report.counts());
    println!("{line}");
    (line, report)
}

fn on_kernel(name: &str, filter: Option<&str>, extras: &[Extra]) -> (String, Report) {
    let wanted = KernelArgs {
        kernel: Some(name.to_owned()),
        ..KernelArgs::default()
    };
    let started = Instant::now();
    let mut sink = Lines {
        name: name.to_owned(),
        ..Lines::default()
    };
    let outcome = kernels::resolve(&wanted).and_then(|kernel| {
        let outcome = scenarios(&kernel, filter, extras, &mut sink);
        let which = if needs_two(filter) {
            "-two-machines"
        } else {
            ""
        };
        sink.name = kernel.release + which;
        outcome
    });
    sink.flush();
    let mut report = Report::read(&sink.text);
    let problem = match outcome {
        Err(error) => Some(format!("{error:#}")),
        Ok(code) if code != 0 && report.failed == 0 => {
            Some(format!("the test program ended with exit code {code}"))
        }
        Ok(_) if !report.complete => Some("the test program gave no result".to_owned()),
        Ok(_) => None,
    };
    if let Some(problem) = &problem {
        // No verdict is a failure, whatever passed before.
        report.failed += 1;
        println!("[{name}] {problem}");
        sink.log
            .extend_from_slice(format!("\n{problem}\n").as_bytes());
    } else {
        second_try(&mut report, &wanted, extras, &sink.name);
    }
    for failure in &mut report.failures {
        failure.test = format!("{} on {name}", failure.test);
    }
    let log = write_log(&sink)
        .map(|file| format!(", log: {}", file.display()))
        .unwrap_or_default();
    let reasons = if report.reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", report.reasons.join("; "))
    };
    let verdict = if problem.is_some() { " NO VERDICT" } else { "" };
    let failed_log = if report.failed > 0 {
        log
    } else {
        String::new()
    };
    let line = format!(
        "kernel {}: {}{reasons}{verdict} in {} s{failed_log}",
        sink.name,
        report.counts(),
        started.elapsed().as_secs()
    );
    println!("{line}");
    (line, report)
}

/// Tries each of a few failed trials once more, alone in a guest that has just booted: an emulated
/// processor that others share may stand still for seconds, and a trial's patience ends. What passes
/// then has passed, and is named; what a change has broken fails again.
fn second_try(report: &mut Report, wanted: &KernelArgs, extras: &[Extra], name: &str) {
    if report.failures.len() > FEW {
        return;
    }
    let failures = std::mem::take(&mut report.failures);
    for failure in failures {
        let mut sink = Lines {
            name: format!("{name}, again"),
            ..Lines::default()
        };
        let outcome = kernels::resolve(wanted)
            .and_then(|kernel| scenarios(&kernel, Some(&failure.test), extras, &mut sink));
        sink.flush();
        let again = Report::read(&sink.text);
        if matches!(outcome, Ok(0)) && again.complete && again.passed > 0 && report.failed > 0 {
            report.failed -= 1;
            report.passed += 1;
            let said = failure.said.first().map_or("", String::as_str);
            let reason = format!("{} passed at the second try only: {said}", failure.test);
            report.reasons.push(reason);
        } else {
            report.failures.push(failure);
        }
    }
}

fn scenarios(
    kernel: &Kernel,
    filter: Option<&str>,
    extras: &[Extra],
    sink: &mut Lines,
) -> Result<u8> {
    let mut command = vec!["skbtrace-tests".to_owned(), "run".to_owned()];
    if let Some(filter) = filter {
        command.extend(["--filter".to_owned(), filter.to_owned()]);
    }
    let guest = Guest {
        second: needs_two(filter),
        ..Guest::usual(kernel, extras, &command, TIMEOUT)
    };
    guest.run(sink)
}

/// Whether these trials take place on two machines.
fn needs_two(filter: Option<&str>) -> bool {
    filter.is_some_and(|filter| filter.starts_with(TWO_MACHINES))
}

fn write_log(sink: &Lines) -> Result<PathBuf> {
    let file = paths::vm_logs()?.join(format!("{}.log", sink.name));
    fs::write(&file, &sink.log).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Shows whole lines, each with its kernel's name: several guests talk at the same time.
#[derive(Default)]
struct Lines {
    name: String,
    partial: Vec<u8>,
    text: String,
    log: Vec<u8>,
    verdict: bool,
}

impl Lines {
    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        println!("[{}] {line}", self.name);
        self.verdict |= report::verdict(line).is_some();
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn flush(&mut self) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.line(&rest);
        }
    }
}

impl Sink for Lines {
    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.line(&line);
        }
        Ok(())
    }

    fn has_verdict(&self) -> bool {
        self.verdict
    }

    fn log(&mut self, bytes: &[u8]) {
        self.log.extend_from_slice(bytes);
    }

    fn again(&mut self) {
        self.partial.clear();
        self.text.clear();
    }
}
