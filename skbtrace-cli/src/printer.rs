//! From records to the output: decoding, numbering, rendering, writing.
//!
//! The half of a run that needs neither root nor a kernel: a live run and the replay of a recorded
//! one hand their records, in order of time, to the same printer, and so print the same.

use std::io;

use anyhow::{Context as _, Result};

use crate::{
    capture::Capture,
    decode::{Names, decode},
    gap::Gap,
    lineage::Lineage,
    output::Output,
    record::RecordRef,
    render::{Beside, Chosen, Explain, Format, Renderer},
    row_set::RowSet,
    tell,
    waits::Waits,
};

/// What is printed.
#[derive(Debug)]
pub struct Printing {
    /// How; `None` to count events only.
    pub format: Option<Format>,
    /// Whether to begin with what the format puts before the first event.
    pub header: bool,
    /// Whether packets' coming out of queues is among the events.
    pub waits: bool,
    /// Rows whose events are for formats that tell whole journeys, and not for others.
    pub hidden: RowSet,
    /// Stop after so many events.
    pub count: Option<u64>,
    /// Whether to explain what is printed.
    pub explain: Option<Explain>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    On,
    /// The output was closed by whoever read it.
    ReaderGone,
}

/// Writes events.
pub struct Printer {
    renderer: Option<Chosen>,
    /// Besides, or instead.
    capture: Option<Capture>,
    /// What explains, where the renderer does not.
    beside: Option<Beside>,
    header: bool,
    /// Only when it is shown.
    lineage: Option<Lineage>,
    /// Likewise.
    waits: Option<Waits>,
    tells_journeys: bool,
    hidden: RowSet,
    output: Output,
    /// Lines not yet written.
    text: Vec<u8>,
    printed: u64,
    /// How many are wanted.
    enough: u64,
    /// The renderer waits for [`Printer::settled`].
    is_waiting: bool,
}

impl Printer {
    /// Text is written at once when there is this much.
    const ENOUGH: usize = 1 << 15;

    /// A printer that has written nothing yet.
    #[must_use]
    pub fn new(printing: Printing, output: Output) -> Self {
        let Printing {
            format,
            header,
            waits,
            hidden,
            count,
            explain,
        } = printing;
        let tells = |what: fn(&Format) -> bool| format.as_ref().is_some_and(what);
        let beside = format.zip(explain);
        let beside = beside.and_then(|(format, explain)| format.beside(explain));
        Self {
            renderer: format.map(|format| format.renderer(explain)),
            capture: None,
            header,
            lineage: (tells(Format::tells_packets) || beside.is_some()).then(Lineage::new),
            beside,
            waits: waits.then(Waits::new),
            tells_journeys: tells(Format::tells_journeys),
            hidden,
            output,
            text: Vec::with_capacity(1 << 16),
            printed: 0,
            enough: count.unwrap_or(u64::MAX),
            is_waiting: false,
        }
    }

    /// The same, by a renderer of one's own for the same format.
    #[must_use]
    pub fn rendered_by(mut self, renderer: Box<dyn Renderer>) -> Self {
        self.renderer = Some(Chosen::Other(renderer));
        self
    }

    /// Writes the packets to a capture as well.
    #[must_use]
    pub fn captured_by(mut self, capture: Option<Capture>) -> Self {
        self.capture = capture;
        self
    }

    /// Empties a file that is written to, and writes what comes before the first event.
    pub fn begin(&mut self) -> Result<Flow> {
        if let Some(capture) = &mut self.capture
            && capture.begin()? == Flow::ReaderGone
        {
            return Ok(Flow::ReaderGone);
        }
        let Some(renderer) = &mut self.renderer else {
            return Ok(Flow::On);
        };
        self.output.begin()?;
        if self.header {
            renderer.header(&mut self.text);
        }
        self.flush()
    }

    /// Events printed so far.
    #[must_use]
    pub fn printed(&self) -> u64 {
        self.printed
    }

