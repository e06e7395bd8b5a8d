//! What is written to files besides what is printed.

use super::SettingsError;
use crate::{
    args::{OutputArgs, RecordingArgs},
    capture::{CaptureFile, is_same_file},
    recording::Rotation,
};

/// Of each packet, bytes that a capture has unless it is told otherwise.
const SNAPLEN: u32 = 128;

/// When a recording goes on in a further file.
#[must_use]
pub fn rotation(recording: &RecordingArgs) -> Option<Rotation> {
    let size = recording.rotate?;
    Some(Rotation {
        size,
        keep: recording.keep,
    })
}

/// How many bytes of each packet the kernel side is to hand over.
pub fn snaplen(recording: &RecordingArgs) -> u32 {
    let by_default = recording.pcapng.as_ref().map_or(0, |_| SNAPLEN);
    recording.snaplen.unwrap_or(by_default)
}

/// Where packets are to be written for Wireshark.
#[must_use]
pub fn capture(recording: &RecordingArgs) -> Option<CaptureFile> {
    let path = recording.pcapng.clone()?;
    Some(CaptureFile {
        path: Some(path).filter(|path| path.as_os_str() != "-"),
        snaplen: recording.snaplen,
    })
}

/// Refuses to write two things to one place.
pub fn check_files(recording: &RecordingArgs, output: &OutputArgs) -> Result<(), SettingsError> {
    let Some(path) = &recording.pcapng else {
        return Ok(());
    };
    let printed = output.output.as_deref().filter(|_| recording.prints());
    if path.as_os_str() == "-" {
        let is_taken = recording.prints() && printed.is_none_or(|path| path.as_os_str() == "-");
        return if is_taken {
            Err(SettingsError::StandardOutput)
        } else {
            Ok(())
        };
    }
    for (option, other) in [
        ("--write", recording.write.as_deref()),
        ("--output", printed),
    ] {
        if other.is_some_and(|other| is_same_file(path, other)) {
            return Err(SettingsError::OneFile {
                path: path.clone(),
                option,
            });
        }
    }
    Ok(())
}
