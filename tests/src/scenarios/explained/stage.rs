//! A scene: a network, what happens in it, and what is to be found.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::netns;
use crate::told::Told;

/// A scene that can be set.
pub struct Scene {
    /// The trial's name.
    pub name: &'static str,
    /// The rules whose findings there are; no others.
    pub found: &'static [&'static str],
    /// Sets it.
    pub set: fn() -> Result<Stage>,
}

type Play = Box<dyn Fn() -> Result<()>>;
type Cure = Box<dyn Fn(&[Told]) -> Result<()>>;

/// A scene that is set; it lives until this is dropped.
pub struct Stage {
    play: Play,
    cure: Cure,
    networks: BTreeSet<u32>,
}

impl Stage {
    /// Builds a network, to play in it.
    pub fn build<T: 'static>(
        build: impl FnOnce() -> Result<T>,
        play: impl Fn(&T) -> Result<()> + 'static,
    ) -> Result<Self> {
        Self::build_to_cure(build, play, |_, _| Ok(()))
    }

    /// The same, where what is told is to be done afterwards, to see that it helps.
    pub fn build_to_cure<T: 'static>(
        build: impl FnOnce() -> Result<T>,
        play: impl Fn(&T) -> Result<()> + 'static,
        cure: impl Fn(&T, &[Told]) -> Result<()> + 'static,
    ) -> Result<Self> {
        let before: BTreeSet<u32> = netns::made_here().into_iter().collect();
        let scene = std::rc::Rc::new(build()?);
        let made = netns::made_here().into_iter();
        let also = std::rc::Rc::clone(&scene);
        Ok(Self {
            networks: made.filter(|inode| !before.contains(inode)).collect(),
            play: Box::new(move || play(&scene)),
            cure: Box::new(move |told| cure(&also, told)),
        })
    }

    /// Lets it happen.
    pub fn play(&self) -> Result<()> {
        (self.play)()
    }

    /// Does what is told, and sees that it helps.
    pub fn cure(&self, told: &[Told]) -> Result<()> {
        (self.cure)(told)
    }

    /// Whether a finding is about this scene.
    pub fn is_about(&self, told: &Told) -> bool {
        let mut rows = told.evidence.iter();
        rows.any(|row| self.networks.contains(&row.netns))
    }
}
