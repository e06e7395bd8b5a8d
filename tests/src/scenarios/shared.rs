//! A network that several trials use, one after the other.
//!
//! Building one takes a guest seconds. It is built when the first of them needs it, and removed with
//! the last of them; one in which a trial failed is not used again.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// The network, or what builds it.
pub struct Shared<T> {
    build: fn() -> Result<T>,
    built: Mutex<Option<T>>,
}

impl<T> Shared<T> {
    /// Builds nothing yet. Each trial gets a clone, and drops it when it is done.
    pub fn new(build: fn() -> Result<T>) -> Arc<Self> {
        Arc::new(Self {
            build,
            built: Mutex::new(None),
        })
    }

    /// Does `work` in it.
    pub fn with(&self, work: impl FnOnce(&T) -> Result<()>) -> Result<()> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let network = match built.take() {
            Some(network) => network,
            None => (self.build)()?,
        };
        work(&network)?;
        *built = Some(network);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_once_and_anew_after_a_failure() {
        static BUILT: Mutex<u32> = Mutex::new(0);
        let shared = Shared::new(|| {
            let mut built = BUILT.lock().expect("not poisoned");
            *built += 1;
            Ok(*built)
        });
        let seen = Mutex::new(Vec::new());
        let look = |fail: bool| {
            shared.with(|number| {
                seen.lock().expect("not poisoned").push(*number);
                anyhow::ensure!(!fail, "as asked");
                Ok(())
            })
        };
        assert!(look(false).is_ok());
        assert!(look(true).is_err());
        assert!(look(false).is_ok());
        assert_eq!(*seen.lock().expect("not poisoned"), [1, 1, 2]);
    }
}
