//! One tracer for trials that listen with the same options, and take turns.
//!
//! Attaching to a hundred functions takes an emulated guest seconds, on older kernels most of a
//! trial's time. So such trials are played together: first each builds what it needs, then one tracer
//! starts, then each sends its traffic while the others stand still, and then each judges the rows
//! about its own packets. Every one has a thread, but only one of them runs at a time.
//!
//! A trial's rows are those in the network namespaces that it has built. Rows outside of all
//! namespaces are its own if their packet was seen in one of its namespaces; what nobody can claim
//! is shown to everybody, and so are trees.
//!
//! A trial run alone plays alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::netns;
use crate::row::Row;
use crate::tracer::{self, Outcome, Scratch, Tracer, skbtrace};

type Play = Box<dyn FnOnce(&Turn) -> Result<()> + Send>;

/// The trials, while they are listed.
pub struct Turns {
    company: Arc<Company>,
    trials: Vec<Trial>,
}

struct Company {
    options: Vec<String>,
    /// What is told is wanted as trees, too.
    trees: bool,
    state: Mutex<State>,
}

/// Parts that nobody has played, and the verdicts over the others.
#[derive(Default)]
struct State {
    parts: Vec<Weak<Part>>,
    verdicts: BTreeMap<String, Result<()>>,
}

struct Part {
    name: String,
    play: Mutex<Option<Play>>,
}

impl Turns {
    /// With these options for skbtrace.
    pub fn with(options: &[&str]) -> Self {
        Self::of(options, false)
    }

    /// The same, and what is told in wide rows is told as trees, too.
    pub fn with_trees(options: &[&str]) -> Self {
        Self::of(options, true)
    }