    /// Whether as many events were printed as were asked for.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        self.printed >= self.enough
    }

    /// Whether events are counted and no more, so that [`Printer::counted`] does for
    /// [`Printer::event`].
    #[must_use]
    pub fn only_counts(&self) -> bool {
        self.renderer.is_none() && self.capture.is_none() && self.beside.is_none()
    }

    /// Counts an event of a row.
    #[inline]
    pub fn counted(&mut self, row: u16) {
        self.printed += u64::from(!self.hidden.contains(row));
    }

    /// Prints an event. What it wrote may wait for [`Printer::flush`].
    #[inline(always)]
    pub fn event(&mut self, record: RecordRef<'_>, names: &dyn Names) -> Result<Flow> {
        let is_hidden = !self.tells_journeys && self.hidden.contains(record.event.hook);
        if is_hidden {
            self.explain(record, names);
            return Ok(Flow::On);
        }
        self.printed += 1;
        if let Some(capture) = &mut self.capture {
            let hidden = self.hidden.contains(record.event.hook);
            if capture.event(record, names, hidden) == Flow::ReaderGone {
                return Ok(Flow::ReaderGone);
            }
        }
        let Some(renderer) = &mut self.renderer else {
            return Ok(Flow::On);
        };
        let mut event = decode(record, names);
        if let Some(lineage) = &mut self.lineage {
            lineage.place(&mut event);
        }
        if let Some(waits) = &mut self.waits {
            waits.place(&mut event);
        }
        if let Some(beside) = &mut self.beside {
            beside.event(&event, names, &mut self.text);
        }
        renderer.event(&event, names, &mut self.text);
        if self.text.len() >= Self::ENOUGH {
            return self.flush();
        }
        Ok(Flow::On)
    }

    /// Has an event explained that is not printed.
    #[cold]
    fn explain(&mut self, record: RecordRef<'_>, names: &dyn Names) {
        let (Some(beside), Some(lineage)) = (&mut self.beside, &mut self.lineage) else {
            return;
        };
        let mut event = decode(record, names);
        lineage.place(&mut event);
        if let Some(waits) = &mut self.waits {
            waits.place(&mut event);
        }
        beside.event(&event, names, &mut self.text);
        // For its packet's number, which is then the same everywhere.
        if let Some(capture) = &mut self.capture {
            capture.event(record, names, true);
        }
    }

    /// Nothing that happened until `until_ns` will come any more: prints what was waited for.
    pub fn settled(&mut self, until_ns: u64, names: &dyn Names) {
        if let Some(renderer) = &mut self.renderer {
            self.is_waiting = renderer.settled(until_ns, names, &mut self.text);
        }
        if let Some(beside) = &mut self.beside {
            self.is_waiting |= beside.settled(until_ns, names, &mut self.text);
        }
    }

    /// How many causes were found.
    #[must_use]
    pub fn found(&self) -> u64 {
        let beside = self.beside.as_ref().map_or(0, Beside::found);
        beside + self.renderer.as_ref().map_or(0, Renderer::found)
    }

    /// Whether [`Printer::settled`] will print more without further events.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Tells that events were lost, as soon as it is known.
    pub fn lost(&mut self, gap: &Gap, names: &dyn Names) {
        if let Some(renderer) = &mut self.renderer {
            renderer.lost(gap, names, &mut self.text);
        }
        if let Some(beside) = &mut self.beside {
            beside.lost(gap);
        }
    }

    /// Has a row's events told only where journeys are.
    pub fn hide(&mut self, row: u16) {
        self.hidden.insert(row);
    }

    /// Has a row's events read for what they tell of a packet, and not shown as its hops.
    pub fn leave_out(&mut self, row: u16) {
        if let Some(renderer) = &mut self.renderer {
            renderer.leave_out(row);
        }
    }

    /// Writes what is left to be told when no event comes any more.
    pub fn end(&mut self, names: &dyn Names) -> Result<Flow> {
        if let Some(renderer) = &mut self.renderer {
            renderer.end(names, &mut self.text);
        }
        if let Some(beside) = &mut self.beside {
            beside.end(names, &mut self.text);
        }
        self.flush()
    }

    /// Ends the capture, where there is one.
    ///
    /// # Errors
    /// Some of it could not be written.
    pub fn close(&mut self) -> Result<()> {
        self.capture.take().map_or(Ok(()), Capture::close)
    }

    /// Writes what has been printed and captured.
    pub fn flush(&mut self) -> Result<Flow> {
        if let Some(capture) = &mut self.capture
            && capture.flush() == Flow::ReaderGone
        {
            return Ok(Flow::ReaderGone);
        }
        if self.text.is_empty() {
            return Ok(Flow::On);
        }
        let result = self.output.write(&self.text);
        self.text.clear();
        match result {
            Ok(()) => Ok(Flow::On),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::ReaderGone),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                tell!("skbtrace: the last lines were not written: nobody reads the output");
                Ok(Flow::ReaderGone)
            }
            Err(error) => Err(error).with_context(|| self.output.failure()),
        }
    }
}
