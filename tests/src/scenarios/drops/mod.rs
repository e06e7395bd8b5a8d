//! Packets lost on purpose, each in another way, and what is said about why and where.
//!
//! The kernel's own account ([`KernelTrace`]) is read beside skbtrace's: what it dropped is known
//! without knowing this build of the kernel, and both must name the same packet, reason and place.
//! Each way has two trials: `dropped_*` asks the kernel alone and so holds the way itself to its
//! word, `drop_*` asks skbtrace too. The packets of all `drop_*` are lost under one tracer, each
//! with a source port of its own, since starting one takes a guest longer than all the rest.

mod cases;
mod devices;
mod ground;
mod netfilter;
mod routing;
mod sockets;
mod together;

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;

pub use self::cases::{CASES, Case, Shot};
pub use self::ground::Ground;
use self::together::Together;
use super::trial;
use crate::kernel_trace::{KernelDrop, KernelTrace};

/// Source port of the first case's packet; the next one has the next.
pub const FIRST_PORT: u16 = 41000;

/// Sets the scene of the case of this name.
pub fn prepare(name: &str) -> Result<Shot> {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("there is no way {name} to lose a packet"))?;
    (case.prepare)(&Ground::default(), FIRST_PORT)
}

/// The trials whose name contains `filter`, and those alone lose packets.
pub fn trials(filter: Option<&str>) -> Vec<Trial> {
    let named = |case: &Case| format!("drop_{}", case.name);
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let cases: Vec<&Case> = CASES.iter().filter(|case| wanted(&named(case))).collect();
    let together = Together::of(cases.clone());
    let mut trials: Vec<Trial> = cases
        .into_iter()
        .map(|case| {
            let together = together.clone();
            trial(named(case), move || together.verdict(case.name))
        })
        .collect();
    for name in [together::NOTHING, together::ELSE] {
        let together = together.clone();
        trials.push(trial(format!("drop_{name}"), move || {
            together.verdict(name)
        }));
    }
    trials
}

/// The losses alone.
pub fn groundwork() -> Vec<Trial> {
    CASES
        .iter()
        .map(|case| trial(format!("dropped_{}", case.name), || by_the_kernel(case)))
        .collect()
}

impl Case {
    /// Whether the kernel's event is the loss that is meant.
    pub fn is(&self, drop: &KernelDrop) -> bool {
        self.functions.contains(&drop.function.as_str())
            && drop
                .reason
                .as_deref()
                .is_none_or(|reason| self.reasons.contains(&reason))
    }
}

/// The way loses the packet that it is to lose, for one of the reasons given.
fn by_the_kernel(case: &Case) -> Result<()> {
    let ground = Ground::default();
    let shot = (case.prepare)(&ground, FIRST_PORT)?;
    let kernel = KernelTrace::start()?;
    shot.fire()?;
    let drops = kernel.wait_for(1, |drop| case.is(drop))?;
    let drop = drops
        .iter()
        .find(|drop| case.is(drop))
        .context("gone from the trace")?;
    println!(
        "DROP {} {} {}+{:#x}",
        case.name,
        drop.reason.as_deref().unwrap_or("-"),
        drop.function,
        drop.offset
    );
    Ok(())
}