    fn of(options: &[&str], trees: bool) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let state = Mutex::default();
        Self {
            company: Arc::new(Company {
                options,
                trees,
                state,
            }),
            trials: Vec::new(),
        }
    }

    /// Adds a trial.
    pub fn trial(
        &mut self,
        name: impl Into<String>,
        play: impl FnOnce(&Turn) -> Result<()> + Send + 'static,
    ) {
        let name = name.into();
        let part = Arc::new(Part {
            name: name.clone(),
            play: Mutex::new(Some(Box::new(play))),
        });
        lock(&self.company.state).parts.push(Arc::downgrade(&part));
        let company = Arc::clone(&self.company);
        // A trial that was filtered out is dropped, and its part with it, before the first is run.
        self.trials
            .push(trial(name, move || company.verdict(&part)));
    }

    /// All trials that were added.
    pub fn trials(self) -> Vec<Trial> {
        self.trials
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Company {
    /// What came of a part; the first to ask has all of them played.
    fn verdict(&self, part: &Part) -> Result<()> {
        let mut state = lock(&self.state);
        let parts: Vec<_> = state.parts.drain(..).collect();
        let parts: Vec<Arc<Part>> = parts.iter().filter_map(Weak::upgrade).collect();
        if !parts.is_empty() {
            state.verdicts = self.play(&parts);
        }
        let verdict = state.verdicts.remove(&part.name);
        verdict.with_context(|| format!("{} was not played", part.name))?
    }

    fn play(&self, parts: &[Arc<Part>]) -> BTreeMap<String, Result<()>> {
        let mut verdicts = BTreeMap::new();
        thread::scope(|scope| {
            let mut note = |name: &str, verdict| drop(verdicts.insert(name.to_owned(), verdict));
            let mut ready = Vec::new();
            for part in parts {
                let Some(play) = lock(&part.play).take() else {
                    continue;
                };
                let (turn, player) = pair();
                scope.spawn(move || turn.run(play));
                match player.next() {
                    Said::Over(verdict) => note(&part.name, verdict),
                    Said::Done(networks) => ready.push((part, player, networks)),
                }
            }
            if ready.is_empty() {
                return;
            }
            let tracer = match self.listen() {
                Ok(tracer) => tracer,
                Err(error) => {
                    // Without a tracer, no turn begins.
                    for (part, ..) in ready {
                        note(&part.name, Err(anyhow!("{error:#}")));
                    }
                    return;
                }
            };
            let mut played = Vec::new();
            for (part, player, mut networks) in ready {
                match player.go(Go::Play) {
                    Said::Over(verdict) => note(&part.name, verdict),
                    Said::Done(further) => {
                        networks.extend(further);
                        played.push((part, player, networks));
                    }
                }
            }
            let whole = tracer.stop();
            let claims: Vec<_> = played
                .iter()
                .map(|(.., networks)| networks.clone())
                .collect();
            let shares = match &whole {
                Ok(outcome) => share(&outcome.rows, &claims),
                Err(_) => vec![Vec::new(); claims.len()],
            };
            for ((part, player, _), rows) in played.into_iter().zip(shares) {
                let own = match &whole {
                    Ok(outcome) => Ok(outcome.part(rows)),
                    Err(error) => Err(anyhow!("{error:#}")),
                };
                match player.go(Go::Judge(Box::new(own))) {
                    Said::Over(verdict) => note(&part.name, verdict),
                    Said::Done(_) => note(&part.name, Err(anyhow!("it listened twice"))),
                }
            }
        });
        verdicts
    }

    fn listen(&self) -> Result<Shared> {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        if !self.trees {
            let tracer = Tracer::start(&options)?;
            return Ok(Shared { tracer, kept: None });
        }
        let directory = Scratch::create()?;
        let file = directory.path().join("recording");
        let recording = file.to_str().context("a path of ASCII")?;
        let tracer =
            Tracer::start(&[&options, ["--wide", "-w", recording, "--print"].as_slice()].concat())?;
        let mut replay = skbtrace();
        replay.args(["replay", recording, "--format", "tree"]);
        replay.args(options);
        Ok(Shared {
            tracer,
            kept: Some((replay, directory)),
        })
    }
}

/// The tracer of a company.
struct Shared {
    tracer: Tracer,
    /// What makes trees of its recording, and where that is.
    kept: Option<(Command, Scratch)>,
}

impl Shared {
    /// What it told, if it ended well.
    fn stop(self) -> Result<Outcome> {
        let mut outcome = self.tracer.stop()?;
        outcome.explain(outcome.complete())?;
        if let Some((replay, _directory)) = self.kept {
            let replayed = tracer::run_to_end(replay)?;
            ensure!(replayed.code == Some(0), "{}", replayed.transcript());
            outcome.trees = replayed.stdout.join("\n");
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Of a tracer that ended well, what concerns these rows alone.
    fn part(&self, rows: Vec<Row>) -> Self {
        Self {
            code: self.code,
            took: self.took,
            printed: Some(rows.len() as u64),
            lost: self.lost,
            stdout: rows.iter().map(|row| row.line.clone()).collect(),
            stderr: self.stderr.clone(),
            attached: self.attached,
            skipped: self.skipped.clone(),
            trees: self.trees.clone(),
            rows,
            ..Self::default()
        }
    }
}

/// The rows that belong to each claim, which is a set of network namespaces.
fn share(rows: &[Row], claims: &[BTreeSet<u32>]) -> Vec<Vec<Row>> {
    let by_place = |row: &Row| claims.iter().position(|claim| claim.contains(&row.netns));
    let mut of_packet: BTreeMap<u64, usize> = BTreeMap::new();
    for row in rows {
        if let (Some(owner), Some(identity)) = (by_place(row), row.identity) {
            of_packet.insert(identity.id, owner);
        }
    }
    let mut of_address: BTreeMap<u64, usize> = BTreeMap::new();
    let mut shares = vec![Vec::new(); claims.len()];
    for row in rows {
        let owner = by_place(row);
        if let Some(owner) = owner {
            of_address.insert(row.skb, owner);
        }
        let of_packet = || match row.identity {
            Some(identity) => of_packet.get(&identity.id).copied(),
            None => of_address.get(&row.skb).copied(),
        };
        match owner.or_else(of_packet) {
            Some(owner) => shares[owner].push(row.clone()),
            None => shares.iter_mut().for_each(|rows| rows.push(row.clone())),
        }
    }
    shares
}

/// What a part is told.
enum Go {
    /// The tracer listens.
    Play,
    /// What it told about the part.
    Judge(Box<Result<Outcome>>),
}

/// What a part tells.
enum Said {
    /// It has come as far as it can, and these namespaces are its own.
    Done(BTreeSet<u32>),
    /// It has ended.
    Over(Result<()>),
}

/// The company's side of a part.
struct Player {
    go: Sender<Go>,
    said: Receiver<Said>,
}

impl Player {
    fn go(&self, what: Go) -> Said {
        // If nobody hears it, nobody answers either.
        let _ = self.go.send(what);
        self.next()
    }

    fn next(&self) -> Said {
        let gone = |_| Said::Over(Err(anyhow!("the trial panicked")));
        self.said.recv().unwrap_or_else(gone)
    }
}

/// A part's side: how it comes to its turn.
pub struct Turn {
    go: RefCell<Receiver<Go>>,
    said: Sender<Said>,
}

fn pair() -> (Turn, Player) {
    let (go, gone) = mpsc::channel();
    let (say, said) = mpsc::channel();
    let turn = Turn {
        go: RefCell::new(gone),
        said: say,
    };
    (turn, Player { go, said })
}

impl Turn {
    fn run(self, play: Play) {
        let verdict = play(&self);
        let _ = self.said.send(Said::Over(verdict));
    }

    /// Waits until skbtrace listens and nobody else sends. What is traced is to be built before.
    pub fn listen(&self) -> Result<Listening<'_>> {
        match self.wait()? {
            Go::Play => Ok(Listening(self)),
            Go::Judge(_) => Err(out_of_turn()),
        }
    }

    fn wait(&self) -> Result<Go> {
        let networks = netns::made_here().into_iter().collect();
        let alone = || anyhow!("skbtrace does not listen");
        self.said.send(Said::Done(networks)).map_err(|_| alone())?;
        self.go.borrow().recv().map_err(|_| alone())
    }
}

fn out_of_turn() -> Error {
    anyhow!("not its turn")
}

/// A part's turn.
pub struct Listening<'a>(&'a Turn);

impl Listening<'_> {
    /// Ends the turn; waits until the others had theirs, and yields what was told about this one.
    pub fn stop(self) -> Result<Outcome> {
        match self.0.wait()? {
            Go::Judge(outcome) => *outcome,
            Go::Play => Err(out_of_turn()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(netns: u32, skb: &str, id: Option<u64>) -> Row {
        let wide = id.map(|id| format!(" #{id}")).unwrap_or_default();
        let line = format!(
            "[06:47:28.134562] [{netns}] eth0 U:1.1.1.1:1->2.2.2.2:2 ffff00000000{skb}.0:ip_rcv{wide}"
        );
        Row::parse(&line).expect("a row").expect("no heading")
    }

    #[test]
    fn rows_are_of_those_who_built_the_place_or_had_the_packet() {
        let claims = [BTreeSet::from([1, 2]), BTreeSet::from([3])];
        let rows = [
            row(0, "000a", None),
            row(1, "000a", None),
            row(3, "000b", None),
            row(0, "000a", None),
            row(9, "000c", None),
        ];
        let shares = share(&rows, &claims);
        let places = |rows: &[Row]| rows.iter().map(|row| row.netns).collect::<Vec<_>>();
        assert_eq!(places(&shares[0]), [0, 1, 0, 9]);
        assert_eq!(places(&shares[1]), [0, 3, 9]);
    }

    #[test]
    fn a_packet_is_known_before_it_has_a_place() {
        let claims = [BTreeSet::from([1]), BTreeSet::from([3])];
        let rows = [
            row(0, "000a", Some(7)),
            row(3, "000a", Some(7)),
            row(1, "000a", Some(8)),
            row(0, "000a", Some(7)),
        ];
        let shares = share(&rows, &claims);
        assert_eq!((shares[0].len(), shares[1].len()), (1, 3));
    }

    #[test]
    fn who_ends_early_keeps_nobody_waiting() {
        let mut turns = Turns::with(&[]);
        turns.trial("fails", |_| Err(anyhow!("as asked")));
        turns.trial("passes", |_| Ok(()));
        let company = Arc::clone(&turns.company);
        let parts: Vec<_> = lock(&company.state)
            .parts
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        assert!(company.verdict(&parts[1]).is_ok());
        assert!(company.verdict(&parts[0]).is_err());
    }
}
