//! Several pieces of bytes in one input: each begins with its length (`u16`).

/// The pieces; the last one may be shorter than it says.
pub fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (chunk, rest) = rest.split_at(length);
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

/// An input of these pieces.
pub fn join<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&chunk[..usize::from(length)]);
    }
    bytes
}
