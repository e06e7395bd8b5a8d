//! A model that is built: it can be played, and what was seen of it can be judged.

use anyhow::{Context as _, Result, ensure};

use crate::scenarios::turns::Turn;
use crate::story::Hop;
use crate::tracer::Outcome;

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

    /// Plays it when it has its turn, and judges what is told, as rows and as trees.
    pub fn judge(&self, turn: &Turn) -> Result<()> {
        let listening = turn.listen()?;
        self.play()?;
        (self.also)()?;
        let seen = Seen {
            outcome: listening.stop()?,
        };
        let verdict = seen.is_well().and_then(|()| (self.judge)(&seen));
        let verdict = verdict.with_context(|| format!("the trees:\n{}\n", seen.outcome.trees));
        seen.outcome.explain(verdict)
    }
}

/// What was seen of a model.
pub struct Seen {
    /// The rows, and everybody's trees.
    pub outcome: Outcome,
}

impl Seen {
    /// Nothing was found.
    fn is_well(&self) -> Result<()> {
        self.outcome.times_do_not_decrease()?;
        let mut lines = self.outcome.trees.lines();
        let finding = lines.find(|line| line.starts_with("FINDING "));
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
        let trees = self.outcome.trees.as_str();
        let begins = |at: &usize| {
            let line = trees[*at..].lines().next().unwrap_or_default();
            line.starts_with('[') && line.contains(&number)
        };
        let starts = || {
            let lines = trees.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(lines)
        };
        let start = starts().find(begins);
        let start = start.with_context(|| format!("packet #{id} has no tree of its own"))?;
        let mut after = starts().filter(|at| *at > start);
        let end = after.find(|at| trees[*at..].starts_with('['));
        Ok(&trees[start..end.unwrap_or(trees.len())])
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
