//! The schema of the lines of `--format json`.

use std::io::{self, Write};

use crate::render::json;

/// Writes it.
///
/// # Errors
/// When writing fails.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(json::SCHEMA.as_bytes())?;
    out.flush()
}
