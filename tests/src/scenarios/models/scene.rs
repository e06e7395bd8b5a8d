//! A model that is built: it can be played, and what was seen of it can be judged.

use anyhow::{Context as _, Result, ensure};

use super::Model;
use crate::story::Hop;
use crate::tracer::{self, Outcome, Scratch, Tracer, skbtrace};

type Play = Box<dyn Fn() -> Result<()>>;
type Judge = Box<dyn Fn(&Seen) -> Result<()>>;

/// A model's network; it lives until this is dropped.
pub struct Scene {
    play: Play,
    also: Play,
    judge: Judge,
}

impl Scene {
    /// In this network, what happens and what is to be seen of it.
    pub fn of<T: 'static>(
        network: T,
        play: impl Fn(&T) -> Result<()> + 'static,
        judge: impl Fn(&T, &Seen) -> Result<()> + 'static,
    ) -> Self {
        Self::and_also(network, play, |_| Ok(()), judge)
    }

    /// The same, where a trial plays more than the demo.
    pub fn and_also<T: 'static>(
        network: T,
        play: impl Fn(&T) -> Result<()> + 'static,
        also: impl Fn(&T) -> Result<()> + 'static,
        judge: impl Fn(&T, &Seen) -> Result<()> + 'static,
    ) -> Self {
        let network = std::rc::Rc::new(network);
        let [for_play, for_also] = [network.clone(), network.clone()];
        Self {
            play: Box::new(move || play(&for_play)),
            also: Box::new(move || also(&for_also)),
            judge: Box::new(move |seen| judge(&network, seen)),
        }
    }

    /// Lets it happen.
    pub fn play(&self) -> Result<()> {
        (self.play)()
    }

    /// Plays it under a tracer that explains, and judges what is told, as rows and as a tree.
    pub fn judge(&self, model: &Model) -> Result<()> {
        let scratch = Scratch::create()?;
        let recording = scratch.path().join("recording");
        let recording = recording.to_str().context("a path of ASCII")?;
        let keep = ["--explain", "--wide", "-w", recording, "--print"];
        let tracer = Tracer::start(&[model.options, &keep].concat())?;
        self.play()?;
        (self.also)()?;
        let outcome = tracer.stop()?;
        let mut replay = skbtrace();
        replay.args(["replay", recording, "--explain", "--format", "tree"]);
        replay.args(model.options);
        let replayed = tracer::run_to_end(replay)?;
        let tree = replayed.stdout.join("\n");
        ensure!(
            replayed.code == Some(0),
            "the replay: {}",
            replayed.transcript()
        );
        let seen = Seen { outcome, tree };
        let verdict = seen.is_well().and_then(|()| (self.judge)(&seen));
        let verdict = verdict.with_context(|| format!("the tree:\n{}\n", seen.tree));
        seen.outcome.explain(verdict)
    }
}

/// What was seen of a model.
pub struct Seen {
    /// The rows.
    pub outcome: Outcome,
    /// The trees.
    pub tree: String,
}

impl Seen {
    /// Nothing was lost, and nothing found.
    fn is_well(&self) -> Result<()> {
        self.outcome.complete()?;
        self.outcome.times_do_not_decrease()?;
        let mut lines = self.outcome.stdout.iter().map(String::as_str);
        let mut all = lines.by_ref().chain(self.tree.lines());
        let finding = all.find(|line| line.starts_with("FINDING "));
        ensure!(finding.is_none(), "nothing is wrong, but: {finding:?}");
        Ok(())
    }

    /// The packet that begins with the first of these hops passes them all in this order, and its
    /// tree says that it came to this end.
    pub fn journey(&self, hops: &[Hop<'_>], end: &str) -> Result<Journey<'_>> {
        let first = hops.first().context("no hop")?;
        let id = self.outcome.identity(first)?.id;
        let own: Vec<Hop<'_>> = hops.iter().map(|hop| hop.clone().id(id)).collect();
        self.outcome.in_order(&own)?;
        let block = self.block(id)?;
        let ends = block.matches(&format!("end: {end}")).count();
        ensure!(ends == 1, "{ends} ends \"{end}\" of packet #{id}:\n{block}");
        Ok(Journey { id, block })
    }

    /// The tree of a packet that was made from no other.
    fn block(&self, id: u64) -> Result<&str> {
        let number = format!("] #{id} ");
        let begins = |at: &usize| {
            let line = self.tree[*at..].lines().next().unwrap_or_default();
            line.starts_with('[') && line.contains(&number)
        };
        let starts = || {
            let lines = self.tree.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(lines)
        };
        let start = starts().find(begins);
        let start = start.with_context(|| format!("packet #{id} has no tree of its own"))?;
        let mut after = starts().filter(|at| *at > start);
        let end = after.find(|at| self.tree[*at..].starts_with('['));
        Ok(&self.tree[start..end.unwrap_or(self.tree.len())])
    }
}

/// A packet's way.
#[derive(Debug)]
pub struct Journey<'a> {
    /// Its number.
    pub id: u64,
    /// Its tree.
    pub block: &'a str,
}

impl Journey<'_> {
    /// Its tree says this.
    pub fn says(&self, text: &str) -> Result<&Self> {
        ensure!(
            self.block.contains(text),
            "packet #{} is not said to be \"{text}\":\n{}",
            self.id,
            self.block
        );
        Ok(self)
    }

    /// Its tree does not say this.
    pub fn does_not_say(&self, text: &str) -> Result<&Self> {
        ensure!(
            !self.block.contains(text),
            "packet #{} is said to be \"{text}\":\n{}",
            self.id,
            self.block
        );
        Ok(self)
    }
}

/// A socket of this program, as the end of a packet that came to it.
pub fn delivered_to(address: &str, port: u16) -> String {
    let own = crate::process::own();
    format!("delivered to {address}:{port} of {own}, read by {own}")
}
