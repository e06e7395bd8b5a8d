//! What one machine does of what both do.
//!
//! Both have one, and do the same things with it: the second because the first says so.

use std::fs;
use std::net::UdpSocket;

use anyhow::{Context as _, Result, bail};

use super::line::Parts;
use crate::topology::machine::{Machine, Way};
use crate::topology::nodes::Side;
use crate::tracer::{Scratch, Tracer};
use crate::traffic::{self, exchange};

const QUESTION: &[u8] = b"question";
const ANSWER: &[u8] = b"answer";

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// Build a pod, and this way to the other one.
    Lay(Way),
    /// Start skbtrace with these options.
    Trace(Vec<String>),
    /// The same, with what it writes kept: a recording, and what it prints.
    Record(Vec<String>),
    /// Wait for a question to the pod, and answer it.
    Answer,
    /// Stop skbtrace, and tell its exit code, standard output, standard error and what was kept.
    Stop,
}

impl Order {
    /// As it goes over the line.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Lay(way) => vec!["lay", way.name()],
            Self::Trace(options) => before("trace", options),
            Self::Record(options) => before("record", options),
            Self::Answer => vec!["answer"],
            Self::Stop => vec!["stop"],
        }
    }

    /// What came over the line.
    pub fn read(parts: Parts) -> Result<Self> {
        let words: Result<Vec<String>, _> = parts.into_iter().map(String::from_utf8).collect();
        let mut words = words.context("an order is text")?.into_iter();
        let order = words.next().unwrap_or_default();
        let mut rest: Vec<String> = words.collect();
        match (order.as_str(), rest.as_mut_slice()) {
            ("lay", [way]) => Way::named(way).map(Self::Lay),
            ("trace", _) => Ok(Self::Trace(rest)),
            ("record", _) => Ok(Self::Record(rest)),
            ("answer", []) => Ok(Self::Answer),
            ("stop", []) => Ok(Self::Stop),
            _ => bail!("there is no order {order} with {} words", rest.len()),
        }
    }
}

fn before<'a>(word: &'a str, options: &'a [String]) -> Vec<&'a str> {
    let options = options.iter().map(String::as_str);
    std::iter::once(word).chain(options).collect()
}

/// A machine that does what it is told.
pub struct Hand {
    machine: Machine,
    socket: Option<UdpSocket>,
    run: Option<Run>,
}

/// A running skbtrace.
struct Run {
    tracer: Tracer,
    /// Where it writes what is kept, and the files' names there.
    kept: Option<(Scratch, [&'static str; 2])>,
}

impl Hand {
    pub fn of(side: Side) -> Result<Self> {
        Ok(Self {
            machine: Machine::take(side)?,
            socket: None,
            run: None,
        })
    }

    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Does it, and yields what is to be told.
    pub fn obey(&mut self, order: &Order) -> Result<Parts> {
        match order {
            Order::Lay(way) => {
                self.socket = None;
                self.machine.lay(*way)?;
                let socket = traffic::udp_socket(self.machine.pod()?, self.machine.side.pod()?)?;
                self.socket = Some(socket);
            }
            Order::Trace(options) => {
                let tracer = start(options, &[])?;
                self.run = Some(Run { tracer, kept: None });
            }
            Order::Record(options) => {
                let (scratch, names) = (Scratch::create()?, ["recording", "printed"]);
                let files = names.map(|name| scratch.path().join(name));
                let [recording, printed] = files.map(|file| file.display().to_string());
                let keep = ["-w", &recording, "--print", "--wide", "-o", &printed];
                let tracer = start(options, &keep)?;
                let kept = Some((scratch, names));
                self.run = Some(Run { tracer, kept });
            }
            Order::Answer => {
                let socket = self.socket()?;
                let seen = exchange::receive_from(socket, QUESTION)?;
                traffic::send(socket, seen, ANSWER)?;
            }
            Order::Stop => return self.run.take().context("nothing is traced")?.stop(),
        }
        Ok(Parts::new())
    }

    /// Sends a question to the other machine's pod.
    pub fn ask(&self) -> Result<()> {
        traffic::send(self.socket()?, Side::Second.pod()?, QUESTION)
    }

    /// Waits for its answer.
    pub fn hear(&self) -> Result<()> {
        exchange::receive_from(self.socket()?, ANSWER).map(drop)
    }

    fn socket(&self) -> Result<&UdpSocket> {
        self.socket.as_ref().context("no pod was laid yet")
    }
}

fn start(options: &[String], further: &[&str]) -> Result<Tracer> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Tracer::start(&[&options, further].concat())
}

impl Run {
    fn stop(self) -> Result<Parts> {
        let outcome = self.tracer.stop_unparsed()?;
        let code = outcome.code.context("skbtrace was killed")?;
        let texts = [&outcome.stdout, &outcome.stderr].map(|lines| lines.join("\n"));
        let mut parts = vec![code.to_string().into_bytes()];
        parts.extend(texts.map(String::into_bytes));
        if let Some((scratch, names)) = self.kept {
            for name in names {
                parts.push(fs::read(scratch.path().join(name)).context(name)?);
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_over_the_line_as_they_were_given() {
        let options = || vec!["-H".to_owned(), "10.0.0.1".to_owned()];
        for order in [
            Order::Lay(Way::Routes),
            Order::Lay(Way::Vxlan),
            Order::Trace(options()),
            Order::Record(options()),
            Order::Answer,
            Order::Stop,
        ] {
            let words = order.words().into_iter();
            let parts: Parts = words.map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(Order::read(parts).expect("an order"), order);
        }
        assert!(Order::read(vec![b"lay".to_vec()]).is_err());
        assert!(Order::read(Parts::new()).is_err());
    }
}
