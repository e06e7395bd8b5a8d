//! Why a file is no recording, or is one only up to a place.

use std::io;

use thiserror::Error;

/// Why reading stopped. What was read before is sound.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// It does not begin as a recording does.
    #[error("not a recording of skbtrace")]
    NotARecording,
    /// It was written by a newer skbtrace.
    #[error(
        "a recording of version {found}, and this skbtrace reads up to version {known}; \
         use the skbtrace that wrote it, or a newer one"
    )]
    Version {
        /// The file's.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It ends within a frame.
    #[error("cut off at byte {offset}, within a frame; what came before is whole")]
    CutOff {
        /// Where the frame starts.
        offset: u64,
    },
    /// A frame is not what was written.
    #[error("damaged at byte {offset} ({what}); what came before is whole")]
    Damaged {
        /// Where the frame starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It could not be read.
    #[error("cannot be read at byte {offset}")]
    Io {
        /// Where the frame starts.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}
