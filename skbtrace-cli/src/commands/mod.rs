//! Subcommands.

pub mod check;
pub mod generate;
pub mod hooks;
pub mod schema;

use std::io::{self, Write};

use tabled::{
    builder::Builder,
    settings::{Padding, Style, object::Columns},
};

/// Writes a table of plain columns, two blanks apart, without blanks at the ends of lines.
fn write_table(table: Builder, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table.build();
    table
        .with(Style::empty())
        .modify(Columns::new(..), Padding::new(0, 2, 0, 0));
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
