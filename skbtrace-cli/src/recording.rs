//! Recordings: what a run saw, in a file that tells it again.
//!
//! A file holds the records as the kernel side wrote them, in order of time, and between them what
//! the machine answered when one was seen: names of functions, network namespaces, interfaces,
//! symbols, drop reasons, processes. Everything that can be printed is decoded from these anew, so
//! a recording can be replayed with other filters and in other formats than the run had.
//!
//! A live run that is recorded decodes from the same [`Learnt`] answers that it writes, and not
//! from the machine: **what a replay prints is what the run printed, byte for byte.**
//!
//! # The file, version 3
//!
//! Numbers are little endian. The file begins with [`MAGIC`] and the version (`u32`), a reserved
//! `u32` (0), and goes on with frames ([`frame`]):
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `skbF` |
//! | 4 | length of the compressed content |
//! | 4 | length of the content |
//! | 4 | CRC-32 of the two lengths and the compressed content |
//! | … | the content, compressed by zstd |
//!
//! A frame is written by one call when it is complete, so a killed run leaves whole frames, and a
//! full disk cuts the last one, which is then taken back. Its content ([`content`]) is records and,
//! between them, [`Note`]s. The first item of a file is [`Note::Start`]. A note holds until another
//! of the same subject comes.
//!
//! **A new note is a new variant at the end of [`Note`], and a new field of a record a new version
//! of the file.** What stands behind a record, told by a flag, needs none: it comes last, and a version
//! that does not know the flag does not look for it.

mod content;
mod delta;
mod error;
mod frame;
mod learn;
mod learnt;
mod note;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use error::RecordingError;
pub use learnt::Learnt;
pub use note::{Finish, Note, Start};
pub use reader::{Item, Reader};
pub use writer::{Recording, Rotation};

/// What every recording begins with.
pub const MAGIC: &[u8; 8] = b"SKBTRACE";
/// The version that is written.
pub const VERSION: u32 = 3;

/// The versions that can be read; what differs between them is said where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    Three,
}

impl Version {
    fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            VERSION => Some(Self::Three),
            _ => None,
        }
    }
}
