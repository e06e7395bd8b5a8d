//! The packet filter on the user's side: from option values to the words the kernel compares.
//!
//! A live run filters nothing here; the kernel side does that, from a frozen
//! [`Filter`](skbtrace_common::config::Filter), and a replay goes by the same ([`matching`]). This
//! module parses what the user typed
//! ([`prefix`], [`value`]), brings it into that form ([`build`]) and tells which hooks such a
//! filter can never match ([`can_match`]), so that they are not listened on at all.
//!
//! **Invariant:** parsing never panics, looks nothing up and has no side effects; what depends on
//! the machine (network namespaces) is resolved before it comes here.

mod build;
mod error;
mod matching;
pub mod prefix;
mod reach;
pub mod value;

pub use build::{TooMany, Values, build};
pub use error::ValueError;
pub use matching::Matcher;
pub use prefix::Prefix;
pub use reach::can_match;
pub use value::{Interface, MarkBits, Protocol};
