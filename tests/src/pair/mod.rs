//! Two machines that do the same thing at the same time: the first says what, the second does too.
//!
//! They talk over the cable between them ([`crate::topology::machine`]), from node to node, so a trace
//! of the pods' traffic does not have it. The first one waits until the second has come up, and until it
//! has done what it was told; the second one waits for orders until it is switched off.

mod hand;
mod line;

use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use self::hand::{Hand, Order};
use self::line::Parts;
use crate::scenarios::{Skip, skip};
use crate::topology::at;
use crate::topology::machine::Way;
use crate::topology::nodes::Side;
use crate::tracer::Outcome;
use crate::wait::{self, LONG, SOON};

/// Where the second machine's node listens for orders.
const ORDERS: u16 = 1;
/// How long the second machine may take to come up.
const BOOT: Duration = Duration::from_secs(120);
/// What an answer begins with: done, or why not.
const DONE: &str = "done";
const SKIPPED: &str = "skipped";
const FAILED: &str = "failed";

/// Both machines, as the first has them.
pub struct Pair {
    hand: Hand,
    second: TcpStream,
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The second one has heard it before the cable is given back, and waits for another first one.
        let _ = self.second.shutdown(Shutdown::Write);
        let _ = line::hear(&mut self.second);
    }
}

/// What a recording run left on a machine.
pub struct Kept {
    pub recording: Vec<u8>,
    /// What it printed.
    pub printed: Vec<u8>,
}

impl Pair {
    /// Meets the second machine. Skips where there is none.
    pub fn meet() -> Result<Self> {
        let hand = Hand::of(Side::First)?;
        let second = at(&Side::Second.node(), ORDERS)?;
        let node = &hand.machine().node;
        let stream = wait::until("the second machine", BOOT, || {
            // Refused while it is not ready, and silence before.
            Ok(node
                .enter(|| Ok(TcpStream::connect_timeout(&second, SOON)?))
                .ok())
        })?;
        // It may attach to the kernel, and wait for a datagram.
        stream.set_read_timeout(Some(LONG + SOON))?;
        Ok(Self {
            hand,
            second: stream,
        })
    }

    /// Gives each a pod, and lets the pods talk this way.
    pub fn lay(&mut self, way: Way) -> Result<()> {
        self.both(&Order::Lay(way))?;
        let talked = self.exchange();
        talked.with_context(|| format!("the new way by {} does not work", way.name()))
    }

    /// Starts skbtrace on both.
    pub fn trace(&mut self, options: &[&str]) -> Result<()> {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        self.both(&Order::Trace(options)).map(drop)
    }

    /// A question from the first one's pod to the second one's, and its answer.
    pub fn exchange(&mut self) -> Result<()> {
        self.tell(&Order::Answer)?;
        self.hand.ask()?;
        self.hand.hear()?;
        self.answered().map(drop)
    }

    /// Stops skbtrace on both.
    pub fn stop(&mut self) -> Result<[Outcome; 2]> {
        let [first, second] = self.both(&Order::Stop)?;
        Ok([outcome(&first)?, outcome(&second)?])
    }

    /// Records an exchange on both.
    pub fn record(&mut self, options: &[&str]) -> Result<[Kept; 2]> {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        self.both(&Order::Record(options))?;
        self.exchange()?;
        let [first, second] = self.both(&Order::Stop)?;
        Ok([kept(first)?, kept(second)?])
    }

    /// Has both do the same; what each tells.
    fn both(&mut self, order: &Order) -> Result<[Parts; 2]> {
        self.tell(order)?;
        // Heard in any case, so that the next order's answer is not taken for this one's.
        let own = self.hand.obey(order);
        let other = self.answered();
        Ok([own?, other?])
    }

    fn tell(&mut self, order: &Order) -> Result<()> {
        line::say(&mut self.second, &order.words())
    }

    fn answered(&mut self) -> Result<Parts> {
        let heard = line::hear(&mut self.second)?;
        let mut parts = heard.context("the second machine is gone")?;
        ensure!(!parts.is_empty(), "the second machine says nothing");
        let outcome = parts.remove(0);
        let why = || {
            let why = parts.first().map(Vec::as_slice).unwrap_or_default();
            format!("the second machine: {}", String::from_utf8_lossy(why))
        };
        match str::from_utf8(&outcome) {
            Ok(DONE) => Ok(parts),
            Ok(SKIPPED) => skip(why()),
            _ => bail!(why()),
        }
    }
}

fn outcome(parts: &Parts) -> Result<Outcome> {
    let [code, stdout, stderr, ..] = parts.as_slice() else {
        bail!("{} parts are no outcome", parts.len());
    };
    let code = str::from_utf8(code)?.parse()?;
    Ok(Outcome::of(
        code,
        &String::from_utf8_lossy(stdout),
        &String::from_utf8_lossy(stderr),
    ))
}

fn kept(parts: Parts) -> Result<Kept> {
    let ended = outcome(&parts)?;
    ended.explain((|| {
        ensure!(ended.code == Some(0), "exit code {:?}", ended.code);
        ensure!(ended.lost == Some(0), "{:?} events were lost", ended.lost);
        Ok(())
    })())?;
    let mut files = parts.into_iter().skip(3);
    let mut next = || files.next().context("nothing was recorded");
    Ok(Kept {
        recording: next()?,
        printed: next()?,
    })
}

/// Is the second machine: does what the first one says, until it is switched off.
pub fn serve() -> Result<()> {
    let mut hand = Hand::of(Side::Second)?;
    let own = at(&Side::Second.node(), ORDERS)?;
    let node = &hand.machine().node;
    let listener = node.enter(|| TcpListener::bind(own).context("cannot listen for orders"))?;
    loop {
        let (mut first, _) = listener.accept().context("cannot wait for orders")?;
        while let Some(parts) = line::hear(&mut first)? {
            let done = Order::read(parts).and_then(|order| hand.obey(&order));
            let answer = match done {
                Ok(parts) => [vec![DONE.as_bytes().to_vec()], parts].concat(),
                Err(error) => {
                    let outcome = if error.is::<Skip>() { SKIPPED } else { FAILED };
                    let why = format!("{error:#}");
                    vec![outcome.as_bytes().to_vec(), why.into_bytes()]
                }
            };
            line::say(&mut first, &answer)?;
        }
    }
}
