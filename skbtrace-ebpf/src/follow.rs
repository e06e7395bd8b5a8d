//! Following: which packets are remembered, and who they are.
//!
//! A packet that matched is remembered by the address of its `sk_buff` until that is freed, in a
//! table of buckets with four places each. Whether a packet is followed is thus known before
//! anything of it is read, and costs the same however many there are. What it was made from is
//! kept beside it, so a child's first event tells its parent.
//!
//! **Invariant:** every packet that is forgotten before its end, for want of room, is counted.
//! Two CPUs that take the same place in the same nanoseconds overwrite each other uncounted; they
//! begin their search at different places, so that it takes more than four CPUs.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use skbtrace_common::config::FOLLOW;

use crate::{config, emit, kernel::option};

/// Places in a bucket.
const PLACES: usize = 4;

/// Who a packet is.
#[derive(Clone, Copy)]
pub struct Identity {
    /// Never 0, never another's.
    pub id: u64,
    /// What it was made from, or 0.
    pub parent: u64,
}

impl Identity {
    /// Nobody: packets are not followed. The compiler must not see the zeros: it would call a byte
    /// loop for two of them.
    #[inline(always)]
    pub fn none() -> Self {
        let nobody = opaque(0) as u64;
        Self {
            id: nobody,
            parent: nobody,
        }
    }
}

#[repr(C)]
struct Bucket {
    skb: [u64; PLACES],
    id: [u64; PLACES],
    parent: [u64; PLACES],
}

/// The table; user space sets its size ([`skbtrace_common::config::Config::follow_mask`]).
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.followed")]
static mut FOLLOWED: [Bucket; 1 << 14] = [const {
    Bucket {
        skb: [0; PLACES],
        id: [0; PLACES],
        parent: [0; PLACES],
    }
}; 1 << 14];

/// Whether packets are followed at all.
#[inline(always)]
pub fn is_on() -> bool {
    option(FOLLOW)
}

/// A packet's bucket.
#[inline(always)]
fn bucket(skb: u64) -> *mut Bucket {
    // Fibonacci hashing: slabs are aligned, so low bits alone would use few buckets.
    let hash = skb.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let index = hash & config!(follow_mask);
    let first = (&raw mut FOLLOWED).cast::<Bucket>();
    first.wrapping_add(index as usize)
}

/// A place of a bucket's array, volatile since other CPUs write it too.
macro_rules! place {
    ($bucket:expr, $field:ident, $at:expr) => {{
        // SAFETY: a bucket of the table and one of its places.
        unsafe { (&raw mut (*$bucket).$field).cast::<u64>().add($at) }
    }};
}

macro_rules! load {
    ($place:expr) => {{
        let place = $place;
        // SAFETY: within the table.
        unsafe { place.read_volatile() }
    }};
}

macro_rules! store {
    ($place:expr, $value:expr) => {{
        let (place, value) = ($place, $value);
        // SAFETY: within the table.
        unsafe { place.write_volatile(value) }
    }};
}

/// Runs `$body` with the first place that holds `$skb`, if any.
macro_rules! at_place {
    ($skb:expr, |$bucket:ident, $at:ident| $body:expr) => {{
        let skb = $skb;
        let $bucket = bucket(skb);
        if load!(place!($bucket, skb, 0)) == skb {
            let $at = 0;
            Some($body)
        } else if load!(place!($bucket, skb, 1)) == skb {
            let $at = 1;
            Some($body)
        } else if load!(place!($bucket, skb, 2)) == skb {
            let $at = 2;
            Some($body)
        } else if load!(place!($bucket, skb, 3)) == skb {
            let $at = 3;
            Some($body)
        } else {
            None
        }
    }};
}

/// Who a packet is, if it is followed.
#[inline(always)]
pub fn find(skb: u64) -> Option<Identity> {
    at_place!(skb, |bucket, at| Identity {
        id: load!(place!(bucket, id, at)),
        parent: load!(place!(bucket, parent, at)),
    })
}

/// Whether a packet is followed.
#[inline(always)]
pub fn knows(skb: u64) -> bool {
    at_place!(skb, |_bucket, _at| ()).is_some()
}

/// Forgets a packet.
#[inline(always)]
pub fn forget(skb: u64) {
    at_place!(skb, |bucket, at| store!(place!(bucket, skb, at), 0));
}

/// Begins to follow a packet, made from `parent` or from none (0). In place of whoever was at its
/// address: that one has ended.
#[inline(always)]
pub fn begin(skb: u64, parent: u64) -> Identity {
    let identity = Identity {
        id: emit::new_identity(),
        parent,
    };
    forget(skb);
    remember(skb, identity);
    identity
}

#[inline(always)]
fn remember(skb: u64, identity: Identity) {
    let bucket = bucket(skb);
    // SAFETY: a helper without arguments.
    let first = unsafe { bpf_get_smp_processor_id() } as usize;
    let mut at = first % PLACES;
    let mut tried = 0;
    while tried < PLACES {
        if load!(place!(bucket, skb, at & (PLACES - 1))) == 0 {
            break;
        }
        at += 1;
        tried = opaque(tried + 1);
    }
    if tried == PLACES {
        emit::count_evicted();
    }
    let at = at & (PLACES - 1);
    store!(place!(bucket, id, at), identity.id);
    store!(place!(bucket, parent, at), identity.parent);
    store!(place!(bucket, skb, at), skb);
}

/// The same number, which the compiler takes for any other, so that it does not unroll a loop.
#[inline(always)]
pub fn opaque(mut number: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack)) };
    number
}
