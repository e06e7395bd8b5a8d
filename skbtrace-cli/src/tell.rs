//! Words on standard error.
//!
//! `eprintln!` panics when nobody reads standard error any more (`2>&1 | head -1`), which is no
//! reason to end.

/// Writes a line to standard error, if anybody reads it.
#[macro_export]
macro_rules! tell {
    ($($word:tt)+) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($word)+);
    }};
}
