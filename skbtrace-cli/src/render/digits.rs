//! Numbers as text, by table: `core::fmt` costs several times what the whole line may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Every byte as two hexadecimal digits.
const HEX_PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Every number below 100 as two decimal digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Every number below 1000 as three decimal digits.
const TRIPLES: [[u8; 3]; 1000] = {
    let mut triples = [[0; 3]; 1000];
    let mut number = 0;
    while number < 1000 {
        let [tens, ones] = PAIRS[number % 100];
        triples[number] = [b'0' + (number / 100) as u8, tens, ones];
        number += 1;
    }
    triples
};

/// Every byte as a decimal number and a dot, and how long that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let digits = [
            b'0' + (byte / 100) as u8,
            b'0' + (byte / 10 % 10) as u8,
            b'0' + (byte % 10) as u8,
        ];
        octets[byte] = match byte {
            0..10 => ([digits[2], b'.', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b'.', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b'.'], 4),
        };
        byte += 1;
    }
    octets
};

/// Appends the first `len` bytes of `block`: a copy of fixed size and a step back are cheaper
/// than a copy of varying size.
#[inline]
pub fn push_block<const N: usize>(block: &[u8; N], len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(block);
    out.truncate(start + len);
}

/// Two decimal digits; of a larger number the last two.
#[inline]
pub fn two(number: u32) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// Three decimal digits; of a larger number the last three.
#[inline]
pub fn three(number: u32) -> [u8; 3] {
    TRIPLES[(number % 1000) as usize]
}

/// Six decimal digits; of a larger number the last six.
#[inline]
pub fn six(number: u32) -> [u8; 6] {
    let [a, b, c] = three(number / 1000);
    let [d, e, f] = three(number);
    [a, b, c, d, e, f]
}

/// Nine decimal digits; of a larger number the last nine.
#[inline]
pub fn nine(number: u32) -> [u8; 9] {
    let [a, b, c] = three(number / 1_000_000);
    let [d, e, f, g, h, i] = six(number);
    [a, b, c, d, e, f, g, h, i]
}

/// Appends a decimal number.
#[inline]
pub fn decimal(number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        long_decimal(number, out);
    }
}

/// Appends a time given in nanoseconds, in milliseconds to the microsecond: `1.204ms`.
pub fn milliseconds(nanoseconds: u64, out: &mut Vec<u8>) {
    let micros = nanoseconds / 1000;
    decimal(micros / 1000, out);
    out.push(b'.');
    // Of six digits the last three.
    let rest = six((micros % 1000) as u32);
    out.extend_from_slice(rest.get(3..).unwrap_or_default());
    out.extend_from_slice(b"ms");
}

/// Appends a time given in nanoseconds as people read it: `12.3us`, `1.204ms`, `2.001s`.
pub fn elapsed(nanoseconds: u64, out: &mut Vec<u8>) {
    let (whole, rest, unit): (u64, &[u8], &[u8]) = match nanoseconds {
        0..1_000_000 => (
            nanoseconds / 1000,
            &six((nanoseconds % 1000) as u32 * 1000)[..1],
            b"us",
        ),
        1_000_000..1_000_000_000 => (
            nanoseconds / 1_000_000,
            &six((nanoseconds % 1_000_000) as u32)[..3],
            b"ms",
        ),
        _ => (
            nanoseconds / 1_000_000_000,
            &six((nanoseconds / 1000 % 1_000_000) as u32)[..3],
            b"s",
        ),
    };
    decimal(whole, out);
    out.push(b'.');
    out.extend_from_slice(rest);
    out.extend_from_slice(unit);
}

