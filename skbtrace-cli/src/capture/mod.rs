//! Captures: what the hooks saw as packets, in a file that Wireshark opens (`--pcapng`).
//!
//! The format is pcapng (draft-ietf-opsawg-pcapng). An event is an Enhanced Packet Block: the packet
//! as it was at that hook, in wall-clock time, with the event itself as a comment and the packet's
//! number as its identity, which is the same wherever the packet was seen. An interface of the file
//! is a device in its network namespace, and stands once for each kind of link-layer header met
//! there ([`interfaces`]).
//!
//! **Invariants:** a packet has the bytes that were captured and no others; events without bytes
//! are counted and told. Blocks are written whole. A failure to write never ends the run: the
//! capture ends there, with whole blocks, and says so when it is closed.

mod frame;
mod interfaces;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use pcap_file::{
    Endianness,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            opt_common::{CommonOption, UnknownOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use self::interfaces::Interfaces;
use crate::{
    args,
    decode::{Names, decode},
    event::Event,
    lineage::Lineage,
    output::Output,
    printer::Flow,
    record::RecordRef,
    render::comment,
    tell,
    waits::Waits,
};

/// The option that an enhanced packet's identity is, 8 bytes (epb_packetid).
const PACKET_ID: u16 = 5;
/// `skb->pkt_type` (include/uapi/linux/if_packet.h): how a frame was received, and that it was not.
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;
const OUTGOING: u8 = 4;

/// Where packets are to be written, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureFile {
    /// `None` for standard output.
    pub path: Option<PathBuf>,
    /// Bytes of a packet at most; `None` for all there are.
    pub snaplen: Option<u32>,
}

/// A capture that is being written.
pub struct Capture {
    output: Output,
    /// Blocks that are not yet written.
    blocks: PcapNgWriter<Vec<u8>>,
    interfaces: Interfaces,
    snaplen: Option<u32>,
    unix_offset_ns: i64,
    lineage: Lineage,
    /// Only when packets' coming out of queues is told.
    waits: Option<Waits>,
    /// What of the output is whole blocks, bytes.
    length: u64,
    /// Packets put into blocks.
    packets: u64,
    /// Events without bytes.
    left_out: u64,
    comment: Vec<u8>,
    is_over: bool,
    failure: Option<anyhow::Error>,
}

impl Capture {
    /// Blocks are written at once when there is this much.
    const ENOUGH: usize = 1 << 16;

