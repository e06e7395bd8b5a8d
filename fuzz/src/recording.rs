//! The contents of recordings: a change of the compressed bytes alone would never get past the
//! checksums of the frames.

use skbtrace_cli::recording::MAGIC;

/// Bytes before the first frame.
const PREAMBLE: usize = 16;
/// Bytes of a frame before its content.
const HEAD: usize = 16;
/// A content is longer than this in no input here.
const MOST: usize = 1 << 20;

/// The version and the contents of all frames, one behind the other; `None` if that is no whole
/// recording.
pub fn unpack(file: &[u8]) -> Option<(u32, Vec<u8>)> {
    let mut rest = file.get(PREAMBLE..).filter(|_| file.starts_with(MAGIC))?;
    let version = file.get(MAGIC.len()..)?.first_chunk()?;
    let mut contents = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<HEAD>()?;
        let length = |at: usize| -> Option<usize> {
            let bytes = head.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let stored = behind.get(..length(4)?)?;
        let content = zstd::bulk::decompress(stored, length(8)?.min(MOST)).ok()?;
        contents.extend_from_slice(&content);
        rest = &behind[stored.len()..];
    }
    Some((u32::from_le_bytes(*version), contents))
}

/// A recording of a version, of one frame with this content.
pub fn pack(version: u32, content: &[u8]) -> Option<Vec<u8>> {
    let stored = zstd::bulk::compress(content, 1).ok()?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).ok();
    let lengths = [length(&stored)?, length(content)?].concat();
    let mut sum = crc32fast::Hasher::new();
    sum.update(&lengths);
    sum.update(&stored);
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&version.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(b"skbF");
    file.extend_from_slice(&lengths);
    file.extend_from_slice(&sum.finalize().to_le_bytes());
    file.extend_from_slice(&stored);
    Some(file)
}
