//! `cargo xtask picture`: what the demo prints, as a picture for the README.
//!
//! A terminal's text with its colours becomes an SVG, which holds text still: it stays small, it can be
//! searched, and a change of it can be read. It brings its own background, so it looks the same on a
//! light page and on a dark one.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstyle_svg::{Term, WIN10_CONSOLE};
use anyhow::{Context as _, Result, ensure};

use crate::cli::PictureArgs;
use crate::guest::{Guest, Printed};
use crate::{compile, kernels, paths, process};

const SCENARIO: &str = "stale_conntrack";
/// As the demo has it unless told otherwise, and with colours, for what it prints goes on to `tail`.
const OPTIONS: &[&str] = &[
    "--explain",
    "--format=tree",
    "--color=always",
    "-H",
    "10.72.0.0/16",
];
/// Lines at the end: the packet that is lost, and why.
const LINES: usize = 38;
/// The terminal's width.
const COLUMNS: usize = 120;
const TIMEOUT: Duration = Duration::from_secs(300);

pub fn run(args: &PictureArgs) -> Result<ExitCode> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        compile::build()?
    };
    let kernel = kernels::resolve(&args.kernel)?;
    let command = ["skbtrace-tests", "demo", "--scenario", SCENARIO, "--"].iter();
    let command: Vec<String> = command
        .chain(OPTIONS)
        .map(|&word| word.to_owned())
        .collect();
    let mut printed = Printed::default();
    let code = Guest::usual(&kernel, &extras, &command, TIMEOUT).run(&mut printed)?;
    let printed = String::from_utf8_lossy(&printed.0);
    ensure!(code == 0, "the demo failed ({code}):\n{printed}");
    let options = OPTIONS.join(" ");
    let screen = format!(
        "$ cargo xtask demo --scenario {SCENARIO} -- {options} | tail -n {LINES}\n{}",
        process::tail(&printed, LINES)
    );
    let file = file()?;
    let picture = Term::new()
        .palette(WIN10_CONSOLE)
        .render_svg(&wrapped(&screen, COLUMNS));
    fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn file() -> Result<PathBuf> {
    let directory = paths::created(paths::workspace().join("docs/images"))?;
    Ok(directory.join(format!("{SCENARIO}.svg")))
}

/// Lines broken where a terminal of so many columns breaks them.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::new();
    let (mut column, mut in_escape) = (0, false);
    for char in text.chars() {
        if in_escape {
            // Parameters end with a letter (ECMA-48).
            in_escape = !char.is_ascii_alphabetic();
        } else if char == '\x1b' {
            in_escape = true;
        } else if char == '\n' {
            column = 0;
        } else {
            if column == columns {
                lines.push('\n');
                column = 0;
            }
            column += 1;
        }
        lines.push(char);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_the_screen_is_wide() {
        assert_eq!(wrapped("abcdef\ngh\n", 3), "abc\ndef\ngh\n");
        assert_eq!(wrapped("abc\ndef", 3), "abc\ndef");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(
            wrapped("a\x1b[1;31mbc\x1b[0md", 3),
            "a\x1b[1;31mbc\x1b[0m\nd"
        );
    }
}
