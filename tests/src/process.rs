//! Programs run to their end, with errors that say which command failed and what it said.
//!
//! The topology is built by the same commands that an administrator would type; when one of them
//! fails, its own words are the best explanation.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

/// Runs `program` in the calling thread's network namespace; yields its standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    run_with_input(program, args, "")
}

/// Like [`run`], with `input` on the standard input.
pub fn run_with_input(program: &str, args: &[&str], input: &str) -> Result<String> {
    let line = command_line(program, args);
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{line}`; is {program} installed?"))?;
    let mut stdin = child.stdin.take().ok_or_else(|| anyhow!("no stdin"))?;
    // A program that ends without reading its input is judged by its exit status alone.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("`{line}`"))?;
    if !output.status.success() {
        let mut text = format!("`{line}` failed ({})", output.status);
        for said in [&output.stderr, &output.stdout] {
            let said = String::from_utf8_lossy(said);
            if !said.trim().is_empty() {
                let _ = write!(text, ": {}", said.trim());
            }
        }
        for (number, input_line) in input.lines().enumerate() {
            let _ = write!(text, "\n  input line {}: {input_line}", number + 1);
        }
        bail!(text);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command_line(program: &str, args: &[&str]) -> String {
    let mut line = program.to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(arg);
    }
    line
}

/// This process, as skbtrace prints one.
pub fn own() -> String {
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    format!("{}[{}]", comm.trim_end(), std::process::id())
}
