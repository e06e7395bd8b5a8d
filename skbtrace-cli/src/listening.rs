//! What a run listens to: the hooks that are attached, and those that are not, with the reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The hooks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Those that are attached, in the order of rows.
    pub attached: Vec<Heard>,
    /// Those that are not.
    pub skipped: Vec<Unheard>,
}

/// A hook that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The function.
    pub function: String,
    /// How (`--backend`).
    pub by: String,
}

/// A hook that is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// The catalogue's name of it.
    pub hook: String,
    /// Why.
    pub reason: String,
    /// This kernel does not have it: nothing happens there that could be missed.
    pub is_absent: bool,
}

impl Listening {
    /// How many hooks are attached in each way.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<&str, usize> {
        let mut ways = BTreeMap::new();
        for heard in &self.attached {
            *ways.entry(heard.by.as_str()).or_default() += 1;
        }
        ways
    }
}
