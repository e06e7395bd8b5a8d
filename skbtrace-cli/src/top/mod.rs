//! `skbtrace top`: packets' flows, fates and times while they happen, and the tree of any of them.
//!
//! [`Watch`] stands where another format's renderer stands and counts ([`tally`]); a [`Screen`]
//! makes a [`view`] of the counts, which [`state`] holds with what keys choose and [`draw`] draws,
//! without a terminal. Only [`terminal`] has one.
//!
//! **Invariants:** the trace never waits for the terminal: a screen that has not been written yet is
//! not drawn again, and keys come from a thread. Traffic redraws it four times a second at most.
//! Memory is bounded.

mod draw;
mod screen;
mod state;
mod tally;
mod terminal;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use screen::{Screen, require_terminal, touched};
pub use tally::Watch;
