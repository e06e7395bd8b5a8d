//! Places in the kernel's code, one by one and as stacks.

use super::text::{address, array, optional, optional_number, optional_string, put};
use crate::{
    decode::Names,
    event::{CodePlace, Symbol},
    render::stack,
};

/// Appends a place.
pub fn push(place: CodePlace<'_>, out: &mut Vec<u8>) {
    put("{\"address\":", out);
    optional(place.address, out, address);
    symbol(place.symbol, out);
    put("}", out);
}

fn symbol(symbol: Option<Symbol<'_>>, out: &mut Vec<u8>) {
    put(",\"function\":", out);
    optional_string(symbol.map(|symbol| symbol.function.as_bytes()), out);
    put(",\"offset\":", out);
    optional_number(symbol.map(|symbol| symbol.offset), out);
    put(",\"module\":", out);
    let module = symbol.and_then(|symbol| symbol.module);
    optional_string(module.map(str::as_bytes), out);
}

/// Appends a stack, from the traced function on.
pub fn frames(frames: &[u64], names: &dyn Names, out: &mut Vec<u8>) {
    array(stack::without_own(frames, names), out, |&address, out| {
        let place = CodePlace {
            address: Some(address),
            symbol: names.symbol(address),
        };
        push(place, out);
    });
}
