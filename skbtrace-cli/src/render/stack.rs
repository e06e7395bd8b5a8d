//! Places in the kernel's code, and the stacks under events.
//!
//! | Place                      | In a cell                                  | In a stack                             |
//! |----------------------------|--------------------------------------------|----------------------------------------|
//! | of the kernel              | `nf_hook_slow+0x9d`                        | `nf_hook_slow+0x9d`                    |
//! | of a module                | `br_handle_frame_finish+0x12[bridge]`      | `br_handle_frame_finish+0x12 [bridge]` |
//! | in no known function       | `0xffffffffc0401234`                       | the same                               |
//! | not known                  | `?`                                        | `?`                                    |
//!
//! Each frame has a line of its own, innermost first, indented by four blanks: a line that begins
//! with a blank belongs to the event above it.

use super::{cell::escaped, digits};
use crate::{
    decode::Names,
    event::{CodePlace, Symbol},
};

const INDENT: &[u8] = b"    ";

/// Appends a place as part of a cell: without a blank.
pub fn push_place(place: CodePlace<'_>, out: &mut Vec<u8>) {
    match (place.symbol, place.address) {
        (Some(symbol), _) => push_symbol(symbol, b"", out),
        (None, Some(address)) => push_address(address, out),
        (None, None) => out.push(b'?'),
    }
}

/// Appends the lines of a stack, from the traced function on.
pub fn push(frames: &[u64], names: &dyn Names, out: &mut Vec<u8>) {
    let frames = without_own(frames, names);
    if frames.is_empty() {
        out.extend_from_slice(INDENT);
        out.extend_from_slice(b"?\n");
    }
    for &address in frames {
        out.extend_from_slice(INDENT);
        match names.symbol(address) {
            Some(symbol) => push_symbol(symbol, b" ", out),
            None => push_address(address, out),
        }
        out.push(b'\n');
    }
}

/// The frames from the traced function on.
pub fn without_own<'a>(frames: &'a [u64], names: &dyn Names) -> &'a [u64] {
    frames.get(own(frames, names)..).unwrap_or(frames)
}

/// How many frames are this tracer's: innermost, its program and the trampolines that called it, of
/// which not all have names.
fn own(frames: &[u64], names: &dyn Names) -> usize {
    let symbols = frames.iter().map(|&address| names.symbol(address));
    let is_bpf = |symbol: Symbol<'_>| symbol.module == Some("bpf");
    let nameless_or_own = symbols.take_while(|symbol| symbol.is_none_or(is_bpf));
    let last = (1..).zip(nameless_or_own).filter(|(_, s)| s.is_some());
    last.last().map_or(0, |(count, _)| count)
}

fn push_symbol(symbol: Symbol<'_>, before_module: &[u8], out: &mut Vec<u8>) {
    escaped(symbol.function.as_bytes(), out);
    out.extend_from_slice(b"+0x");
    match u32::try_from(symbol.offset) {
        Ok(offset) => digits::hex(offset, out),
        Err(_) => out.extend_from_slice(&digits::hex16(symbol.offset)),
    }
    if let Some(module) = symbol.module {
        out.extend_from_slice(before_module);
        out.push(b'[');
        escaped(module.as_bytes(), out);
        out.push(b']');
    }
}

fn push_address(address: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0x");
    out.extend_from_slice(&digits::hex16(address));
}
