//! The filter: which packets this run is about.
//!
//! Cheapest first: the process, then the mark, then where the packet is, then its bytes. A part
//! that is not set is dead code that the verifier removes.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use skbtrace_common::{
    config::{
        DPORT, DST, HOST, ICMPID, IFACE, List, MARK, MAX_VALUES, NETNS, PACKET, PID, PORT, PROTO,
        SPORT, SRC, TRANSPORT,
    },
    record::SHORT_NAME,
};

use crate::{
    config,
    kernel::{copy, has, read},
    offset,
    packet::{ARP, Headers, IPV4, IPV6},
    skb::{Skb, sock_protocol},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// Whether a part of the filter is set.
macro_rules! active {
    ($part:expr) => {
        config!(active) & ($part) != 0
    };
}

/// A value of a list, or a field of it.
macro_rules! value {
    ($list:ident, $index:expr $(, $($field:tt)+)?) => {{
        let first = (&raw const $crate::kernel::CONFIG.filter.$list.values).cast();
        let value = at(&raw const $crate::kernel::CONFIG.filter.$list, first, $index);
        // SAFETY: the index is below MAX_VALUES. No slice, whose bounds check would leave a panic
        // in the program; volatile as all of the configuration.
        unsafe { (&raw const (*value)$($($field)+)?).read_volatile() }
    }};
}

/// Address of a value of a list; `list` only tells the type.
#[inline(always)]
fn at<T>(_list: *const List<T>, first: *const T, index: usize) -> *const T {
    first.wrapping_add(index)
}

/// Whether any value of a list passes a test on its index.
macro_rules! any {
    ($list:ident, |$index:ident| $test:expr) => {{
        let len = config!(filter.$list.len) as usize;
        let mut $index = 0;
        let mut found = false;
        while $index < MAX_VALUES {
            if $index >= len {
                break;
            }
            if $test {
                found = true;
                break;
            }
            $index += 1;
        }
        found
    }};
}

/// Whether a list holds a value.
macro_rules! holds {
    ($list:ident, $wanted:expr) => {
        any!($list, |i| value!($list, i) == $wanted)
    };
}

/// Whether a list of IPv4 prefixes holds an address.
macro_rules! holds4 {
    ($list:ident, $address:expr) => {
        any!($list, |i| $address & value!($list, i, .mask) == value!($list, i, .addr))
    };
}

/// Whether a list of IPv6 prefixes holds an address, given as a pointer to four words.
macro_rules! holds6 {
    ($list:ident, $address:expr) => {
        any!($list, |i| {
            let address: *const u32 = $address;
            let differs = |word: u32, mask: u32, wanted: u32| word & mask != wanted;
            // SAFETY: the pointer is to four initialised words.
            let (a, b, c, d) = unsafe {
                (
                    address.read(),
                    address.add(1).read(),
                    address.add(2).read(),
                    address.add(3).read(),
                )
            };
            !(differs(a, value!($list, i, .mask[0]), value!($list, i, .addr[0]))
                || differs(b, value!($list, i, .mask[1]), value!($list, i, .addr[1]))
                || differs(c, value!($list, i, .mask[2]), value!($list, i, .addr[2]))
                || differs(d, value!($list, i, .mask[3]), value!($list, i, .addr[3])))
        })
    };
}

/// Whether the filter accepts the packet.
#[inline(always)]
pub fn accepts(skb: &Skb) -> bool {
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
    if active!(IFACE | NETNS) && !accepts_place(skb) {
        return false;
    }
    !active!(PACKET) || accepts_packet(skb)
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
        // SAFETY: the buffer has SHORT_NAME bytes.
        if !unsafe { copy(to, SHORT_NAME as u32, from) } {
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

#[inline(always)]
fn accepts_packet(skb: &Skb) -> bool {
    let headers = Headers::find(skb);
    match headers.protocol {
        IPV4 => accepts_ipv4(headers.address()),
        IPV6 => accepts_ipv6(headers.address()),
        ARP => accepts_arp(headers.address()),
        0 => accepts_sock(skb),
        _ => false,
    }
}

#[inline(always)]
fn accepts_addresses4(src: u32, dst: u32) -> bool {
    (!active!(HOST) || holds4!(host4, src) || holds4!(host4, dst))
        && (!active!(SRC) || holds4!(src4, src))
        && (!active!(DST) || holds4!(dst4, dst))
}

/// Pointers to the four words of each address.
#[inline(always)]
fn accepts_addresses6(src: *const u32, dst: *const u32) -> bool {
    (!active!(HOST) || holds6!(host6, src) || holds6!(host6, dst))
        && (!active!(SRC) || holds6!(src6, src))
        && (!active!(DST) || holds6!(dst6, dst))
}

/// An IPv4 header without options and the first eight bytes behind it.
#[repr(C)]
struct Ipv4 {
    version_ihl: u8,
    tos: u8,
    len: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    src: u32,
    dst: u32,
    transport: [u16; 4],
}

#[inline(always)]
fn accepts_ipv4(address: u64) -> bool {
    let mut header = MaybeUninit::<Ipv4>::uninit();
    let header = header.as_mut_ptr();
    // SAFETY: the buffer is an Ipv4.
    if !unsafe { copy(header.cast::<u8>(), size_of::<Ipv4>() as u32, address) } {
        return false;
    }
    // SAFETY: filled by the read.
    let header = unsafe { &*header };
    if !accepts_addresses4(header.src, header.dst) {
        return false;
    }
    if !active!(TRANSPORT) {
        return true;
    }
    let transport = Transport {
        protocol: header.protocol,
        whole: header.fragment & 0x1fff_u16.to_be() == 0,
    };
    if header.version_ihl == 0x45 {
        transport.accepted(&raw const header.transport)
    } else {
        let length = u64::from(header.version_ihl & 0xf) * 4;
        transport.accepted_at(address + length)
    }
}

/// What the transport part of the filter looks at.
struct Transport {
    protocol: u8,
    /// The transport header is in this packet: no fragment but the first has it.
    whole: bool,
}

impl Transport {
    /// With the transport header at a kernel address.
    #[inline(always)]
    fn accepted_at(&self, address: u64) -> bool {
        let mut words = MaybeUninit::<[u16; 4]>::uninit();
        let words = words.as_mut_ptr();
        if active!(PORT | SPORT | DPORT | ICMPID) {
            // SAFETY: the buffer has eight bytes.
            if !unsafe { copy(words.cast::<u8>(), 8, address) } {
                return false;
            }
        }
        self.accepted(words)
    }

    /// With the first eight bytes of the transport header.
    #[inline(always)]
    fn accepted(&self, words: *const [u16; 4]) -> bool {
        if active!(PROTO) && !holds!(proto, u16::from(self.protocol)) {
            return false;
        }
        let words = words.cast::<u16>();
        if active!(PORT | SPORT | DPORT) {
            if !self.whole || !matches!(self.protocol, TCP | UDP | SCTP | UDPLITE) {
                return false;
            }
            // SAFETY: filled when a port is asked for.
            let (sport, dport) = unsafe {
                (
                    u16::from_be(words.read()),
                    u16::from_be(words.add(1).read()),
                )
            };
            if !accepts_ports(sport, dport) {
                return false;
            }
        }
        if active!(ICMPID) {
            // SAFETY: filled when an identifier is asked for.
            let (kind, id) =
                unsafe { (words.cast::<u8>().read(), u16::from_be(words.add(2).read())) };
            let echo = match self.protocol {
                // Echo reply and request, timestamp request and reply (RFC 792).
                ICMP => matches!(kind, 0 | 8 | 13 | 14),
                ICMPV6 => matches!(kind, 128 | 129),
                _ => false,
            };
            return self.whole && echo && holds!(icmpid, id);
        }
        true
    }
}

#[inline(always)]
fn accepts_ports(sport: u16, dport: u16) -> bool {
    (!active!(PORT) || holds!(port, sport) || holds!(port, dport))
        && (!active!(SPORT) || holds!(sport, sport))
        && (!active!(DPORT) || holds!(dport, dport))
}

/// An IPv6 header.
#[repr(C)]
struct Ipv6 {
    flow: u32,
    len: u16,
    next: u8,
    hops: u8,
    src: [u32; 4],
    dst: [u32; 4],
}

/// Extension headers walked before the filter gives up on a packet.
const EXTENSIONS: usize = 6;

#[inline(always)]
fn accepts_ipv6(address: u64) -> bool {
    let mut header = MaybeUninit::<Ipv6>::uninit();
    let header = header.as_mut_ptr();
    // SAFETY: the buffer is an Ipv6.
    if !unsafe { copy(header.cast::<u8>(), size_of::<Ipv6>() as u32, address) } {
        return false;
    }
    // SAFETY: filled by the read.
    let header = unsafe { &*header };
    if !accepts_addresses6(header.src.as_ptr(), header.dst.as_ptr()) {
        return false;
    }
    if !active!(TRANSPORT) {
        return true;
    }
    let mut transport = Transport {
        protocol: header.next,
        whole: true,
    };
    let mut at = address + size_of::<Ipv6>() as u64;
    for _ in 0..EXTENSIONS {
        let length = match transport.protocol {
            // Hop-by-hop, routing, destination options: length in units of eight bytes.
            0 | 43 | 60 => {
                let length = read::<u8>(at + 1).unwrap_or(0);
                (u64::from(length) + 1) * 8
            }
            // Fragment header.
            44 => {
                let offset = read::<u16>(at + 2).unwrap_or(0);
                transport.whole = offset & 0xfff8_u16.to_be() == 0;
                8
            }
            // Authentication header: length in units of four bytes, less two.
            51 => {
                let length = read::<u8>(at + 1).unwrap_or(0);
                (u64::from(length) + 2) * 4
            }
            _ => break,
        };
        let next = read::<u8>(at).unwrap_or(59);
        at += length;
        transport.protocol = next;
        if !transport.whole {
            break;
        }
    }
    transport.accepted_at(at)
}

/// An ARP message about IPv4 over Ethernet; words of two bytes, since the addresses are unaligned.
#[repr(C)]
struct Arp {
    hardware: u16,
    protocol: u16,
    lengths: u16,
    operation: u16,
    sender_mac: [u16; 3],
    sender: [u16; 2],
    target_mac: [u16; 3],
    target: [u16; 2],
}

#[inline(always)]
fn accepts_arp(address: u64) -> bool {
    if active!(TRANSPORT) {
        return false;
    }
    let mut header = MaybeUninit::<Arp>::uninit();
    let header = header.as_mut_ptr();
    // SAFETY: the buffer is an Arp.
    if !unsafe { copy(header.cast::<u8>(), size_of::<Arp>() as u32, address) } {
        return false;
    }
    // SAFETY: filled by the read.
    let header = unsafe { &*header };
    if header.lengths != 0x0604_u16.to_be() {
        return false;
    }
    let word = |halves: &[u16; 2]| u32::from(halves[0]) | u32::from(halves[1]) << 16;
    accepts_addresses4(word(&header.sender), word(&header.target))
}

/// A packet without a network header, on its way out of its socket: the socket's tuple decides.
#[inline(always)]
fn accepts_sock(skb: &Skb) -> bool {
    let sk = skb.sk();
    if sk == 0 || skb.network_header() != 0 || !has(offset!(sock_family)) {
        return false;
    }
    let family = read::<u16>(sk + offset!(sock_family)).unwrap_or(0);
    let mut pair = MaybeUninit::<[u32; 8]>::uninit();
    let pair = pair.as_mut_ptr().cast::<u32>();
    let mut mapped = false;
    if family == AF_INET6 {
        let (saddr, daddr) = (sk + offset!(sock_saddr6), sk + offset!(sock_daddr6));
        // SAFETY: each half has sixteen bytes.
        let known = unsafe {
            copy(pair.cast::<u8>(), 16, saddr) && copy(pair.add(4).cast::<u8>(), 16, daddr)
        };
        if !known {
            return false;
        }
        // SAFETY: filled by the read.
        let (first, second, third) =
            unsafe { (pair.add(4).read(), pair.add(5).read(), pair.add(6).read()) };
        // A dual-stack socket speaking IPv4 has the peer ::ffff:a.b.c.d and both IPv4 fields set.
        mapped = first == 0 && second == 0 && third == 0xffff_u32.to_be();
    }
    let accepted = if family == AF_INET || mapped {
        let src = read::<u32>(sk + offset!(sock_saddr)).unwrap_or(0);
        let dst = read::<u32>(sk + offset!(sock_daddr)).unwrap_or(0);
        accepts_addresses4(src, dst)
    } else {
        // SAFETY: within the buffer.
        family == AF_INET6 && accepts_addresses6(pair, unsafe { pair.add(4) })
    };
    if !accepted || !active!(TRANSPORT) {
        return accepted;
    }
    let protocol = sock_protocol(sk);
    if active!(ICMPID) || (active!(PROTO) && !holds!(proto, protocol)) {
        return false;
    }
    if active!(PORT | SPORT | DPORT) {
        let sport = read::<u16>(sk + offset!(sock_num)).unwrap_or(0);
        let dport = u16::from_be(read::<u16>(sk + offset!(sock_dport)).unwrap_or(0));
        return accepts_ports(sport, dport);
    }
    true
}