    /// A capture whose file is open, and keeps what it held until [`Capture::begin`].
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(file: &CaptureFile, stopping: Arc<AtomicBool>) -> Result<Self> {
        let output = Output::of_option("--pcapng", file.path.as_deref(), stopping)?;
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(
                format!("skbtrace {}", args::version()).into(),
            )],
            ..SectionHeaderBlock::default()
        };
        Ok(Self {
            output,
            blocks: PcapNgWriter::with_section_header(
                Vec::with_capacity(2 * Self::ENOUGH),
                section,
            )
            .context("--pcapng: cannot make the file's header")?,
            interfaces: Interfaces::new(file.snaplen),
            snaplen: file.snaplen,
            unix_offset_ns: 0,
            lineage: Lineage::new(),
            waits: None,
            length: 0,
            packets: 0,
            left_out: 0,
            comment: Vec::new(),
            is_over: false,
            failure: None,
        })
    }

    /// Tells it what to add to `CLOCK_MONOTONIC` for Unix time, and whether packets' coming out of
    /// queues is among the events.
    #[must_use]
    pub fn of_run(mut self, unix_offset_ns: i64, waits: bool) -> Self {
        self.unix_offset_ns = unix_offset_ns;
        self.waits = waits.then(Waits::new);
        self
    }

    /// Empties the file and writes what it begins with.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&mut self) -> Result<Flow> {
        self.output.begin()?;
        let flow = self.flush();
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(flow),
        }
    }

    /// Takes in an event, which may wait for [`Capture::flush`]. One that is `hidden` counts for
    /// packets' numbers only.
    #[inline(never)]
    pub fn event(&mut self, record: RecordRef<'_>, names: &dyn Names, hidden: bool) -> Flow {
        let mut event = decode(record, names);
        self.lineage.place(&mut event);
        if let Some(waits) = &mut self.waits {
            waits.place(&mut event);
        }
        if hidden || self.is_over {
            return Flow::On;
        }
        if self.packet(record, &event, names).is_some() {
            self.packets += 1;
        } else {
            self.left_out += 1;
        }
        if self.blocks.get_ref().len() >= Self::ENOUGH {
            return self.flush();
        }
        Flow::On
    }

    /// Appends a packet's block; `None` when there are no bytes of it.
    fn packet(
        &mut self,
        record: RecordRef<'_>,
        event: &Event<'_>,
        names: &dyn Names,
    ) -> Option<()> {
        let frame = frame::of(record, self.snaplen)?;
        let interface_id = self
            .interfaces
            .number(event, frame.link, names, &mut self.blocks)?;
        self.comment.clear();
        comment::push(event, names, &mut self.comment);
        // Escaped, it is ASCII.
        let text = str::from_utf8(&self.comment).unwrap_or_default();
        let mut options = Vec::with_capacity(3);
        options.push(EnhancedPacketOption::Common(CommonOption::Comment(
            text.into(),
        )));
        if let Some(flags) = event.pkt_type.and_then(flags) {
            options.push(EnhancedPacketOption::Flags(flags));
        }
        let number = event.lineage.map(|place| place.number.to_le_bytes());
        if let Some(number) = &number {
            options.push(EnhancedPacketOption::Common(CommonOption::Unknown(
                UnknownOption::new(PACKET_ID, number),
            )));
        }
        // No event is of before 1970.
        let unix_ns = i128::from(event.time_ns) + i128::from(self.unix_offset_ns);
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0)),
            original_len: frame.original,
            data: Cow::Borrowed(frame.data),
            options,
        };
        // Into memory; what it refuses (a comment of 64 KiB) leaves no trace.
        self.blocks.write_pcapng_block(block).ok().map(drop)
    }

    /// Writes what has been taken in: nothing of it is lost if the run is killed now.
    pub fn flush(&mut self) -> Flow {
        let bytes = self.blocks.get_ref();
        if bytes.is_empty() || self.is_over {
            return Flow::On;
        }
        let result = self.output.append(bytes, self.length);
        self.length += bytes.len() as u64;
        self.blocks.get_mut().clear();
        let Err(error) = result else { return Flow::On };
        self.is_over = true;
        match error.kind() {
            io::ErrorKind::BrokenPipe => Flow::ReaderGone,
            io::ErrorKind::Interrupted => {
                tell!("skbtrace: the last packets were not written: nobody reads the capture");
                Flow::ReaderGone
            }
            _ => {
                let error = anyhow!(error).context(self.output.failure());
                // Before the first event it is for the run to say.
                if self.packets > 0 {
                    tell!("skbtrace: the capture ends early: {error:#}");
                }
                self.failure = Some(error);
                Flow::On
            }
        }
    }

    /// Ends it, and tells of events that are not in it.
    ///
    /// # Errors
    /// Some of it could not be written.
    pub fn close(mut self) -> Result<()> {
        self.flush();
        if self.left_out > 0 {
            tell!(
                "skbtrace: {} packets captured; {} events had no packet bytes and are not among \
                 them",
                self.packets,
                self.left_out
            );
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether two paths are one file.
#[must_use]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    a == b || real(a) == real(b)
}

/// epb_flags of a packet type: how the frame was received (bits 2 to 4), or that it is on its way
/// out (bits 0 and 1). `PACKET_HOST` says neither: packets of this machine's sockets have it too.
fn flags(pkt_type: u8) -> Option<u32> {
    const OUTBOUND: u32 = 2;
    match pkt_type {
        MULTICAST => Some(2 << 2),
        BROADCAST => Some(3 << 2),
        // The format's word is promiscuous.
        OTHERHOST => Some(4 << 2),
        OUTGOING => Some(OUTBOUND),
        _ => None,
    }
}
