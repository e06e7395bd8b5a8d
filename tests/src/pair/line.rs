//! What the two machines say to each other: lists of byte strings over a connection.
//!
//! A list is its length and then each string with its length before it, lengths as 32 bits in network
//! order.

use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context as _, Result, ensure};

/// A list of byte strings.
pub type Parts = Vec<Vec<u8>>;

/// No list or string is longer than this.
const LONGEST: u32 = 64 << 20;

/// Says a list.
pub fn say(stream: &mut impl Write, parts: &[impl AsRef<[u8]>]) -> Result<()> {
    let length = |length: usize| u32::try_from(length).map(u32::to_be_bytes);
    let mut bytes = length(parts.len())?.to_vec();
    for part in parts {
        bytes.extend(length(part.as_ref().len())?);
        bytes.extend(part.as_ref());
    }
    stream.write_all(&bytes)?;
    stream.flush().context("cannot write to the other machine")
}

/// Hears a list; none when the other machine has nothing more to say.
pub fn hear(stream: &mut impl Read) -> Result<Option<Parts>> {
    let count = match number(stream) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        count => count.context("cannot hear the other machine")?,
    };
    ensure!(count <= LONGEST, "the other machine says {count} things");
    let mut parts = Parts::new();
    for _ in 0..count {
        parts.push(string(stream).context("the other machine broke off")?);
    }
    Ok(Some(parts))
}

fn string(stream: &mut impl Read) -> Result<Vec<u8>> {
    let length = number(stream)?;
    ensure!(length <= LONGEST, "{length} bytes at once");
    let mut bytes = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let mut wire = Vec::new();
        say(&mut wire, &["trace", "", "-H"]).expect("room");
        say(&mut wire, &[b"\0\xff"]).expect("room");
        let mut wire = wire.as_slice();
        let mut next = || hear(&mut wire).expect("whole");
        let first = vec![b"trace".to_vec(), Vec::new(), b"-H".to_vec()];
        assert_eq!(next(), Some(first));
        assert_eq!(next(), Some(vec![b"\0\xff".to_vec()]));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_breaks_off_or_is_too_long_is_an_error() {
        let mut wire = Vec::new();
        say(&mut wire, &["trace"]).expect("room");
        wire.pop();
        assert!(hear(&mut wire.as_slice()).is_err());
        assert!(hear(&mut [0xff; 8].as_slice()).is_err());
        assert!(hear(&mut [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
    }
}
