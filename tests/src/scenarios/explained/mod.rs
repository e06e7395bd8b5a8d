//! What is explained: each cause provoked, and exactly that finding; and nothing found where nothing
//! is wrong.
//!
//! All scenes are built, then one tracer listens, then each is played. A finding belongs to the scene
//! in whose network namespaces its events are; of the ways to lose a packet
//! ([`super::drops`]), which share theirs, to the one whose packet its events are about.

mod scenes;
mod stage;
mod together;

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;

use super::drops::{CASES, FIRST_PORT, Ground};
use super::trial;
use crate::kernel_trace::KernelTrace;
use together::Together;

pub use stage::Stage;
pub use together::HOSTS;

/// The names of all scenes and losses.
pub fn names() -> impl Iterator<Item = String> {
    let losses = CASES.iter().map(|case| format!("drop_{}", case.name));
    let scenes = scenes::SCENES.iter().map(|scene| scene.name.to_owned());
    scenes.chain(losses)
}

/// Sets the scene of that name.
pub fn stage(name: &str) -> Result<Stage> {
    if let Some(scene) = scenes::SCENES.iter().find(|scene| scene.name == name) {
        return (scene.set)();
    }
    let lost = name.strip_prefix("drop_");
    let case = lost.and_then(|name| CASES.iter().find(|case| case.name == name));
    let case = case.with_context(|| format!("there is no scene {name}; \"list\" names all"))?;
    Stage::build(
        || (case.prepare)(&Ground::default(), FIRST_PORT),
        |shot| {
            let kernel = KernelTrace::start()?;
            shot.fire()?;
            kernel.wait_for(1, |drop| case.is(drop)).map(drop)
        },
    )
}

/// A recording of all scenes and losses, and what is told of them.
pub fn record() -> Result<[Vec<u8>; 2]> {
    Together::of(CASES.iter().collect(), scenes::SCENES.iter().collect()).record()
}

/// The trials whose name contains `filter`; those alone are played.
pub fn trials(filter: Option<&str>) -> Vec<Trial> {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let cases: Vec<_> = CASES
        .iter()
        .filter(|case| wanted(&format!("explain_drop_{}", case.name)))
        .collect();
    let scenes: Vec<_> = scenes::SCENES
        .iter()
        .filter(|scene| wanted(&format!("explain_{}", scene.name)))
        .collect();
    let names: Vec<String> = cases
        .iter()
        .map(|case| format!("drop_{}", case.name))
        .chain(scenes.iter().map(|scene| scene.name.to_owned()))
        .collect();
    let together = Together::of(cases, scenes);
    names
        .into_iter()
        .map(|name| {
            let together = together.clone();
            trial(format!("explain_{name}"), move || together.verdict(&name))
        })
        .collect()
}
