//! The filter: which packets this run is about.
//!
//! Cheapest first: the process, then the mark, then where the packet is, then its bytes. A part
//! that is not set is dead code that the verifier removes.

#[macro_use]
mod values;
mod facts;

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use skbtrace_common::config::{IFACE, MARK, MAX_VALUES, NETNS, PACKET, PID};

use self::facts::accepts_packet;
use crate::{config, kernel::copy_16, offset, skb::Skb};

/// Whether the filter accepts the packet. Reads the packet's header positions when it needs them.
#[inline(always)]
pub fn accepts(skb: &mut Skb) -> bool {
    if active!(PID | MARK | IFACE | NETNS) && !accepts_surroundings(skb) {
        return false;
    }
    !active!(PACKET) || (skb.fill() && accepts_packet(skb))
}

/// Whether the filter accepts where a followed packet is. What the packet is has been compared
/// when it was first seen; where it may be is compared at each hop.
#[inline(always)]
pub fn accepts_followed(skb: &Skb) -> bool {
    !active!(IFACE | NETNS) || accepts_place(skb)
}

/// Everything that is not in the packet.
#[inline(always)]
fn accepts_surroundings(skb: &Skb) -> bool {
    if active!(PID) {
        let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        if !holds!(pid, pid) {
            return false;
        }
    }
    if active!(MARK) {
        let mark = skb.mark();
        if !any!(mark, |i| mark & value!(mark, i, .mask)
            == value!(mark, i, .value))
        {
            return false;
        }
    }
    !active!(IFACE | NETNS) || accepts_place(skb)
}

#[inline(always)]
fn accepts_place(skb: &Skb) -> bool {
    let dev = skb.dev();
    if active!(NETNS) {
        let netns = skb.netns(dev);
        if !holds!(netns, netns) {
            return false;
        }
    }
    if active!(IFACE) {
        if dev == 0 {
            return false;
        }
        let mut name = MaybeUninit::<[u64; 2]>::uninit();
        let to = name.as_mut_ptr().cast::<u8>();
        let from = dev + offset!(dev_name);
        // SAFETY: the buffer has sixteen bytes (IFNAMSIZ).
        if !unsafe { copy_16(to, from) } {
            return false;
        }
        // SAFETY: filled by the read.
        let (first, second) = unsafe {
            let name = name.as_ptr().cast::<u64>();
            (name.read(), name.add(1).read())
        };
        // The kernel pads dev->name with zeros when it sets it, but a shorter name that replaces
        // a longer one may leave its end behind: compare up to the terminating zero only.
        let first = until_zero(first);
        let second = if ends(first) { 0 } else { until_zero(second) };
        if !any!(iface, |i| value!(iface, i, [0]) == first
            && value!(iface, i, [1]) == second)
        {
            return false;
        }
    }
    true
}

/// The eight bytes with everything behind the first zero byte cleared.
#[inline(always)]
fn until_zero(word: u64) -> u64 {
    let zeros = zero_bytes(word);
    if zeros == 0 {
        return word;
    }
    // Lowest set bit is bit 7 of the first zero byte: keep the bits below that byte.
    let lowest = zeros & zeros.wrapping_neg();
    word & (lowest >> 7).wrapping_sub(1)
}

#[inline(always)]
fn ends(word: u64) -> bool {
    zero_bytes(word) != 0
}

/// Bit 7 set in (at least) the first zero byte.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}
