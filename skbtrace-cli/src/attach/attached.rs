//! What came of attaching, hook by hook.

use skbtrace_common::hooks::{Hook, Site};

use super::{Backend, link::Link, rows::Rows};

/// A hook that is listened on.
#[derive(Debug)]
pub struct Hooked {
    /// The row.
    pub row: usize,
    /// What is in it.
    pub hook: &'static Hook,
    /// The site that was taken.
    pub site: Site,
    /// How.
    pub by: Backend,
}

/// A hook that is not.
#[derive(Debug)]
pub struct Skipped {
    /// The row.
    pub row: usize,
    /// What is in it.
    pub hook: &'static Hook,
    /// Why.
    pub reason: String,
    /// Because this kernel does not have it.
    pub is_absent: bool,
}

/// What came of attaching.
#[derive(Debug, Default)]
pub struct Attached {
    /// In the order of rows.
    pub hooks: Vec<Hooked>,
    /// In the order of rows.
    pub skipped: Vec<Skipped>,
    /// What keeps the hooks attached.
    pub links: Vec<Link>,
    /// For events that tell their function's address.
    pub rows: Rows,
}
