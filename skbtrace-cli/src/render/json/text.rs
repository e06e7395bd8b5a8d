//! The pieces of JSON: strings, numbers, what is not there.
//!
//! **Invariant:** a name from the kernel or the wire reaches the output through [`string`] only, so
//! a line is JSON and one line, whatever the bytes, and controls no terminal.

use std::net::IpAddr;

use super::super::digits;

/// Appends text that is JSON already: a key, a bracket, a fixed value.
///
/// Inlined, so that its length is known and copying it takes no call.
#[inline(always)]
pub fn put(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a string. What is not UTF-8 becomes U+FFFD, as JSON has no other text.
#[inline]
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    let plain = |&byte: &u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    out.push(b'"');
    if text.iter().all(plain) {
        out.extend_from_slice(text);
    } else {
        escaped(text, out);
    }
    out.push(b'"');
}

/// Control characters are escaped, beyond what JSON asks for those of a terminal too (U+007F to
/// U+009F).
#[cold]
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => put("\\\"", out),
            '\\' => put("\\\\", out),
            '\0'..=' ' | '\u{7f}'..='\u{9f}' if character != ' ' => {
                put("\\u00", out);
                // All of them are below U+0100.
                out.extend_from_slice(&digits::hex2(character as u8));
            }
            _ => put(character.encode_utf8(&mut [0; 4]), out),
        }
    }
}

/// Appends a name, or `null` when it is empty.
#[inline]
pub fn name(name: &[u8], out: &mut Vec<u8>) {
    if name.is_empty() {
        put("null", out);
    } else {
        string(name, out);
    }
}

/// Appends a string, or `null`.
#[inline]
pub fn optional_string(text: Option<&[u8]>, out: &mut Vec<u8>) {
    optional(text, out, string);
}

/// Appends a number.
#[inline]
pub fn number(number: impl Into<u64>, out: &mut Vec<u8>) {
    digits::decimal(number.into(), out);
}

/// Appends a number, or `null`.
#[inline]
pub fn optional_number(value: Option<impl Into<u64>>, out: &mut Vec<u8>) {
    optional(value, out, number);
}

/// Appends `true` or `false`.
#[inline]
pub fn boolean(value: bool, out: &mut Vec<u8>) {
    put(if value { "true" } else { "false" }, out);
}

/// Appends `true`, `false` or `null`.
#[inline]
pub fn optional_boolean(value: Option<bool>, out: &mut Vec<u8>) {
    optional(value, out, boolean);
}

/// Appends what `write` writes of a value, or `null`.
#[inline]
pub fn optional<T>(value: Option<T>, out: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, out),
        None => put("null", out),
    }
}

/// Appends an address of kernel memory, a string.
#[inline]
pub fn address(address: u64, out: &mut Vec<u8>) {
    let mut text = *b"\"0x0000000000000000\"";
    if let Some(place) = text.get_mut(3..19) {
        place.copy_from_slice(&digits::hex16(address));
    }
    out.extend_from_slice(&text);
}

/// Appends an IP address, a string, or `null`.
#[inline]
pub fn ip(address: Option<IpAddr>, out: &mut Vec<u8>) {
    optional(address, out, |address, out| {
        out.push(b'"');
        digits::address(address, out);
        out.push(b'"');
    });
}

/// Appends a link-layer address, a string: `"0a:71:00:00:00:02"`.
pub fn hardware(address: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, &byte) in address.iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.extend_from_slice(&digits::hex2(byte));
    }
    out.push(b'"');
}

/// Appends an array.
pub fn array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Appends an array of our own words.
pub fn words(words: impl Iterator<Item = &'static str>, out: &mut Vec<u8>) {
    array(words, out, |word, out| string(word.as_bytes(), out));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(bytes, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings() {
        assert_eq!(text(b"eth0"), r#""eth0""#);
        assert_eq!(
            text(b"a\"b\\c\n\x1b\x7f\xc3\xa4\xc2\x9b d"),
            r#""a\"b\\c\u000a\u001b\u007fä\u009b d""#
        );
        assert_eq!(text(b"\xff\xfe"), "\"\u{fffd}\u{fffd}\"");
        let mut out = Vec::new();
        name(b"", &mut out);
        assert_eq!(out, b"null");
    }

    #[test]
    fn addresses() {
        let mut out = Vec::new();
        address(0xffff_949a_8d63_9a00, &mut out);
        hardware(&[0x0a, 0x71, 0, 0, 0, 2], &mut out);
        hardware(&[], &mut out);
        assert_eq!(out, br#""0xffff949a8d639a00""0a:71:00:00:00:02""""#);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let read: String = serde_json::from_str(&text(&bytes)).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
            let controls = text(&bytes).chars().any(char::is_control);
            prop_assert!(!controls);
        }
    }
}
