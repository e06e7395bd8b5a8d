//! The page: one table, what it means, and the numbers behind it.
//!
//! It is printed in parts between marks, for `cargo xtask bench` makes one page of what several
//! kernels' guests print: the rows of all, the explanations of one.

use std::fmt::{self, Display};

use super::Found;
use super::cases::FUNCTIONS;
use super::figure::{Figure, Value};
use super::peers::PeerFigures;

/// All that was found.
pub struct Page {
    /// Its release.
    pub kernel: String,
    /// skbtrace's.
    pub version: String,
    /// Rows of the table.
    pub figures: Vec<Figure>,
    /// Titles, and the numbers behind the figures.
    pub raw: Vec<(String, String)>,
    /// The peers, where they were asked for.
    pub peers: Vec<PeerFigures>,
}

impl Page {
    /// Takes what a measurement yields, and shows it.
    pub fn add(&mut self, title: String, found: Found) {
        for figure in &found.figures {
            println!("{figure}");
        }
        self.figures.extend(found.figures);
        if !found.raw.is_empty() {
            println!("{}", indented(&found.raw));
            self.raw.push((title, found.raw));
        }
    }

    /// Whether nothing was measured.
    pub const fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.peers.is_empty()
    }

    /// Whether a measurement failed.
    pub fn has_failures(&self) -> bool {
        let failed = |value: &Value| matches!(value, Value::Failed(_));
        self.figures.iter().any(|figure| failed(&figure.value))
            || self
                .peers
                .iter()
                .any(|peer| peer.found.as_ref().is_err_and(failed))
    }

    /// A figure's cell of a peer.
    fn cell(peer: &PeerFigures, figure: &Figure) -> String {
        let Ok(numbers) = &peer.found else {
            return String::new();
        };
        let cell = figure
            .compared
            .and_then(|wanted| numbers.cells.iter().find(|(is, _)| *is == wanted));
        cell.map(|(_, text)| text.clone()).unwrap_or_default()
    }

    fn peer<'a>(&'a self, name: &str) -> Option<&'a PeerFigures> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// `6.12` of `6.12.117+deb13-cloud-amd64`.
    fn series(&self) -> String {
        let numbers: Vec<&str> = self.kernel.split('.').take(2).collect();
        numbers.join(".")
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.figures {
            let peer = |name| self.peer(name).map(|peer| Self::cell(peer, figure));
            let limit = figure
                .limit
                .map(|limit| format!("≤ {}", figure.unit.text(limit)));
            writeln!(
                f,
                "| {} | {} | {} | **{}** | {} | {} | {} | {} |",
                self.series(),
                figure.what,
                limit.unwrap_or_default(),
                figure.measured(),
                figure.verdict().replace('|', "/"),
                peer("pwru").unwrap_or_default(),
                peer("bpftrace").unwrap_or_default(),
                figure.remarks.replace('|', "/"),
            )?;
        }
        Ok(())
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, kernel {}, one CPU.\n", self.version, self.kernel)?;
        f.write_str(METHOD)?;
        writeln!(f, "\nThe 17 functions: `{}`.\n", FUNCTIONS.join("`, `"))?;
        if self.peers.is_empty() {
            return f.write_str(NO_PEERS);
        }
        f.write_str(PEERS)?;
        for peer in &self.peers {
            match &peer.found {
                Ok(numbers) => writeln!(f, "- {}: {}", peer.name, numbers.version)?,
                Err(Value::Skipped(reason)) => writeln!(f, "- {}: SKIP: {reason}", peer.name)?,
                Err(Value::Failed(reason)) => {
                    writeln!(f, "- {}: **failed**: {reason}", peer.name)?;
                }
                Err(Value::Measured(_)) => {}
            }
        }
        Ok(())
    }

    fn behind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, raw) in &self.raw {
            writeln!(f, "{}: {title}\n{}", self.series(), indented(raw))?;
        }
        for peer in &self.peers {
            if let Ok(numbers) = &peer.found {
                writeln!(
                    f,
                    "{}: {}\n{}",
                    self.series(),
                    peer.name,
                    indented(&numbers.raw)
                )?;
            }
        }
        Ok(())
    }
}

impl Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "BENCH-ROWS-BEGIN")?;
        self.rows(f)?;
        writeln!(f, "BENCH-ROWS-END\nBENCH-NOTES-BEGIN")?;
        self.notes(f)?;
        writeln!(f, "BENCH-NOTES-END\nBENCH-RAW-BEGIN")?;
        self.behind(f)?;
        writeln!(f, "BENCH-RAW-END")
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

