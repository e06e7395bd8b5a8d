//! What is wrong with arguments that were well formed.

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    filter::TooMany,
    kernel::netns::{NetnsError, NetnsSpec},
};

/// Why arguments that were well formed cannot be run with.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// More alternatives than the kernel side has room for.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// A namespace that was not found.
    #[error("--netns {spec}: {error}")]
    Netns {
        /// As given.
        spec: NetnsSpec,
        /// What was wrong.
        error: NetnsError,
    },
    /// `--func` leaves nothing.
    #[error(
        "--func {pattern}: no function of {sets} has a matching name; \
         \"skbtrace hooks\" lists the functions"
    )]
    NoFunction {
        /// The regular expression.
        pattern: String,
        /// The chosen sets, as options.
        sets: String,
    },
    /// `--backend fentry` with `--all`.
    #[error(
        "--backend fentry: not with --all, since the kernel takes minutes to undo so many; \
         leave it out, or choose kprobe-multi or kprobe"
    )]
    AllByFentry,
    /// `--no-follow` with what tells journeys.
    #[error(
        "--no-follow: not with {0}, which follows each packet to its end; leave one of \
         them out"
    )]
    NotFollowed(&'static str),
    /// `--pcapng -` with what is printed.
    #[error(
        "--pcapng -: not with --print, which needs standard output too; leave one of them out, or \
         print to a file with --output"
    )]
    StandardOutput,
    /// `--pcapng` with a file that something else is written to.
    #[error("--pcapng {}: {option} names the same file; give each its own", path.display())]
    OneFile {
        /// As given.
        path: PathBuf,
        /// What else is written there.
        option: &'static str,
    },
    /// The filters leave nothing.
    #[error(
        "the filters exclude each other: no packet at any of the chosen functions can match all \
         of them; leave one out (all options must match, of one option's values any)"
    )]
    NothingMatches,
}
