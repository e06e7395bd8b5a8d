//! What is explained: each cause provoked, and exactly that finding; and nothing found where nothing
//! is wrong.
//!
//! All scenes are built, then one tracer listens, then each is played. A finding belongs to the scene
//! in whose network namespaces its events are; of the ways to lose a packet
//! ([`super::drops`]), which share theirs, to the one whose packet its events are about.

mod scenes;
mod stage;
mod together;

use libtest_mimic::Trial;

use super::drops::CASES;
use super::trial;
use together::Together;

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
