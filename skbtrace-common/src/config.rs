//! The frozen configuration: filter, options and kernel layout of one run.
//!
//! User space writes it into the object's read-only data and freezes it before the programs are
//! loaded. The verifier then knows every value and removes the code that this run does not need:
//! an unused filter costs a packet nothing.

mod constant;
mod filter;
mod list;

pub use constant::Constant;
pub use filter::*;
pub use list::{Key, List, MAX_VALUES, slot};

use crate::{Plain, layout::Layout};

/// Count every hook hit, matching or not (`-v`).
pub const COUNT_HITS: u32 = 1 << 0;
/// Hand events over through the perf event array and not the ring buffer.
pub const USE_PERF: u32 = 1 << 1;
/// Fill in [`crate::record::RawEvent::comm`].
pub const WANT_COMM: u32 = 1 << 2;
/// A stack behind each drop (`--dropstack`).
pub const WANT_DROP_STACK: u32 = 1 << 3;
/// A stack behind each event (`--callstack`).
pub const WANT_CALL_STACK: u32 = 1 << 4;
/// Follow packets once they matched.
pub const FOLLOW: u32 = 1 << 5;
/// Read kernel memory by plain loads: the kernel has `bpf_rdonly_cast` (6.3 and later).
pub const USE_CAST: u32 = 1 << 6;
/// The kernel gives drops a reason (`skb:kfree_skb` has a third argument since 5.17).
pub const HAS_DROP_REASONS: u32 = 1 << 7;
/// `network_header`, `mac_header` and `tail` stand in eight bytes of `sk_buff`, in this order (all
/// versions from 5.10 to 7.2), and can be read together: with [`USE_CAST`] only.
pub const READ_TOGETHER: u32 = 1 << 8;
/// Write debug lines (`-vv`).
pub const WANT_DEBUG: u32 = 1 << 9;

/// Everything the kernel side is told.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bits [`COUNT_HITS`] to [`HAS_DROP_REASONS`].
    pub options: u32,
    /// Which parts of the filter are set: [`Filter::active`].
    pub active: u32,
    /// Number of the type `struct new_utsname` in the kernel's BTF, as which memory is read with
    /// [`USE_CAST`]: it starts with 65 characters, which may be loaded as anything.
    pub cast_type: u32,
    /// One less than the number of buckets for followed packets, which is a power of two.
    pub follow_mask: u32,
    /// The reason of drops by queues (`SKB_DROP_REASON_QDISC_DROP`); no reason's number where there
    /// is none.
    pub queue_drop: u32,
    /// How many of a packet's bytes stand behind each record, [`crate::record::MAX_SNAPLEN`] at most;
    /// 0 when nobody wants them.
    pub snaplen: u32,
    /// Which packets.
    pub filter: Filter,
    /// Where the kernel keeps what is read.
    pub layout: Layout,
}

// SAFETY: repr(C), integers only, every list padded by hand to a multiple of eight.
unsafe impl Plain for Config {}

impl Config {
    /// A configuration that accepts every packet and knows no layout.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            options: 0,
            active: 0,
            cast_type: 0,
            follow_mask: 0,
            queue_drop: u32::MAX,
            snaplen: 0,
            filter: Filter::accept_all(),
            layout: Layout::UNKNOWN,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
