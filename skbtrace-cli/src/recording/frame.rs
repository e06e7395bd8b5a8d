//! Frames: content that is written, checked and read as one.
//!
//! **Invariant:** whatever the bytes are, reading takes no more memory than [`MOST`] for a frame,
//! and ends.

use std::io::{self, Read, Write};

use super::{MAGIC, RecordingError, VERSION, Version};

/// How long a frame's content may be, bytes.
pub const MOST: usize = 1 << 24;
/// What a frame begins with.
const MARK: [u8; 4] = *b"skbF";
/// Length of what precedes the content.
const HEAD: usize = 16;
/// The fast end of zstd: twice the size of its default for a tenth of the work.
const LEVEL: i32 = 1;

/// The bytes that a file begins with.
#[must_use]
pub fn preamble() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes
}

/// Makes frames.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    /// The last frame and what was behind it, reused.
    frame: Vec<u8>,
}

impl Encoder {
    /// An encoder.
    ///
    /// # Errors
    /// The library has no memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Compressor::new(LEVEL)?,
            frame: Vec::new(),
        })
    }

    /// The frame of this content.
    ///
    /// # Errors
    /// The content is longer than [`MOST`].
    pub fn frame(&mut self, content: &[u8]) -> io::Result<&[u8]> {
        if content.len() > MOST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let room = HEAD + zstd::zstd_safe::compress_bound(content.len());
        if self.frame.len() < room {
            self.frame.resize(room, 0);
        }
        let (head, rest) = self.frame.split_at_mut(HEAD);
        let stored = self.zstd.compress_to_buffer(content, rest)?;
        let lengths = [as_u32(stored)?, as_u32(content.len())?].map(u32::to_le_bytes);
        let sum = checksum(&lengths.concat(), rest.get(..stored).unwrap_or_default());
        head.copy_from_slice(&[MARK, lengths[0], lengths[1], sum.to_le_bytes()].concat());
        Ok(self.frame.get(..HEAD + stored).unwrap_or_default())
    }
}

/// Reads frames.
pub struct Decoder<R> {
    input: R,
    zstd: zstd::bulk::Decompressor<'static>,
    /// Where the next frame starts.
    offset: u64,
    /// Where the last one did.
    last: u64,
}

impl<R: Read> Decoder<R> {
    /// Begins to read a file, of which version it says.
    ///
    /// # Errors
    /// It does not begin as a recording does, or is of a newer version.
    pub fn new(mut input: R) -> Result<(Self, Version), RecordingError> {
        let mut bytes = [0; MAGIC.len() + 8];
        let io = |source| RecordingError::Io { offset: 0, source };
        let read = fill(&mut input, &mut bytes).map_err(io)?;
        let (magic, numbers) = bytes.split_at(MAGIC.len());
        if read < bytes.len() || magic != MAGIC {
            return Err(RecordingError::NotARecording);
        }
        let found = number(numbers, 0);
        let version = Version::of(found).ok_or(RecordingError::Version {
            found,
            known: VERSION,
        })?;
        let decoder = Self {
            input,
            zstd: zstd::bulk::Decompressor::new().map_err(io)?,
            offset: bytes.len() as u64,
            last: 0,
        };
        Ok((decoder, version))
    }

    /// Where the last frame starts, bytes.
    #[must_use]
    pub fn last_offset(&self) -> u64 {
        self.last
    }

    /// The next frame's content; `None` at the end.
    ///
    /// # Errors
    /// It is damaged, or cut off.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        let offset = self.offset;
        self.last = offset;
        let io = |source| RecordingError::Io { offset, source };
        let damaged = |what| RecordingError::Damaged { offset, what };
        let mut head = [0; HEAD];
        match fill(&mut self.input, &mut head).map_err(io)? {
            0 => return Ok(None),
            HEAD => {}
            _ => return Err(RecordingError::CutOff { offset }),
        }
        if head.get(..4) != Some(&MARK) {
            return Err(damaged("no frame starts here"));
        }
        let (stored, content) = (number(&head, 4) as usize, number(&head, 8) as usize);
        if content > MOST || stored > zstd::zstd_safe::compress_bound(MOST) {
            return Err(damaged("a frame longer than any"));
        }
        // Grows as bytes come: a length alone takes no memory.
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(stored as u64);
        if { read }.read_to_end(&mut bytes).map_err(io)? < stored {
            return Err(RecordingError::CutOff { offset });
        }
        if checksum(head.get(4..12).unwrap_or_default(), &bytes) != number(&head, 12) {
            return Err(damaged("wrong checksum"));
        }
        let text = self.zstd.decompress(&bytes, content);
        let text = text.map_err(|_| damaged("cannot be decompressed"))?;
        if text.len() != content {
            return Err(damaged("wrong length"));
        }
        self.offset += (HEAD + stored) as u64;
        Ok(Some(text))
    }
}

fn checksum(lengths: &[u8], stored: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(lengths);
    sum.update(stored);
    sum.finalize()
}

fn as_u32(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The number at a place; 0 where there is none.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// Reads until the buffer is full or the file ends; how much.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of a frame, or takes back what was written of it.
///
/// # Errors
/// What kept it from being written; the file then ends before the frame.
pub fn append(file: &mut std::fs::File, len: u64, frame: &[u8]) -> io::Result<()> {
    file.write_all(frame).inspect_err(|_| {
        // A pipe cannot; its reader sees a frame that is cut off.
        let _ = file.set_len(len);
    })
}
