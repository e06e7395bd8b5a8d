//! The options of what explains, live and in a replay.

use std::time::Duration;

use clap::Args;

use super::value;

/// How long a packet may stay at one place, seconds, unless that is said.
const SLOW: &str = "0.5";

/// Whether causes are told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Explaining")]
pub struct ExplainArgs {
    /// Say why packets are lost, doubled, late or sent elsewhere
    #[arg(long)]
    pub explain: bool,
    /// Of findings, only the line that says it
    #[arg(long, requires = "explain")]
    pub brief: bool,
    /// Exit with 3 when something was found
    #[arg(long, requires = "explain")]
    pub exit_code: bool,
    /// A packet that stays at one place for so long is slow
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = SLOW,
        value_parser = value::duration,
        requires = "explain"
    )]
    pub slow: Duration,
}

impl ExplainArgs {
    /// Explaining or not, and nothing else said.
    pub fn with_defaults(explain: bool) -> Self {
        Self {
            explain,
            brief: false,
            exit_code: false,
            slow: value::duration(SLOW).unwrap_or_default(),
        }
    }
}
