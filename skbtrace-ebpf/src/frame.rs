//! Calls in progress: what a function was called with, for its return.
//!
//! A call is known by where its return address lies on the stack. No two calls in progress share
//! that address, whichever task, interrupt or nesting they belong to; keyed by process, calls
//! would be mixed up whenever a softirq interrupts one. Where one program runs at the entry and at
//! the return (kprobe.session), the kernel keeps that address for it from the one to the other;
//! elsewhere it is calculated from the stack pointer at the return.

use aya_ebpf::{macros::map, maps::HashMap};
use skbtrace_common::{
    Plain,
    record::{Line, RawEvent, RawVerdict},
};

use crate::{
    call::Call,
    decider,
    emit::{self, scratch},
    event::{describe, set},
    follow::Identity,
    kernel::{binding, read},
    offset,
    skb::Skb,
};

/// What a call was given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frame {
    /// The packet.
    pub skb: u64,
    /// Who it is.
    pub id: u64,
    /// What it was made from.
    pub parent: u64,
    /// Where the function returns to; of a hook as a whole, when it was entered; 0 when nobody asks.
    pub caller: u64,
    /// The `nf_hook_state`, or 0.
    pub state: u64,
    /// The table, the chain or the other packet, or 0.
    pub table: u64,
    /// Tables: the packet as it came in, for it may be gone at the return.
    pub event: RawEvent,
}

// SAFETY: repr(C), integers and a Plain, no padding.
unsafe impl Plain for Frame {}

// A frame is put together where a verdict would be.
const _: () = assert!(size_of::<Frame>() <= size_of::<RawVerdict>());

/// Calls in progress by the address of their return address. A return that the kernel missed
/// leaves its entry behind until a call at the same depth of the same stack replaces it.
#[map]
static FRAMES: HashMap<u64, Frame> = HashMap::with_max_entries(1024, 0);

/// A call that has returned.
pub struct Returned {
    frame: *const Frame,
    key: u64,
    /// What the function returned.
    pub value: u64,
}

/// Remembers the call of a function that makes something of a packet; whether it could.
#[inline(always)]
pub fn enter(call: Call, skb: &Skb) -> bool {
    // The return address is still the caller's: a session replaces it after its program has run
    // at the entry. Of two kprobes on one function the kernel runs the newer first, so user space
    // attaches the return hook first.
    let caller = read::<u64>(call.stack()).unwrap_or(0);
    let Some(frame) = begin(skb) else {
        return false;
    };
    set!(frame, caller, caller);
    set!(frame, state, 0);
    set!(frame, table, call.argument(binding().table()));
    remember(call, frame)
}

/// Remembers the call of a function that decides over a packet or changes it, with the packet as
/// it came in; whether it could.
#[inline(always)]
pub fn enter_with_packet(call: Call, skb: &Skb) -> bool {
    let binding = binding();
    let state = if binding.is_pktinfo() {
        let pktinfo = call.argument(binding.position());
        read::<u64>(pktinfo + offset!(nft_pktinfo_state)).unwrap_or(0)
    } else {
        call.argument(binding.state())
    };
    let Some(frame) = begin(skb) else {
        return false;
    };
    set!(frame, caller, decider::entry_time());
    set!(frame, state, state);
    set!(frame, table, call.argument(binding.table()));
    // SAFETY: a field of the frame.
    let event = unsafe { &raw mut (*frame).event };
    describe(event, skb);
    remember(call, frame)
}

/// A frame with the packet in it. What is not filled in is left over and never read.
#[inline(always)]
fn begin(skb: &Skb) -> Option<*mut Frame> {
    let frame = scratch::<Frame>()?;
    set!(frame, skb, skb.address);
    set!(frame, id, skb.identity.id);
    set!(frame, parent, skb.identity.parent);
    Some(frame)
}

/// Keeps a frame until the call returns.
#[inline(always)]
fn remember(call: Call, frame: *const Frame) -> bool {
    let key = call.stack();
    // SAFETY: an element of a per-CPU map, which `begin` found.
    let frame = unsafe { &*frame };
    if FRAMES.insert(key, frame, 0).is_err() {
        emit::count_unpaired();
        emit::say(Line::TooManyCalls);
        return false;
    }
    if binding().is_session() {
        // SAFETY: eight bytes of this call.
        unsafe { call.cookie().write_volatile(key) };
    }
    true
}

/// Where on the stack the return address of a call lay that returns, at a kretprobe.
#[inline(always)]
pub fn return_address(call: Call) -> u64 {
    call.stack() - size_of::<u64>() as u64
}

/// The call that returns, when it was remembered.
#[inline(always)]
pub fn leave(call: Call) -> Option<Returned> {
    let key = if binding().is_session() {
        // SAFETY: eight bytes of this call, written at its entry.
        unsafe { call.cookie().read_volatile() }
    } else {
        return_address(call)
    };
    Some(Returned {
        frame: FRAMES.get_ptr(key)?,
        key,
        value: call.returned(),
    })
}

/// A field of a call that has returned.
macro_rules! field {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub fn $name(&self) -> u64 {
            // SAFETY: an element of the map, which only `forget` removes.
            unsafe { (&raw const (*self.frame).$name).read() }
        }
    };
}

impl Returned {
    field!(skb, "The packet.");
    field!(id, "Who it is.");
    field!(parent, "What it was made from.");
    field!(caller, "Where the function returned to.");
    field!(state, "The `nf_hook_state`, or 0.");
    field!(table, "The table, the chain or the other packet, or 0.");

    /// When a hook as a whole was entered.
    #[inline(always)]
    pub fn entered(&self) -> u64 {
        self.caller()
    }

    /// Where on the stack the call's return address lay.
    #[inline(always)]
    pub fn place(&self) -> u64 {
        self.key
    }

    /// Who the packet is.
    #[inline(always)]
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id(),
            parent: self.parent(),
        }
    }

    /// Address of the packet as it came in.
    #[inline(always)]
    pub fn event(&self) -> u64 {
        // SAFETY: a field of an element of the map.
        let event = unsafe { &raw const (*self.frame).event };
        event as u64
    }

    /// Forgets the call.
    #[inline(always)]
    pub fn forget(self) {
        let _ = FRAMES.remove(self.key);
    }
}
