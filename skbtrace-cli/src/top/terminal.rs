//! The terminal: its modes, what is written to it, and its keys.
//!
//! **Invariants:** whatever way the run ends, a kill by SIGKILL excepted, the terminal is as it was.
//! Nobody waits for it but a thread of its own.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    panic,
    rc::Rc,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use crossterm::{
    cursor::{Hide, Show},
    event::{self, Event},
    queue,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Frame, backend::CrosstermBackend};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The terminal is not as it was.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// How long a terminal may take for what was written to it when the run ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// The terminal, showing a screen of ours. Gives it back when dropped.
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Paper>>,
    paper: Paper,
    writer: Writer,
}

impl Terminal {
    /// Takes the terminal over.
    pub fn open() -> Result<Self> {
        let writer = Writer::start()?;
        give_back_after_panics();
        enable_raw_mode().context("cannot switch the terminal's mode; is there a keyboard?")?;
        CHANGED.store(true, Ordering::Relaxed);
        Self::enter(writer).inspect_err(|_| give_back())
    }

    fn enter(writer: Writer) -> Result<Self> {
        let mut paper = Paper::default();
        queue!(paper, EnterAlternateScreen, Hide).context("cannot write to the terminal")?;
        let inner = ratatui::Terminal::new(CrosstermBackend::new(paper.clone()))
            .context("cannot tell the terminal's size")?;
        Ok(Self {
            inner,
            paper,
            writer,
        })
    }

    /// Whether all that was drawn has been written.
    pub fn is_free(&self) -> bool {
        !self.writer.busy.load(Ordering::Acquire)
    }

    /// Lines.
    pub fn height(&self) -> usize {
        let size = self.inner.size();
        size.map_or(0, |size| size.height.into())
    }

    /// Draws, and has what changed written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.inner
            .draw(draw)
            .map(drop)
            .and_then(|()| self.writer.write(self.paper.0.take()))
            .context("cannot write to the terminal")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let start = Instant::now();
        while !self.is_free() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        give_back();
    }
}

/// Makes the terminal what it was.
fn give_back() {
    if !CHANGED.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut bytes = Vec::new();
    let _ = queue!(bytes, LeaveAlternateScreen, Show);
    // A terminal that takes nothing would keep us here.
    if takes_more()
        && let Ok(mut terminal) = stdout()
    {
        let _ = terminal.write_all(&bytes);
    }
    let _ = disable_raw_mode();
}

fn give_back_after_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}

/// Standard output, without the lock that the writer may hold.
fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

fn takes_more() -> bool {
    let mut poll = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one whole pollfd.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0
}

/// What is to be written, of one drawing.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes.
struct Writer {
    texts: Sender<Vec<u8>>,
    busy: Arc<AtomicBool>,
}

impl Writer {
    fn start() -> Result<Self> {
        let (texts, to_write) = channel::<Vec<u8>>();
        let busy = Arc::new(AtomicBool::new(false));
        let is_busy = Arc::clone(&busy);
        let mut terminal = stdout().context("cannot write to the terminal")?;
        let write = move || {
            for text in to_write {
                let result = terminal.write_all(&text);
                is_busy.store(false, Ordering::Release);
                // The sender gets to know that nobody receives any more.
                if result.is_err() {
                    return;
                }
            }
        };
        spawn("screen", write)?;
        Ok(Self { texts, busy })
    }

    /// Has a text written; only when nothing else is being written.
    fn write(&self, text: Vec<u8>) -> io::Result<()> {
        self.busy.store(true, Ordering::Release);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.texts.send(text).map_err(gone)
    }
}

/// Keys and changes of size, as they come, until the terminal is gone.
pub fn listen() -> Result<UnboundedReceiver<Event>> {
    let (events, receiver) = unbounded_channel();
    let read = move || {
        while let Ok(event) = event::read() {
            if events.send(event).is_err() {
                return;
            }
        }
    };
    spawn("keys", read)?;
    Ok(receiver)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    let handle = thread.spawn(work);
    handle.map(drop).context("cannot start a thread")
}