const METHOD: &str = "\
A UDP sender in the client's network namespace sends to a Service, which iptables-legacy translates to
a pod on the same node behind a promiscuous bridge (scenario 1 of `cargo xtask demo`), and times its own
loop. The server's socket is never read.

- *A hit*: instructions for a packet, less those without skbtrace just before, divided by all hook hits a
  packet makes, which a run with `-v` counts apart. Packets are followed, as they are by default: hits of
  the hooks that this takes (copies, ends of packets) are among them. A function whose return is reported
  too counts once. Figures are the best of several batches.
- *Rejected unread, not followed*: rejected by the process, before anything of the packet is read. So it is
  what coming and going costs: trampoline, ftrace or breakpoint, and the kernel's way to the program and
  back, which no program can make cheaper. What *rejected, not followed* has more is for reading the
  `sk_buff` and the headers and comparing them; what *rejected* has more than that is for following. Before
  6.3 memory is read by a helper, some 100 instructions a call: a kprobe needs two calls, a fentry program
  one, as its `sk_buff` is typed. Fewer calls do not tell the addresses, so of the header these alone are read
  first. Loads that the compiler may merge were tried and cost 4 more.
- *Hooks alone*: skbtrace is stopped with SIGSTOP while packets go through that its buffer can hold, so that
  only the kernel side runs.
- *Live*: all that the packets make happen, reading and printing to a file on a tmpfs included. The first
  burst is dearer, as it finds memory untouched.
- *Ready*: CPU time of the process by its CPU clock, ended threads included (`clock_getcpuclockid`), when it
  says that it listens. Seconds are 10⁹ instructions.
- *Prompt back*: from SIGINT to the end of the command. Detaching goes on behind it; *nothing attached* is
  when no eBPF program is loaded any more (`BPF_PROG_GET_NEXT_ID`). Its time is mostly the kernel's waiting.
- *Memory*: resident, from `/proc/PID/smaps`. The event buffer stands apart: the kernel maps a ring buffer's
  data twice in a row and counts both, although the memory is there once.
- *Growth*: of the cost of a hit that is otherwise the same, hooks alone.

After attaching, and when nothing is attached any more, 1.5 s pass before anything is timed: the kernel is
still tidying up.
";

const PEERS: &str = "\
The peers are Debian's, on the same functions and with the same traffic, which they do not follow: the cost
of a packet is divided by the hits without following. They too are stopped with SIGSTOP for the cost of a
hit. pwru prints tuple and interface; bpftrace runs a program that compares addresses and protocol, and
prints address of the `sk_buff`, function, interface, addresses and ports. Idle is watched for 0.2 s. How much they printed of what came while they were stopped
stands under *All batches*: pwru about half, bpftrace one line. A buffer that fills up would show as a step
between *first* and *alone*, and there is none; whether bpftrace kept its events is not known.

";

const NO_PEERS: &str = "Peers were not measured in this run (`cargo xtask bench --peers`).\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::{Compared, Unit};
    use crate::bench::peers::Numbers;

    #[test]
    fn a_row_has_the_peers_beside_the_figure() {
        let figure = Figure::new("rejected, a hit", Unit::Instructions, 300.0)
            .limit(260.0)
            .compared(Compared::Rejected);
        let page = Page {
            kernel: "6.12.117+deb13".to_owned(),
            version: "skbtrace 0.1.0".to_owned(),
            figures: vec![figure],
            raw: vec![("rejected".to_owned(), "base 1\nalone 2".to_owned())],
            peers: vec![
                PeerFigures {
                    name: "pwru",
                    found: Ok(Numbers {
                        version: "pwru 1".to_owned(),
                        cells: vec![(Compared::Rejected, "1200".to_owned())],
                        raw: String::new(),
                    }),
                },
                PeerFigures {
                    name: "bpftrace",
                    found: Err(Value::Skipped("no package".to_owned())),
                },
            ],
        };
        let text = page.to_string();
        let row = "| 6.12 | rejected, a hit | ≤ 260 | **300** | **missed** | 1200 |  |  |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("- bpftrace: SKIP: no package"), "{text}");
        assert!(
            text.contains("6.12: rejected\n  base 1\n  alone 2"),
            "{text}"
        );
        assert!(!page.has_failures());
    }
}
