//! Findings: what the rules conclude, as text and as lines of JSON.
//!
//! ```text
//! FINDING no-socket certain: nobody listens at UDP 10.71.0.2:7 in netns right; the sender gets …
//!   check: in that netns: ss -lunp: does the program run, at this port, …
//!   [02:09:17.132480] [4026532281] eth0  …  __icmp_send
//! ```
//!
//! One line, then what to do, then the events that show it, as the table has them; the latter two
//! not with `--brief`. At the end each cause that more than one packet showed has a line with their
//! number. In JSON all of that is an object of `type` `finding`, and `finding_count` at the end.

use super::{
    json::{Json, JsonOptions},
    table::{Table, TableOptions},
    trace,
};
use crate::{
    decode::Names,
    diagnosis::{Diagnosis, Finding, Options, Told},
    event::Event,
    gap::Gap,
    journey::{Family, Journeys, Limits},
    lineage::Place,
};

const BAD: &[u8] = b"\x1b[1;31m";

/// What is asked of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explain {
    /// What the rules are told.
    pub options: Options,
    /// The line alone.
    pub brief: bool,
}

/// Writes findings.
#[derive(Debug)]
pub struct Findings {
    diagnosis: Diagnosis,
    brief: bool,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    Text { table: Box<Table>, color: bool },
    Json(Box<Json>),
}

impl Findings {
    /// As text, with events as a table of these options has them.
    #[must_use]
    pub fn text(explain: Explain, options: TableOptions) -> Self {
        Self {
            diagnosis: Diagnosis::new(explain.options),
            brief: explain.brief,
            lines: Lines::Text {
                color: options.color,
                table: Box::new(Table::new(TableOptions {
                    wide: false,
                    ..options
                })),
            },
        }
    }

    /// As lines of JSON.
    #[must_use]
    pub fn json(explain: Explain, options: JsonOptions) -> Self {
        Self {
            diagnosis: Diagnosis::new(explain.options),
            brief: explain.brief,
            lines: Lines::Json(Box::new(Json::new(options))),
        }
    }

    /// Looks at a family that is complete, and appends what is new.
    pub fn family(&mut self, family: &Family, names: &dyn Names, out: &mut Vec<u8>) {
        for finding in self.diagnosis.family(family, names) {
            match &mut self.lines {
                Lines::Text { table, color } => {
                    heading(&finding, *color, out);
                    if !self.brief {
                        out.extend_from_slice(b"  check: ");
                        out.extend_from_slice(finding.check.as_bytes());
                        out.push(b'\n');
                        let mut lines = Vec::new();
                        for event in shown(&finding, family) {
                            table.line(&event, names, &mut lines);
                        }
                        for line in lines.split_inclusive(|&byte| byte == b'\n') {
                            out.extend_from_slice(b"  ");
                            out.extend_from_slice(line);
                        }
                    }
                }
                Lines::Json(json) => {
                    let events: Vec<_> = shown(&finding, family).filter(|_| !self.brief).collect();
                    let first = family.journeys.first();
                    let packet = first.map(|journey| journey.number);
                    json.finding(&finding, packet, &events, names, out);
                }
            }
        }
    }

    /// Appends how many packets showed each cause.
    pub fn end(&self, out: &mut Vec<u8>) {
        for told in self.diagnosis.told() {
            match &self.lines {
                Lines::Text { .. } if told.packets > 1 => count(told, out),
                Lines::Text { .. } => {}
                Lines::Json(_) => Json::finding_count(told, out),
            }
        }
        if let (Lines::Text { .. }, more @ 1..) = (&self.lines, self.diagnosis.more()) {
            let line = format!("{more} findings of further causes: there was no room for them\n");
            out.extend_from_slice(line.as_bytes());
        }
    }

    /// How many causes were found.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.diagnosis.told().len() as u64
    }
}

/// Appends a finding's line.
fn heading(finding: &Finding, color: bool, out: &mut Vec<u8>) {
    trace::painted(BAD, color, out, |out| out.extend_from_slice(b"FINDING"));
    let line = format!(
        " {} {}: {}\n",
        finding.rule,
        finding.confidence.word(),
        finding.sentence
    );
    out.extend_from_slice(line.as_bytes());
}

fn count(told: &Told, out: &mut Vec<u8>) {
    let line = format!(
        "{} packets: {}: {}\n",
        told.packets, told.rule, told.sentence
    );
    out.extend_from_slice(line.as_bytes());
}

/// The events that show a finding, in order of time.
fn shown<'a>(finding: &Finding, family: &'a Family) -> impl Iterator<Item = Event<'a>> {
    let mut events: Vec<Event<'a>> = finding
        .evidence
        .iter()
        .filter_map(|evidence| {
            let journey = family.journeys.get(evidence.journey)?;
            let place = Place {
                number: journey.number,
                parent: journey.parent,
            };
            Some(journey.hops.get(evidence.hop)?.event(place))
        })
        .collect();
    events.sort_by_key(|event| event.time_ns);
    events.into_iter()
}

/// Findings beside a format that tells events one by one.
#[derive(Debug)]
pub struct Beside {
    journeys: Journeys,
    findings: Findings,
}

impl Beside {
    /// Nothing has been seen.
    #[must_use]
    pub fn new(findings: Findings, limits: Limits) -> Self {
        Self {
            journeys: Journeys::new(limits),
            findings,
        }
    }

    /// Takes an event; appends the findings that were waited for until then.
    pub fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.event(event, names);
        self.tell(names, out);
    }

    /// Events were lost.
    pub fn lost(&mut self, gap: &Gap) {
        self.journeys.lost(gap);
    }

    /// As [`super::Renderer::settled`].
    pub fn settled(&mut self, until_ns: u64, names: &dyn Names, out: &mut Vec<u8>) -> bool {
        self.journeys.settled(until_ns);
        self.tell(names, out);
        self.journeys.is_waiting()
    }

    /// Appends what is left.
    pub fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.finish();
        self.tell(names, out);
        self.findings.end(out);
    }

    /// How many causes were found.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.findings.found()
    }

    fn tell(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        while let Some(family) = self.journeys.take() {
            self.findings.family(&family, names, out);
        }
    }
}
