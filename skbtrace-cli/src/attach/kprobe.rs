//! Kprobes: one perf event for each function, on every kernel.
//!
//! The kernel resolves the symbol, so no address is needed and `/proc/kallsyms` stays unread, but
//! where the kernel is slow at that ([`Kprobes::look_up`]).

use std::{
    ffi::CString,
    fs, io,
    num::ParseIntError,
    os::fd::{AsFd as _, OwnedFd},
};

use super::{
    link::Link,
    sys::{self, KprobePlace},
};
use crate::kernel::symbols::places::{Place, Places};

const KIND: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Kprobes as this kernel offers them.
#[derive(Debug)]
pub struct Kprobes {
    kind: u32,
    /// Only where it was asked for.
    places: Option<Places>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum NoKprobes {
    /// The kernel has no such event source.
    #[error(
        "this kernel has no kprobes ({KIND}: {0}); it needs CONFIG_KPROBES and \
         CONFIG_KPROBE_EVENTS: see `skbtrace check`"
    )]
    Absent(io::Error),
    /// The event source is not as expected.
    #[error("{KIND}: {0}")]
    Unreadable(ParseIntError),
}

/// Why a function could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such function now.
    #[error("no such function")]
    Absent,
    /// Several functions have the name and the kernel will not choose.
    #[error("several functions have this name")]
    Ambiguous,
    /// The function cannot carry a kprobe.
    #[error("the kernel does not allow a kprobe here (notrace or blacklisted)")]
    NotTraceable,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

impl Kprobes {
    /// Asks the kernel for its kprobe event source.
    pub fn new() -> Result<Self, NoKprobes> {
        let text = fs::read_to_string(KIND).map_err(NoKprobes::Absent)?;
        let kind = text.trim().parse().map_err(NoKprobes::Unreadable)?;
        Ok(Self { kind, places: None })
    }

    /// Looks all of these names up at once, instead of having the kernel look for each.
    pub fn look_up<'a>(&mut self, symbols: impl IntoIterator<Item = &'a str>) {
        self.places = Places::read(symbols);
    }

    /// Opens an event on a function; it does not fire yet.
    pub fn open(&self, symbol: &str, at_return: bool) -> Result<OwnedFd, AttachError> {
        let places = self.places.as_ref();
        match places.map_or(Place::Unclear, |places| places.of(symbol)) {
            Place::Absent => return Err(AttachError::Absent),
            Place::At(address) => {
                let place = KprobePlace::Address(address);
                // Whatever was wrong, the name tells it better.
                if let Ok(event) = sys::open_kprobe(self.kind, place, at_return) {
                    return Ok(event);
                }
            }
            Place::Unclear => {}
        }
        let symbol = CString::new(symbol).map_err(|_| AttachError::Absent)?;
        let place = KprobePlace::Symbol(&symbol);
        sys::open_kprobe(self.kind, place, at_return).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => AttachError::Absent,
            Some(libc::EADDRNOTAVAIL) => AttachError::Ambiguous,
            Some(libc::EINVAL) => AttachError::NotTraceable,
            _ => AttachError::Other(error),
        })
    }
}

/// Attaches a program to an open event and lets it fire.
///
/// Through a link where the kernel has them: a link can be asked how many hits were missed.
pub fn attach(program: OwnedFd, event: OwnedFd) -> Result<Link, AttachError> {
    let link = match sys::link_perf_event(program.as_fd(), event.as_fd()) {
        Ok(link) => Some(link),
        Err(_) => {
            sys::set_program(event.as_fd(), program.as_fd()).map_err(AttachError::Other)?;
            None
        }
    };
    sys::enable(event.as_fd()).map_err(AttachError::Other)?;
    Ok(Link::kprobe(link, program, event))
}
