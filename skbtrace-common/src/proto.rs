//! IP protocol numbers (include/uapi/linux/in.h, in6.h).

pub const ICMP: u8 = 1;
/// IPv4 in IP.
pub const IPIP: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const DCCP: u8 = 33;
/// IPv6 in IP.
pub const IPV6: u8 = 41;
pub const GRE: u8 = 47;
pub const ICMP6: u8 = 58;
/// Nothing follows the headers of IPv6.
pub const NO_NEXT: u8 = 59;
pub const SCTP: u8 = 132;
pub const UDPLITE: u8 = 136;
