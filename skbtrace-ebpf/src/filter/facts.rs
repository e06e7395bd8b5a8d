//! The facts of a packet that the filter compares: addresses and transport, wherever they stand.

use core::mem::{MaybeUninit, offset_of};

use skbtrace_common::{
    config::{
        DPORT, DST, HOST, ICMPID, MAX_VALUES, NO_V4, NO_V6, PORT, PROTO, SPORT, SRC, TRANSPORT,
    },
    proto::{ICMP, ICMP6, NO_NEXT, SCTP, TCP, UDP, UDPLITE},
};

use crate::{
    config,
    kernel::{binding, copy, has, load_8, read, window},
    offset,
    packet::{ARP, Headers, IPV4, IPV6},
    skb::{Skb, sock_protocol},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What the filter looks at, found in one of several places and then compared in one.
struct Facts {
    /// Ethertype of the addresses: IPv4 or IPv6, in network order.
    family: u16,
    protocol: u8,
    /// The transport header is in this packet: no fragment but the first has it.
    whole: bool,
    /// Where the transport header is in the kernel's memory; 0 when `words` holds its beginning.
    transport: u64,
    /// Addresses in network order; of IPv4 the first word.
    src: MaybeUninit<[u32; 4]>,
    dst: MaybeUninit<[u32; 4]>,
    /// First eight bytes of the transport header.
    words: MaybeUninit<[u16; 4]>,
}

/// Whether the filter accepts the packet by what is in it.
#[inline(always)]
pub fn accepts_packet(skb: &Skb) -> bool {
    let mut facts = Facts {
        family: IPV4,
        protocol: 0,
        whole: true,
        transport: 0,
        src: MaybeUninit::uninit(),
        dst: MaybeUninit::uninit(),
        words: MaybeUninit::uninit(),
    };
    let binding = binding();
    let headers = Headers::find(skb, binding);
    let mut buffer = MaybeUninit::<Ipv6>::uninit();
    let found = match headers.protocol {
        IPV4 if !active!(NO_V4) => facts.take_addresses4(&mut buffer, headers.address()),
        IPV6 if !active!(NO_V6) => facts.take_ipv6(&mut buffer, headers.address()),
        ARP if !active!(NO_V4) => facts.take_arp(&mut buffer, headers.address()),
        0 if binding.is_bare() => facts.take_sock(skb),
        _ => false,
    };
    if !found || !facts.accepts_addresses() {
        return false;
    }
    if !active!(TRANSPORT) {
        return true;
    }
    // Most packets are rejected by now: what follows is found only for the others.
    if headers.protocol == IPV4 {
        if !facts.take_transport4(&mut buffer, headers.address()) {
            return false;
        }
    } else if headers.protocol == IPV6 {
        facts.skip_extensions();
    }
    facts.accepts_transport()
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
    transport: [u32; 2],
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

/// Extension headers walked before the filter gives up on a packet.
const EXTENSIONS: usize = 6;

/// The first `$size` bytes of a header of type `$type` at a kernel address, copied to `$buffer`
/// if they must, or `return false`.
macro_rules! read_header {
    ($type:ty, $size:expr, $buffer:ident, $address:expr) => {{
        const { assert!(size_of::<$type>() <= size_of::<Ipv6>()) };
        // SAFETY: the buffer is large enough for each of the headers.
        match unsafe { window($buffer.as_mut_ptr().cast::<u8>(), $size as u32, $address) } {
            Some(header) => header.cast::<$type>(),
            None => return false,
        }
    }};
}

/// A field of a header that was read; volatile, because loads of kernel memory must not be merged.
macro_rules! get {
    ($header:expr, $($field:tt)+) => {
        // SAFETY: filled by the read.
        unsafe { (&raw const (*$header).$($field)+).read_volatile() }
    };
}

/// Address of a field of a header that was read.
macro_rules! address_of {
    ($header:expr, $field:ident) => {
        // SAFETY: within the buffer.
        unsafe { &raw const (*$header).$field }
    };
}

/// Word by word: the compiler would call a byte loop.
#[inline(always)]
fn set_address6(to: &mut MaybeUninit<[u32; 4]>, from: *const [u32; 4]) {
    let (to, from) = (to.as_mut_ptr().cast::<u32>(), from.cast::<u32>());
    // SAFETY: four words each.
    unsafe {
        to.write(from.read_volatile());
        to.add(1).write(from.add(1).read_volatile());
        to.add(2).write(from.add(2).read_volatile());
        to.add(3).write(from.add(3).read_volatile());
    }
}

impl Facts {
    /// Source and destination, which are neighbours; the rest of the header may not be needed.
    #[inline(always)]
    fn take_addresses4(&mut self, buffer: &mut MaybeUninit<Ipv6>, address: u64) -> bool {
        if !active!(HOST | SRC | DST) {
            self.set_addresses4(0, 0);
            return true;
        }
        let both = read_header!(u64, 8, buffer, address + offset_of!(Ipv4, src) as u64);
        // SAFETY: it was read.
        let both = unsafe { load_8(both.cast::<u8>()) };
        self.set_addresses4(both as u32, (both >> 32) as u32);
        true
    }

    /// What else of an IPv4 header is looked at.
    #[inline(always)]
    fn take_transport4(&mut self, buffer: &mut MaybeUninit<Ipv6>, address: u64) -> bool {
        let with_ports = active!(PORT | SPORT | DPORT | ICMPID);
        let size = if with_ports {
            size_of::<Ipv4>()
        } else {
            offset_of!(Ipv4, transport)
        };
        let header = read_header!(Ipv4, size, buffer, address);
        self.protocol = get!(header, protocol);
        if !with_ports {
            return true;
        }
        self.whole = get!(header, fragment) & 0x1fff_u16.to_be() == 0;
        let length = u64::from(get!(header, version_ihl) & 0xf) * 4;
        if length == 20 {
            self.set_words(get!(header, transport[0]), get!(header, transport[1]));
        } else {
            self.transport = address + length;
        }
        true
    }

    #[inline(always)]
    fn take_ipv6(&mut self, buffer: &mut MaybeUninit<Ipv6>, address: u64) -> bool {
        let header = read_header!(Ipv6, size_of::<Ipv6>(), buffer, address);
        self.family = IPV6;
        self.protocol = get!(header, next);
        self.transport = address + size_of::<Ipv6>() as u64;
        set_address6(&mut self.src, address_of!(header, src));
        set_address6(&mut self.dst, address_of!(header, dst));
        true
    }

    #[inline(always)]
    fn skip_extensions(&mut self) {
        let mut walked = 0;
        while walked < EXTENSIONS {
            walked = crate::follow::opaque(walked + 1);
            let at = self.transport;
            let length = match self.protocol {
                // Hop-by-hop, routing, destination options: length in units of eight bytes.
                0 | 43 | 60 => {
                    let length = read::<u8>(at + 1).unwrap_or(0);
                    (u64::from(length) + 1) * 8
                }
                // Fragment header.
                44 => {
                    let offset = read::<u16>(at + 2).unwrap_or(0);
                    self.whole = offset & 0xfff8_u16.to_be() == 0;
                    8
                }
                // Authentication header: length in units of four bytes, less two.
                51 => {
                    let length = read::<u8>(at + 1).unwrap_or(0);
                    (u64::from(length) + 2) * 4
                }
                _ => break,
            };
            self.protocol = read::<u8>(at).unwrap_or(NO_NEXT);
            self.transport = at + length;
            if !self.whole {
                break;
            }
        }
    }

    #[inline(always)]
    fn take_arp(&mut self, buffer: &mut MaybeUninit<Ipv6>, address: u64) -> bool {
        if active!(TRANSPORT) {
            return false;
        }
        let header = read_header!(Arp, size_of::<Arp>(), buffer, address);
        let word = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        self.set_addresses4(
            word(get!(header, sender[0]), get!(header, sender[1])),
            word(get!(header, target[0]), get!(header, target[1])),
        );
        get!(header, lengths) == 0x0604_u16.to_be()
    }

    /// A packet without a network header, on its way out of its socket: the socket's tuple
    /// decides.
    #[inline(always)]
    fn take_sock(&mut self, skb: &Skb) -> bool {
        let sk = skb.owner();
        if sk == 0 || skb.network_header() != 0 || !has(offset!(sock_family)) {
            return false;
        }
        match read::<u16>(sk + offset!(sock_family)) {
            Some(AF_INET) => {}
            Some(AF_INET6) => {
                let (saddr, daddr) = (sk + offset!(sock_saddr6), sk + offset!(sock_daddr6));
                let (src, dst) = (self.src.as_mut_ptr(), self.dst.as_mut_ptr());
                // SAFETY: sixteen bytes each.
                let known = unsafe {
                    copy(src.cast::<u8>(), 16, saddr) && copy(dst.cast::<u8>(), 16, daddr)
                };
                if !known {
                    return false;
                }
                let word = dst.cast::<u32>();
                // SAFETY: filled by the read.
                let (first, second, third) =
                    unsafe { (word.read(), word.add(1).read(), word.add(2).read()) };
                // A dual-stack socket speaking IPv4 has the peer ::ffff:a.b.c.d, and both IPv4
                // fields set.
                if first != 0 || second != 0 || third != 0xffff_u32.to_be() {
                    self.family = IPV6;
                }
            }
            _ => return false,
        }
        if self.family == IPV4 {
            self.set_addresses4(
                read::<u32>(sk + offset!(sock_saddr)).unwrap_or(0),
                read::<u32>(sk + offset!(sock_daddr)).unwrap_or(0),
            );
        }
        self.protocol = sock_protocol(sk) as u8;
        let sport = read::<u16>(sk + offset!(sock_num)).unwrap_or(0).to_be();
        let dport = read::<u16>(sk + offset!(sock_dport)).unwrap_or(0);
        self.set_words(u32::from(sport) | u32::from(dport) << 16, 0);
        true
    }

    #[inline(always)]
    fn set_words(&mut self, first: u32, second: u32) {
        let words = self.words.as_mut_ptr().cast::<u32>();
        // SAFETY: eight bytes, two words.
        unsafe {
            words.write(first);
            words.add(1).write(second);
        }
    }

    #[inline(always)]
    fn set_addresses4(&mut self, src: u32, dst: u32) {
        // SAFETY: the first of four words each.
        unsafe {
            self.src.as_mut_ptr().cast::<u32>().write(src);
            self.dst.as_mut_ptr().cast::<u32>().write(dst);
        }
    }

    #[inline(always)]
    fn accepts_addresses(&self) -> bool {
        let (src, dst) = (
            self.src.as_ptr().cast::<u32>(),
            self.dst.as_ptr().cast::<u32>(),
        );
        if self.family == IPV4 {
            // SAFETY: set by whoever found the packet to be IPv4.
            let (src, dst) = unsafe { (src.read(), dst.read()) };
            (!active!(HOST) || holds4!(host4, src) || holds4!(host4, dst))
                && (!active!(SRC) || holds4!(src4, src))
                && (!active!(DST) || holds4!(dst4, dst))
        } else {
            (!active!(HOST) || holds6!(host6, src) || holds6!(host6, dst))
                && (!active!(SRC) || holds6!(src6, src))
                && (!active!(DST) || holds6!(dst6, dst))
        }
    }

    #[inline(always)]
    fn accepts_transport(&mut self) -> bool {
        if active!(PROTO) && !holds!(proto, u16::from(self.protocol)) {
            return false;
        }
        if !active!(PORT | SPORT | DPORT | ICMPID) {
            return true;
        }
        if self.transport != 0 {
            let Some(words) = read::<u64>(self.transport) else {
                return false;
            };
            self.set_words(words as u32, (words >> 32) as u32);
        }
        let words = self.words.as_ptr().cast::<u16>();
        // SAFETY: filled from the header at the latest by the read above.
        let (first, second, third) =
            unsafe { (words.read(), words.add(1).read(), words.add(2).read()) };
        if active!(PORT | SPORT | DPORT) {
            let has_ports = matches!(self.protocol, TCP | UDP | SCTP | UDPLITE);
            if !self.whole || !has_ports {
                return false;
            }
            let (sport, dport) = (u16::from_be(first), u16::from_be(second));
            let accepted = (!active!(PORT) || holds!(port, sport) || holds!(port, dport))
                && (!active!(SPORT) || holds!(sport, sport))
                && (!active!(DPORT) || holds!(dport, dport));
            if !accepted {
                return false;
            }
        }
        if active!(ICMPID) {
            let kind = first as u8;
            let echo = match self.protocol {
                // Echo reply and request, timestamp request and reply (RFC 792).
                ICMP => matches!(kind, 0 | 8 | 13 | 14),
                ICMP6 => matches!(kind, 128 | 129),
                _ => false,
            };
            return self.whole && echo && holds!(icmpid, u16::from_be(third));
        }
        true
    }
}
