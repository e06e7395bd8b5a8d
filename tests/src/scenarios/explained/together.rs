//! All scenes and losses under one tracer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

use super::super::drops::{Case, FIRST_PORT, Ground};
use super::stage::{Scene, Stage};
use crate::kernel_trace::KernelTrace;
use crate::told::Told;
use crate::tracer::{Outcome, Tracer};

/// Everybody's addresses.
const HOSTS: &str = "10.71.0.0/16,10.72.0.0/16,172.18.0.0/16,fd00::/16";

/// What is played, and once it was, what came of each.
pub struct Together {
    cases: Vec<&'static Case>,
    scenes: Vec<&'static Scene>,
    verdicts: Mutex<Option<BTreeMap<String, Result<()>>>>,
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

    fn run(&self) -> Result<BTreeMap<String, Result<()>>> {
        let mut verdicts = BTreeMap::new();
        let mut note = |name: String, verdict| drop(verdicts.insert(name, verdict));
        let mut stages = Vec::new();
        for scene in &self.scenes {
            match (scene.set)() {
                Ok(stage) => stages.push((*scene, stage)),
                Err(error) => note(scene.name.to_owned(), Err(error)),
            }
        }
        let ground = Ground::default();
        if !self.cases.is_empty() {
            // Their beginnings are nothing to explain.
            let _all = (ground.link()?, ground.routed()?, ground.bridged()?);
        }
        let tracer = Tracer::start(&["--explain", "--slow", "3", "-H", HOSTS])?;
        let mut played = Vec::new();
        for (scene, stage) in stages {
            match stage.play() {
                Ok(()) => played.push((scene, stage)),
                Err(error) => note(scene.name.to_owned(), Err(error.context("playing it"))),
            }
        }
        let mut lost = Vec::new();
        for (port, case) in (FIRST_PORT..).zip(&self.cases) {
            match lose(case, port, &ground) {
                Ok(()) => lost.push((*case, port)),
                Err(error) => note(format!("drop_{}", case.name), Err(error)),
            }
        }
        let outcome = tracer.stop_unparsed()?;
        let whole = outcome.explain((|| {
            ensure!(outcome.code == Some(0), "exit code {:?}", outcome.code);
            ensure!(outcome.lost == Some(0), "{:?} events lost", outcome.lost);
            Told::all(&outcome.stdout)
        })())?;
        for (scene, stage) in &played {
            let verdict = judge(scene, stage, &whole);
            note(scene.name.to_owned(), with_findings(verdict, &outcome));
        }
        for (case, port) in lost {
            let verdict = judge_loss(case, port, &whole);
            let name = format!("drop_{}", case.name);
            note(name, with_findings(verdict, &outcome));
        }
        Ok(verdicts)
    }
}

/// Adds what was found, and no events, to an error.
fn with_findings(verdict: Result<()>, outcome: &Outcome) -> Result<()> {
    verdict.with_context(|| {
        let lines = outcome.stdout.iter();
        let is_of_events = |line: &&String| line.starts_with('[');
        let found: Vec<&str> = lines
            .filter(|line| !is_of_events(line))
            .map(String::as_str)
            .collect();
        format!("found:\n{}\n", found.join("\n"))
    })
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
