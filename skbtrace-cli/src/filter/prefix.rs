//! An address prefix, the value of `--host`, `--src` and `--dst`.
//!
//! The kernel side compares masked words in network order and knows nothing of prefix lengths;
//! the user types `10.0.0.0/8`. Here the one becomes the other.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use skbtrace_common::config::{Net4, Net6};

use super::{ValueError, value::decimal};

/// An IPv4 or IPv6 prefix; the bits after its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

/// A prefix in the form of its family's filter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// For the IPv4 list.
    V4(Net4),
    /// For the IPv6 list.
    V6(Net6),
}

impl Prefix {
    /// The prefix of `addr` with `len` bits, or `None` when its family has fewer.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        if len > bits(addr) {
            return None;
        }
        let addr = match addr {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask4(len)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask6(len)).into(),
        };
        Some(Self { addr, len })
    }

    /// The words that the kernel side compares with.
    #[must_use]
    pub fn net(self) -> Net {
        match self.addr {
            IpAddr::V4(addr) => Net::V4(Net4 {
                addr: u32::from_ne_bytes(addr.octets()),
                mask: mask4(self.len).to_be(),
            }),
            IpAddr::V6(addr) => Net::V6(Net6 {
                addr: words(addr.to_bits()),
                mask: words(mask6(self.len)),
            }),
        }
    }
}

impl FromStr for Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let addr: IpAddr = address.parse().map_err(|_| wrong_address(address))?;
        let max = bits(addr);
        let len = match length {
            None => max,
            Some(length) => decimal(length)
                .and_then(|len| u8::try_from(len).ok())
                .ok_or(ValueError::PrefixLength { max })?,
        };
        Self::new(addr, len).ok_or(ValueError::PrefixLength { max })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)?;
        if self.len < bits(self.addr) {
            write!(f, "/{}", self.len)?;
        }
        Ok(())
    }
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

// A shift by the full width is not defined; it is the mask of length 0.
fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

/// Four words in network order.
fn words(bits: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be())
}

/// Finds the likely mistake, for a message that helps.
fn wrong_address(text: &str) -> ValueError {
    if let Some((address, zone)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return ValueError::Zone(zone.to_owned());
    }
    if let Some((address, port)) = text.rsplit_once(':') {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if address.parse::<IpAddr>().is_ok() && decimal(port).is_some() {
            return ValueError::AddressPort(port.to_owned());
        }
    }
    let like_a_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    // All-digit labels are a mistyped address: 10.0.0.256.
    if like_a_name && text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return ValueError::HostName(text.to_owned());
    }
    ValueError::Address
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Prefix, ValueError> {
        text.parse()
    }

    #[test]
    fn words_are_masked_and_in_network_order() {
        let Ok(Net::V4(net)) = parse("10.1.2.3/8").map(Prefix::net) else {
            panic!("not IPv4");
        };
        assert_eq!(net.addr.to_ne_bytes(), [10, 0, 0, 0]);
        assert_eq!(net.mask.to_ne_bytes(), [255, 0, 0, 0]);

        let Ok(Net::V6(net)) = parse("2001:db8:ffff::1/33").map(Prefix::net) else {
            panic!("not IPv6");
        };
        assert_eq!(net.addr[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(net.addr[1].to_ne_bytes(), [0x80, 0, 0, 0]);
        assert_eq!(net.addr[2..], [0, 0]);
        assert_eq!(net.mask[0], u32::MAX);
        assert_eq!(net.mask[1].to_ne_bytes(), [0x80, 0, 0, 0]);
        assert_eq!(net.mask[2..], [0, 0]);
    }

    #[test]
    fn the_ends_of_the_range_of_lengths() {
        let every = Net::V4(Net4 { addr: 0, mask: 0 });
        assert_eq!(parse("1.2.3.4/0").map(Prefix::net), Ok(every));
        assert_eq!(parse("1.2.3.4"), parse("1.2.3.4/32"));
        assert_eq!(parse("::1"), parse("::1/128"));
        assert_eq!(
            parse("::1/0").map(Prefix::net),
            Ok(Net::V6(Net6::default()))
        );
        for text in ["1.2.3.4/33", "1.2.3.4/", "1.2.3.4/+8", "1.2.3.4/255.0.0.0"] {
            assert_eq!(parse(text), Err(ValueError::PrefixLength { max: 32 }));
        }
        assert_eq!(parse("::1/129"), Err(ValueError::PrefixLength { max: 128 }));
    }

    #[test]
    fn mistakes_are_recognised() {
        let name = |name: &str| Err(ValueError::HostName(name.to_owned()));
        assert_eq!(parse("example.com"), name("example.com"));
        assert_eq!(parse("node_1/24"), name("node_1"));
        assert_eq!(
            parse("fe80::1%eth0"),
            Err(ValueError::Zone("eth0".to_owned()))
        );
        for text in ["10.0.0.1:53", "[::1]:53"] {
            assert_eq!(parse(text), Err(ValueError::AddressPort("53".to_owned())));
        }
        for text in ["", "/", "10.0.0.256", "10.0", "::1::", "a b", "é"] {
            assert_eq!(parse(text), Err(ValueError::Address), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn a_displayed_prefix_parses_to_the_same(
            addr in any::<IpAddr>(), len in 0u8..=128,
        ) {
            if let Some(prefix) = Prefix::new(addr, len) {
                prop_assert_eq!(parse(&prefix.to_string()), Ok(prefix));
            }
        }
    }
}
