//! Single values of the filter options, other than addresses.
//!
//! Each parser takes one value as typed; lists (commas, repeated options) are split before.

use std::str::FromStr;

use skbtrace_common::config::{MAX_VALUES, Mark};

use super::ValueError;

/// A value of `--proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// No restriction.
    Any,
    /// An IP protocol number.
    Number(u8),
}

/// A value of `--iface`: a name, zero padded, as the two words that the kernel side compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface(pub [u64; 2]);

/// A value of `--mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkBits(pub Mark);

/// Digits only: unlike [`str::parse`] there is no sign.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Decimal digits, or hexadecimal ones after `0x`.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return decimal(text);
    };
    // from_str_radix would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// A value of `--port`, `--sport` and `--dport`.
///
/// # Errors
/// When `text` is no number from 0 to 65535.
pub fn port(text: &str) -> Result<u16, ValueError> {
    if let Some((low, high)) = text.split_once(['-', ':'])
        && decimal(low).is_some()
        && decimal(high).is_some()
    {
        return Err(ValueError::PortRange { max: MAX_VALUES });
    }
    decimal(text)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(ValueError::Number {
            what: "a port",
            min: 0,
            max: u16::MAX.into(),
        })
}

/// A value of `--icmpid`.
///
/// # Errors
/// When `text` is no number from 0 to 65535.
pub fn icmp_id(text: &str) -> Result<u16, ValueError> {
    number(text)
        .and_then(|id| u16::try_from(id).ok())
        .ok_or(ValueError::Number {
            what: "an ICMP echo identifier",
            min: 0,
            max: u16::MAX.into(),
        })
}

/// A value of `--pid`.
///
/// # Errors
/// When `text` is no positive number of 31 bits.
pub fn pid(text: &str) -> Result<u32, ValueError> {
    // The kernel's pid_t is a signed int.
    decimal(text)
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| (1..=i32::MAX.unsigned_abs()).contains(pid))
        .ok_or(ValueError::Number {
            what: "a process id",
            min: 1,
            max: i32::MAX.unsigned_abs().into(),
        })
}

impl FromStr for Protocol {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "any" => Self::Any,
            "icmp" => Self::Number(1),
            "tcp" => Self::Number(6),
            "udp" => Self::Number(17),
            "icmp6" | "icmpv6" => Self::Number(58),
            text => Self::Number(
                decimal(text)
                    .and_then(|number| u8::try_from(number).ok())
                    .ok_or(ValueError::Protocol)?,
            ),
        })
    }
}

impl FromStr for Interface {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // As dev_valid_name() in net/core/dev.c: IFNAMSIZ is 16 with the terminating zero.
        let refused =
            |byte: u8| matches!(byte, b'/' | b':' | b'\0' | b'\x0b') || byte.is_ascii_whitespace();
        if text.is_empty() || matches!(text, "." | "..") || text.bytes().any(refused) {
            return Err(ValueError::Interface);
        }
        let mut padded = [0; 16];
        padded
            .get_mut(..text.len())
            .filter(|place| place.len() < 16)
            .ok_or(ValueError::Interface)?
            .copy_from_slice(text.as_bytes());
        let (low, high) = padded.split_at(8);
        Ok(Self(
            [low, high].map(|half| half.try_into().map_or(0, u64::from_ne_bytes)),
        ))
    }
}

impl FromStr for MarkBits {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let word = |text: &str| {
            number(text)
                .and_then(|word| u32::try_from(word).ok())
                .ok_or(ValueError::Mark)
        };
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (word(value)?, word(mask)?),
            None => (word(text)?, u32::MAX),
        };
        if value & !mask != 0 {
            return Err(ValueError::MarkOutsideMask);
        }
        Ok(Self(Mark { value, mask }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_no_sign_and_no_blanks() {
        assert_eq!(number("0x1F"), Some(31));
        assert_eq!(number("31"), Some(31));
        for text in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "0x",
            "0x+1",
            "1f",
            "99999999999999999999",
        ] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        assert!(matches!(port("53-60"), Err(ValueError::PortRange { .. })));
        for text in ["65536", "http", "", "0x35", "-1"] {
            assert!(matches!(port(text), Err(ValueError::Number { .. })));
        }
    }

    #[test]
    fn identifiers_and_processes() {
        assert_eq!(icmp_id("0xffff"), Ok(65535));
        assert!(icmp_id("65536").is_err());
        assert_eq!(pid("1"), Ok(1));
        assert!(pid("0").is_err());
        assert!(pid("2147483648").is_err());
    }

    #[test]
    fn protocols() {
        assert_eq!("UDP".parse(), Ok(Protocol::Number(17)));
        assert_eq!("icmpv6".parse::<Protocol>(), "icmp6".parse());
        assert_eq!("255".parse(), Ok(Protocol::Number(255)));
        assert_eq!("any".parse(), Ok(Protocol::Any));
        for text in ["256", "sctp", "", "-1"] {
            assert_eq!(text.parse::<Protocol>(), Err(ValueError::Protocol));
        }
    }

    #[test]
    fn interfaces() {
        let Ok(Interface(words)) = "eth0".parse() else {
            panic!("refused");
        };
        assert_eq!(words[0].to_ne_bytes(), *b"eth0\0\0\0\0");
        assert_eq!(words[1], 0);
        assert!("fifteen-bytes-x".parse::<Interface>().is_ok());
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:1",
            "sixteen-bytes-xx",
            "a\0",
        ] {
            assert_eq!(text.parse::<Interface>(), Err(ValueError::Interface));
        }
    }

    #[test]
    fn marks() {
        let mark = |value, mask| Ok(MarkBits(Mark { value, mask }));
        assert_eq!("16".parse(), mark(16, u32::MAX));
        assert_eq!("0x10/0xff".parse(), mark(16, 255));
        assert_eq!("0/0".parse(), mark(0, 0));
        assert_eq!(
            "0x110/0xff".parse::<MarkBits>(),
            Err(ValueError::MarkOutsideMask)
        );
        for text in ["", "/", "1/", "/1", "0x100000000", "1/2/3", "x"] {
            assert_eq!(text.parse::<MarkBits>(), Err(ValueError::Mark), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = (port(&text), icmp_id(&text), pid(&text));
            let _ = (text.parse::<Protocol>(), text.parse::<Interface>());
            let _ = text.parse::<MarkBits>();
        }

        #[test]
        fn an_accepted_interface_keeps_its_name(text in ".{0,20}") {
            if let Ok(Interface(words)) = text.parse() {
                let bytes = words.map(u64::to_ne_bytes).concat();
                prop_assert_eq!(&bytes[..text.len()], text.as_bytes());
                prop_assert!(bytes[text.len()..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