fn long_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 10 {
        at -= 2;
        [digits[at], digits[at + 1]] = PAIRS[(number % 100) as usize];
        number /= 100;
    }
    if number > 0 {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Sixteen hexadecimal digits.
#[inline]
pub fn hex16(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(number.to_be_bytes())
    {
        *pair = HEX_PAIRS[usize::from(byte)];
    }
    digits
}

/// Two hexadecimal digits.
#[inline]
pub fn hex2(byte: u8) -> [u8; 2] {
    HEX_PAIRS[usize::from(byte)]
}

/// Appends a hexadecimal number without leading zeros.
pub fn hex(number: u32, out: &mut Vec<u8>) {
    let digits = hex16(u64::from(number));
    let zeros = (number | 1).leading_zeros() as usize / 4 + 8;
    out.extend_from_slice(&digits[zeros..]);
}

/// Appends an address, IPv6 as RFC 5952 has it.
pub fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => ipv4(address, out),
        IpAddr::V6(address) => ipv6(address, out),
    }
}

/// Appends an IPv4 address.
#[inline]
pub fn ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    for byte in address.octets() {
        let (block, len) = &OCTETS[usize::from(byte)];
        push_block(block, usize::from(*len), out);
    }
    out.pop();
}

fn ipv6(address: Ipv6Addr, out: &mut Vec<u8>) {
    if let Some(address) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return ipv4(address, out);
    }
    let words = address.segments();
    let zeros = longest_zeros(&words);
    for (at, &word) in words.iter().enumerate() {
        if zeros.contains(&at) {
            if at == zeros.start {
                out.extend_from_slice(b"::");
            }
            continue;
        }
        if at > 0 && at != zeros.end {
            out.push(b':');
        }
        hex(u32::from(word), out);
    }
}

/// The first of the longest runs of zeros; a single zero is none.
fn longest_zeros(words: &[u16; 8]) -> std::ops::Range<usize> {
    let mut longest = usize::MAX..usize::MAX;
    let mut start = 0;
    for (at, &word) in words.iter().enumerate() {
        if word != 0 {
            start = at + 1;
        } else if at + 1 - start > longest.len().max(1) {
            longest = start..at + 1;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn elapsed_times() {
        let text = |ns| text(|out| elapsed(ns, out));
        assert_eq!(
            [text(0), text(99), text(12_345)],
            ["0.0us", "0.0us", "12.3us"]
        );
        assert_eq!([text(999_999), text(1_000_000)], ["999.9us", "1.000ms"]);
        assert_eq!(
            [text(1_204_999), text(2_001_999_999)],
            ["1.204ms", "2.001s"]
        );
        assert_eq!(text(u64::MAX), "18446744073.709s");
    }

    #[test]
    fn addresses_at_the_edges() {
        for address in [
            "::",
            "::1",
            "1::",
            "fd00::1",
            "::ffff:1.2.3.4",
            "1:0:0:2::",
            "1:0:2::3",
        ] {
            let address: Ipv6Addr = address.parse().expect("an address");
            assert_eq!(text(|out| ipv6(address, out)), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn as_the_standard_library(
            number: u64, small in 0..70_000u64, word: u32, v4: u32,
            v6 in proptest::array::uniform8(prop_oneof![Just(0u16), any::<u16>()]),
        ) {
            prop_assert_eq!(text(|out| decimal(number, out)), number.to_string());
            prop_assert_eq!(text(|out| decimal(small, out)), small.to_string());
            prop_assert_eq!(text(|out| hex(word, out)), format!("{word:x}"));
            prop_assert_eq!(hex16(number).to_vec(), format!("{number:016x}").into_bytes());
            prop_assert_eq!(nine(word % 1_000_000_000).to_vec(), format!("{:09}", word % 1_000_000_000).into_bytes());
            let number = word % 1_000_000;
            prop_assert_eq!(six(number).to_vec(), format!("{number:06}").into_bytes());
            let v4 = Ipv4Addr::from(v4);
            prop_assert_eq!(text(|out| ipv4(v4, out)), v4.to_string());
            let v6 = Ipv6Addr::from(v6);
            prop_assert_eq!(text(|out| ipv6(v6, out)), v6.to_string());
        }
    }
}
