//! Help, refusals and the shape of what is parsed.

use insta::assert_snapshot;
use proptest::prelude::*;
use skbtrace_common::hooks::{IPTABLE, ROUTE, SETS};

use super::*;

fn run(line: &str) -> Result<Invocation, clap::Error> {
    parse(std::iter::once("skbtrace").chain(line.split_whitespace()))
}

fn refusal(line: &str) -> String {
    let error = run(line).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}
