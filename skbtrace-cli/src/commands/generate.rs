//! Shell completions and the manual page, written from the same definition that parses arguments,
//! so that they cannot disagree with it.

use std::io::{self, Write};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::args;

/// Writes the completion script for `shell`.
///
/// # Errors
/// When writing fails.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics when it cannot write, and `| head` is reason enough; memory never fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "skbtrace", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Writes the manual page (roff, for man(1)).
///
/// # Errors
/// When writing fails.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    let mut command = args::command();
    command.build();
    // Section 8, system administration: next to tcpdump, ip and iptables.
    let man = Man::new(command.clone()).section("8");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    // The generator would refer to a page for each subcommand, and fill the examples like prose.
    writeln!(out, ".SH COMMANDS")?;
    for subcommand in command.get_subcommands_mut() {
        let usage = subcommand.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let about = subcommand.get_about().map(ToString::to_string);
        writeln!(out, ".TP\n{}", escape(usage))?;
        writeln!(out, "{}", escape(&about.unwrap_or_default()))?;
    }
    for (title, text) in args::SECTIONS {
        writeln!(out, ".SH {}\n.nf", title.to_uppercase())?;
        writeln!(out, "{}\n.fi", escape(text))?;
    }
    man.render_version_section(out)?;
    out.flush()
}

/// For roff: hyphens that can be copied, and no line that it takes for a request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| match line.as_bytes().first() {
        Some(b'.' | b'\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_sees_no_requests_in_our_text() {
        assert_eq!(escape("a-b\\\n.c\n'd"), "a\\-b\\e\n\\&.c\n\\&'d");
    }
}
