//! Child processes with errors that name the command, its exit status and the end of what it said.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How many lines of a failed command's stderr are worth repeating.
const TAIL: usize = 12;

/// Runs `command`, its output hidden unless it fails, and returns its stdout.
pub fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| {
        format!("cannot start `{line}` (is it installed? see `cargo xtask setup`)")
    })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("`{line}` failed ({}):\n{}", done.status, tail(&said, TAIL));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs `command` with its output shown; false if it failed.
pub fn shown(command: &mut Command) -> Result<bool> {
    let line = describe(command);
    let status = command.status().with_context(|| {
        format!("cannot start `{line}` (is it installed? see `cargo xtask setup`)")
    })?;
    Ok(status.success())
}

/// The command line as a person would type it.
pub fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// The last `count` lines of `text`.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.contains("sh -c"), "{text}");
        assert!(text.contains("no such thing"), "{text}");
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
