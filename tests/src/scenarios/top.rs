//! The live view, in a terminal, of 80 columns and 24 lines unless it is made larger.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::ioctl_write_ptr_bad;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, setsid};

use super::trial;
use crate::topology::{self, CLIENT, Cluster, PORT, SERVER};
use crate::tracer::skbtrace;
use crate::traffic;
use crate::wait::{self, LONG, SOON};

const SIZE: Winsize = size(80, 24);
/// Leaves the screen on which nothing scrolls.
const LEAVE: &[u8] = b"\x1b[?1049l";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("top_shows_a_flow_and_its_tree", flow_and_tree),
        trial("top_gives_the_terminal_back", given_back),
        trial("top_shows_what_is_found", finding),
        trial("top_follows_the_terminals_size", resized),
        trial("top_on_a_terminal_that_stands_still", stalled),
    ]
}

const fn size(columns: u16, lines: u16) -> Winsize {
    Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);

/// skbtrace in a terminal.
struct Session {
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    screen: Screen,
    written: Vec<u8>,
}

impl Session {
    fn start(args: &[&str]) -> Result<Self> {
        let pty = openpty(&SIZE, None).context("cannot open a terminal")?;
        let before = tcgetattr(&pty.slave)?;
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // A session of its own: it must not ask the guest's console for its size.
        let alone = || {
            setsid()?;
            Ok(set_pdeathsig(Signal::SIGTERM)?)
        };
        let mut command = skbtrace();
        command
            .args(args)
            .stdin(Stdio::from(pty.slave.try_clone()?))
            .stdout(Stdio::from(pty.slave.try_clone()?))
            .stderr(Stdio::inherit());
        // SAFETY: between fork and exec the closure makes two system calls and nothing else.
        unsafe { command.pre_exec(alone) };
        let child = command.spawn().context("cannot start skbtrace")?;
        Ok(Self {
            child,
            master: File::from(pty.master),
            slave: pty.slave,
            before,
            screen: Screen::new(SIZE),
            written: Vec::new(),
        })
    }

    /// Takes what was written since.
    fn read(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.master.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let new = bytes.get(..count).unwrap_or_default();
                    self.written.extend_from_slice(new);
                    self.screen.write(new);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the terminal"),
            }
        }
    }

    /// Waits until a text is on the screen.
    fn wait_for(&mut self, text: &str) -> Result<()> {
        let result = wait::until(&format!("{text:?} on the screen"), LONG, || {
            self.read()?;
            if self.screen.text().contains(text) {
                return Ok(Some(()));
            }
            match self.child.try_wait()? {
                Some(status) => bail!("skbtrace ended ({status})"),
                None => Ok(None),
            }
        });
        result.with_context(|| format!("the screen:\n{}", self.screen.text()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Makes the terminal another size.
    fn resize(&mut self, size: Winsize) -> Result<()> {
        // SAFETY: an open terminal, and a whole winsize.
        unsafe { set_size(self.master.as_raw_fd(), &raw const size) }?;
        self.screen = Screen::new(size);
        // It has no terminal that controls it, which would send it this.
        self.signal(Signal::SIGWINCH)
    }

    /// Whether it takes nothing more until somebody reads.
    fn is_full(&self) -> Result<bool> {
        let mut slave = [PollFd::new(self.slave.as_fd(), PollFlags::POLLOUT)];
        Ok(poll(&mut slave, PollTimeout::ZERO)? == 0)
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Its exit code, when the terminal is again what it was.
    fn end(mut self) -> Result<Option<i32>> {
        let status = wait::regardless("skbtrace to end", SOON, || {
            self.read()?;
            Ok(self.child.try_wait()?)
        })?;
        self.read()?;
        let leave = self.written.windows(LEAVE.len());
        ensure!(
            leave.filter(|bytes| *bytes == LEAVE).count() == 1,
            "the screen was not given back"
        );
        let after = tcgetattr(self.slave.as_fd())?;
        ensure!(
            after == self.before,
            "modes after: {after:?}; before: {:?}",
            self.before
        );
        Ok(status.code())
    }

    fn is_changed(&self) -> Result<bool> {
        Ok(tcgetattr(self.slave.as_fd())? != self.before)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What stands where, as far as a screen is drawn by moving to places and writing there.
struct Screen {
    cells: Vec<Vec<u8>>,
    at: (usize, usize),
    /// An escape sequence that is not complete.
    escape: Option<Vec<u8>>,
}

impl Screen {
    fn new(size: Winsize) -> Self {
        Self {
            cells: vec![vec![b' '; size.ws_col.into()]; size.ws_row.into()],
            at: (0, 0),
            escape: None,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match &mut self.escape {
                Some(sequence) => {
                    sequence.push(byte);
                    if sequence.len() > 1 && matches!(byte, b'@'..=b'~') {
                        let sequence = std::mem::take(sequence);
                        self.escape = None;
                        self.command(&sequence);
                    }
                }
                None if byte == 0x1b => self.escape = Some(Vec::new()),
                None => {
                    let (line, column) = self.at;
                    let cell = self
                        .cells
                        .get_mut(line)
                        .and_then(|line| line.get_mut(column));
                    if let Some(cell) = cell {
                        *cell = byte;
                    }
                    self.at = (line, column + 1);
                }
            }
        }
    }

    /// `[line;columnH` goes to a place, `[2J` clears; colours and modes are nothing to see.
    fn command(&mut self, sequence: &[u8]) {
        let text = String::from_utf8_lossy(sequence);
        if let Some(place) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix('H'))
        {
            let mut numbers = place.split(';').map(|number| number.parse().unwrap_or(1));
            let mut next = || numbers.next().unwrap_or(1_usize).saturating_sub(1);
            self.at = (next(), next());
        } else if text == "[2J" {
            self.cells.iter_mut().for_each(|line| line.fill(b' '));
        }
    }

    fn text(&self) -> String {
        let lines = self.cells.iter().map(|line| String::from_utf8_lossy(line));
        lines.collect::<Vec<_>>().join("\n")
    }
}

const PATH: &[&str] = &["top", "--route", "--host", CLIENT, "--proto", "udp"];

fn send(cluster: &Cluster) -> Result<()> {
    let receiver = traffic::udp_socket(&cluster.server, topology::at(SERVER, PORT)?)?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, 0)?)?;
    for _ in 0..3 {
        traffic::send(&sender, topology::at(SERVER, PORT)?, b"datagram")?;
        traffic::receive(&receiver)?;
    }
    Ok(())
}

fn flow_and_tree() -> Result<()> {
    let cluster = topology::pods()?;
    let mut session = Session::start(PATH)?;
    session.wait_for("events/s")?;
    ensure!(session.is_changed()?, "the terminal's modes are as before");
    send(&cluster)?;
    session.wait_for(&format!("->{SERVER}:{PORT}"))?;
    session.wait_for("delivered")?;
    session.press("\r")?;
    session.wait_for("ip_send_skb")?;
    session.wait_for("netns ")?;
    session.press("\x7f")?;
    session.wait_for("PKTS")?;
    session.press("q")?;
    let code = session.end()?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(())
}

/// A datagram to a port where nobody listens, and its tree.
fn finding() -> Result<()> {
    let cluster = topology::pods()?;
    let mut session = Session::start(&[PATH, &["--explain"]].concat())?;
    session.wait_for("FINDING (0)")?;
    let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, 0)?)?;
    traffic::send(&sender, topology::at(SERVER, PORT)?, b"nobody")?;
    session.wait_for("FINDING (1)")?;
    // The last table, which then has the most lines.
    session.press("\x1b[Z")?;
    session.wait_for("no-socket: nobody listens at UDP")?;
    session.press("\r")?;
    session.wait_for("FINDING no-socket certain")?;
    session.wait_for("check: ")?;
    session.press("q")?;
    let code = session.end()?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(())
}

