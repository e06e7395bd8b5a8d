//! All scenes and losses under one tracer.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

use super::super::drops::{Case, FIRST_PORT, Ground};
use super::stage::{Scene, Stage};
use crate::kernel_trace::KernelTrace;
use crate::scenarios::Skip;
use crate::told::Told;
use crate::tracer::{Outcome, Scratch, Tracer};

/// Everybody's addresses.
pub const HOSTS: &str = "10.71.0.0/16,10.72.0.0/16,10.244.0.0/16,172.18.0.0/16,fd00::/16";

/// What is played, and once it was, what came of each.
pub struct Together {
    cases: Vec<&'static Case>,
    scenes: Vec<&'static Scene>,
    verdicts: Mutex<Option<Verdicts>>,
}

impl Together {
    /// Nothing has been played.
    pub fn of(cases: Vec<&'static Case>, scenes: Vec<&'static Scene>) -> Arc<Self> {
        Arc::new(Self {
            cases,
            scenes,
            verdicts: Mutex::default(),
        })
    }

    /// What came of one; the first to ask has all of them played.
    pub fn verdict(&self, name: &str) -> Result<()> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.is_none() {
            *verdicts = Some(self.run()?);
        }
        let verdict = verdicts.as_mut().and_then(|verdicts| verdicts.remove(name));
        verdict.with_context(|| format!("{name} was not played"))?
    }

    /// Plays all of it and records what the tracer sees: the recording, and the lines about findings.
    pub fn record(&self) -> Result<[Vec<u8>; 2]> {
        let scratch = Scratch::create()?;
        let file = scratch.path().join("recording");
        let name = file.to_str().context("a path of ASCII")?;
        let played = self.play(&["-w", name, "--print"])?;
        played.found()?;
        for (name, failure) in played.failed {
            let failure = failure.err().filter(|error| !error.is::<Skip>());
            if let Some(failure) = failure {
                return Err(failure.context(name));
            }
        }
        let recording = fs::read(&file).context("the recording")?;
        let mut told = findings(&played.outcome).join("\n");
        told.push('\n');
        Ok([recording, told.into_bytes()])
    }

    fn run(&self) -> Result<Verdicts> {
        let played = self.play(&[])?;
        if played.scenes.is_empty() && played.lost.is_empty() {
            // A tracer that nobody played for has seen nothing, and says so.
            return Ok(played.failed);
        }
        let found = played.found()?;
        let mut verdicts = played.failed;
        for (scene, stage) in &played.scenes {
            let verdict = judge(scene, stage, &found);
            let verdict = with_findings(verdict, &played.outcome);
            verdicts.insert(scene.name.to_owned(), verdict);
        }
        for (case, port) in played.lost {
            let verdict = judge_loss(case, port, &found);
            let verdict = with_findings(verdict, &played.outcome);
            verdicts.insert(format!("drop_{}", case.name), verdict);
        }
        Ok(verdicts)
    }

    fn play(&self, options: &[&str]) -> Result<Played> {
        let mut failed = Verdicts::new();
        let mut stages = Vec::new();
        for scene in &self.scenes {
            match (scene.set)() {
                Ok(stage) => stages.push((*scene, stage)),
                Err(error) => drop(failed.insert(scene.name.to_owned(), Err(error))),
            }
        }
        let ground = Ground::default();
        if !self.cases.is_empty() {
            // Their beginnings are nothing to explain.
            let _all = (ground.link()?, ground.routed()?, ground.bridged()?);
        }
        let own = ["--explain", "--slow", "3", "-H", HOSTS];
        let tracer = Tracer::start(&[&own, options].concat())?;
        let mut scenes = Vec::new();
        for (scene, stage) in stages {
            match stage.play().context("playing it") {
                Ok(()) => scenes.push((scene, stage)),
                Err(error) => drop(failed.insert(scene.name.to_owned(), Err(error))),
            }
        }
        let mut lost = Vec::new();
        for (port, case) in (FIRST_PORT..).zip(&self.cases) {
            match lose(case, port, &ground) {
                Ok(()) => lost.push((*case, port)),
                Err(error) => drop(failed.insert(format!("drop_{}", case.name), Err(error))),
            }
        }
        Ok(Played {
            outcome: tracer.stop_unparsed()?,
            scenes,
            lost,
            failed,
        })
    }
}

type Verdicts = BTreeMap<String, Result<()>>;

/// What was played, and what the tracer told.
struct Played {
    outcome: Outcome,
    scenes: Vec<(&'static Scene, Stage)>,
    /// Each with its packet's source port.
    lost: Vec<(&'static Case, u16)>,
    /// What could not be played.
    failed: Verdicts,
}

impl Played {
    /// All findings, of a tracer that ended well.
    fn found(&self) -> Result<Vec<Told>> {
        self.outcome.in_short().explain((|| {
            let Outcome { code, lost, .. } = self.outcome;
            ensure!(code == Some(0), "exit code {code:?}");
            ensure!(lost == Some(0), "{lost:?} events lost");
            Told::all(&self.outcome.stdout)
        })())
    }
}

/// The lines of a run that are not events'.
fn findings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stdout.iter().map(String::as_str);
    lines
        .skip_while(|line| line.starts_with("time"))
        .filter(|line| !line.starts_with('['))
        .collect()
}

/// Adds what was found, and no events, to an error.
fn with_findings(verdict: Result<()>, outcome: &Outcome) -> Result<()> {
    verdict.with_context(|| format!("found:\n{}\n", findings(outcome).join("\n")))
}

fn lose(case: &Case, port: u16, ground: &Ground) -> Result<()> {
    let shot = (case.prepare)(ground, port)?;
    let kernel = KernelTrace::start()?;
    shot.fire()?;
    kernel.wait_for(1, |drop| case.is(drop)).map(drop)
}

fn rules<'a>(found: impl Iterator<Item = &'a Told>) -> Vec<&'a str> {
    let mut rules: Vec<&str> = found.map(|told| told.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Exactly the findings that are to be.
fn judge(scene: &Scene, stage: &Stage, all: &[Told]) -> Result<()> {
    let found: Vec<Told> = all
        .iter()
        .filter(|told| stage.is_about(told))
        .cloned()
        .collect();
    for told in &found {
        println!(
            "EXPLAINED {}: {} {}: {}",
            scene.name, told.rule, told.confidence, told.sentence
        );
    }
    let rules = rules(found.iter());
    ensure!(
        rules == scene.found,
        "found {rules:?} and not {:?}",
        scene.found
    );
    stage.cure(&found)
}

/// Of the packet's loss one finding. One that another case showed before is counted and not told.
fn judge_loss(case: &Case, port: u16, all: &[Told]) -> Result<()> {
    let packet = case.packet.replace("{port}", &port.to_string());
    let about: Vec<&Told> = all.iter().filter(|told| told.is_about(&packet)).collect();
    let told = rules(about.iter().copied());
    let is_counted = || {
        let mut same = all.iter();
        same.any(|told| case.findings.contains(&told.rule.as_str()) && told.packets > 1)
    };
    match told.as_slice() {
        [rule] => ensure!(case.findings.contains(rule), "{packet}: {rule} is told"),
        [] => ensure!(is_counted(), "nothing is told of {packet}"),
        more => anyhow::bail!("{packet}: {more:?} are told"),
    }
    Ok(())
}
