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

use skbtrace_common::config::FOLLOW;

use crate::{config, emit::Cpu, kernel::option};

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

/// Where a packet's address stands in its bucket, if it is followed. What else is known of it
/// stands [`PLACES`] further, each.
#[inline(always)]
fn place_of(skb: u64) -> Option<*mut u64> {
    let mut place = place!(bucket(skb), skb, 0);
    if load!(place) == skb {
        return Some(place);
    }
    // Three more, not in a loop: a loop counts.
    place = next(place);
    if load!(place) == skb {
        return Some(place);
    }
    place = next(place);
    if load!(place) == skb {
        return Some(place);
    }
    place = next(place);
    (load!(place) == skb).then_some(place)
}

/// The place behind. The compiler must not know how far that is: it would keep a distance for each
/// place beside the first.
#[inline(always)]
fn next(place: *mut u64) -> *mut u64 {
    opaque(place.wrapping_add(1) as usize) as *mut u64
}

/// Who a packet is, if it is followed.
#[inline(always)]
pub fn find(skb: u64) -> Option<Identity> {
    let place = place_of(skb)?;
    Some(Identity {
        id: load!(place.wrapping_add(PLACES)),
        parent: load!(place.wrapping_add(2 * PLACES)),
    })
}

/// Forgets a packet.
#[inline(always)]
pub fn forget(skb: u64) {
    if let Some(place) = place_of(skb) {
        store!(place, 0);
    }
}

/// Begins to follow a packet, made from `parent` or from none (0). In place of whoever was at its
/// address: that one has ended.
#[inline(always)]
pub fn begin(skb: u64, parent: u64) -> Identity {
    let Some(cpu) = Cpu::this() else {
        return Identity::none();
    };
    let seat = Seat::of(skb, cpu);
    let id = cpu.new_identity();
    seat.take(skb, id, parent, cpu);
    Identity { id, parent }
}

/// Begins to follow a packet unless it is followed.
#[inline(always)]
pub fn begin_if_new(skb: u64, parent: u64, cpu: Cpu) {
    let seat = Seat::of(skb, cpu);
    let id = choose(seat.is_own, load!(seat.id()), cpu.new_identity());
    let parent = choose(seat.is_own, load!(seat.parent()), parent);
    seat.take(skb, id, parent, cpu);
}

/// A packet's place in its bucket.
///
/// What is decided here is calculated, not branched over. In a loop the verifier walks each way
/// through the body again in each round (6.12 took a quarter of a second to load one).
struct Seat {
    bucket: *mut Bucket,
    at: usize,
    /// 1 when the packet is there already, otherwise 0.
    is_own: u64,
    /// 1 when another packet is there, otherwise 0.
    is_taken: u64,
}

impl Seat {
    /// Where a packet is or should be: in the first free place, if there is one.
    #[inline(always)]
    fn of(skb: u64, cpu: Cpu) -> Self {
        let bucket = bucket(skb);
        let mut others = 1;
        let mut steps_to_own = 0;
        let mut all_taken = 1;
        let mut steps_to_free = 0;
        for step in 0..PLACES {
            let at = (cpu.number as usize + step) & (PLACES - 1);
            let holder = load!(place!(bucket, skb, at));
            others &= is_nonzero(holder ^ skb);
            steps_to_own += others;
            all_taken &= is_nonzero(holder);
            steps_to_free += all_taken;
        }
        let is_own = 1 - others;
        let steps = choose(is_own, steps_to_own, steps_to_free);
        Self {
            bucket,
            at: (cpu.number + steps) as usize & (PLACES - 1),
            is_own,
            is_taken: all_taken & others,
        }
    }

    #[inline(always)]
    fn id(&self) -> *mut u64 {
        place!(self.bucket, id, self.at)
    }

    #[inline(always)]
    fn parent(&self) -> *mut u64 {
        place!(self.bucket, parent, self.at)
    }

    /// Puts a packet there.
    #[inline(always)]
    fn take(self, skb: u64, id: u64, parent: u64, cpu: Cpu) {
        cpu.count_evicted(self.is_taken);
        store!(self.id(), id);
        store!(self.parent(), parent);
        store!(place!(self.bucket, skb, self.at), skb);
    }
}

/// The first number if `condition` is 1, the second if it is 0.
#[inline(always)]
fn choose(condition: u64, first: u64, second: u64) -> u64 {
    let mask = condition.wrapping_neg();
    first & mask | second & !mask
}

/// 1, or 0 for zero, without a branch: the compiler makes one of every comparison.
#[inline(always)]
fn is_nonzero(number: u64) -> u64 {
    let mut sign = number;
    // SAFETY: instructions on registers. A number or its negative has the sign bit, but for zero.
    unsafe {
        core::arch::asm!(
            "{sign} = -{sign}",
            "{sign} |= {number}",
            "{sign} >>= 63",
            sign = inout(reg) sign,
            number = in(reg) number,
            options(pure, nomem, nostack),
        );
    }
    sign
}

/// The same number, which the compiler takes for any other, so that it does not unroll a loop.
#[inline(always)]
pub fn opaque(mut number: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack)) };
    number
}