/// Also by a signal, and by Ctrl-C, which is a key here.
fn given_back() -> Result<()> {
    for ends in [Some(Signal::SIGTERM), Some(Signal::SIGHUP), None] {
        let mut session = Session::start(PATH)?;
        session.wait_for("events/s")?;
        match ends {
            Some(signal) => session.signal(signal)?,
            None => session.press("\x03")?,
        }
        // Nothing passed, which a signal's way out says.
        let expected = if ends.is_some() { 1 } else { 0 };
        let code = session.end().with_context(|| format!("{ends:?}"))?;
        ensure!(code == Some(expected), "exit code {code:?} after {ends:?}");
    }
    Ok(())
}

/// The last line stays the last.
fn resized() -> Result<()> {
    let mut session = Session::start(PATH)?;
    for size in [SIZE, size(120, 40), size(60, 12)] {
        session.resize(size)?;
        wait::until("the hints on the last line", LONG, || {
            session.read()?;
            let text = session.screen.text();
            let (above, last) = text.rsplit_once('\n').context("one line")?;
            let (first, _) = above.split_once('\n').context("two lines")?;
            Ok((last.contains("quit") && first.contains("events/s")).then_some(()))
        })
        .with_context(|| format!("the screen:\n{}", session.screen.text()))?;
    }
    session.press("q")?;
    let code = session.end()?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(())
}

/// Nobody reads what is drawn, as when a connection hangs: the run goes on, and ends when it is told
/// to.
fn stalled() -> Result<()> {
    let mut session = Session::start(PATH)?;
    session.wait_for("events/s")?;
    wait::until("the terminal to be full", LONG, || {
        // Whatever the size, each is drawn anew.
        session.signal(Signal::SIGWINCH)?;
        session.press("?")?;
        Ok(session.is_full()?.then_some(()))
    })?;
    session.signal(Signal::SIGTERM)?;
    let status = wait::regardless("skbtrace to end", SOON, || Ok(session.child.try_wait()?))?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(
        !session.is_changed()?,
        "the terminal's modes were not given back"
    );
    Ok(())
}
