//! The kernel side's own debug lines, shown with -vv.

use aya::maps::{Map, MapData, MapError, RingBuf};
use skbtrace_common::record::Line;

use crate::tell;

/// What the kernel side says, by number.
pub struct DebugLog(RingBuf<MapData>);

impl DebugLog {
    /// Reads what is said through a ring buffer.
    pub fn new(map: MapData) -> Result<Self, MapError> {
        Ok(Self(RingBuf::try_from(Map::RingBuf(map))?))
    }

    /// Shows what has come.
    pub fn flush(&mut self) {
        while let Some(said) = self.0.next() {
            tell!("skbtrace: kernel side: {}", words(&said));
        }
    }
}

fn words(said: &[u8]) -> &'static str {
    let number = said.try_into().map(u32::from_ne_bytes).ok();
    number.and_then(Line::of).map_or("?", Line::words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_line() {
        for line in [Line::NoRoom, Line::TooManyCalls] {
            assert_eq!(words(&(line as u32).to_ne_bytes()), line.words());
        }
        assert_eq!(words(&7_u32.to_ne_bytes()), "?");
        assert_eq!(words(&[1]), "?");
    }
}
