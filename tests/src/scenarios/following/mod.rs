//! A packet is followed once it has matched, whatever becomes of its headers.
//!
//! The filter finds it by the address that it has at first; after translation it has another one,
//! and is still the same packet. With `--wide`, rows tell its identity, and for what was copied or
//! cut from it, the identity of the packet that it was made of.

mod life;
mod pieces;
mod service;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let themes = [service::trials(), life::trials(), pieces::trials()];
    themes.into_iter().flatten().collect()
}
