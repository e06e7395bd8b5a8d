//! The kernel object as the build left it: what the compiler must not have put into it.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skbtrace"));

/// Zeroing or copying an array becomes a call of a byte loop: a hundred instructions on each
/// rejected packet. Only the debug log, which is dead code unless asked for, may do it.
#[test]
fn no_program_calls_a_byte_loop() {
    let file = object::File::parse(OBJECT).expect("an ELF file");
    let mut loops = 0;
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol).expect("a symbol");
            let callee = symbol.name().unwrap_or_default();
            if !matches!(callee, "memset" | "memcpy" | "memmove" | "memcmp") {
                continue;
            }
            loops += 1;
            let caller = file
                .symbols()
                .filter(|s| s.section_index() == Some(section.index()))
                .find(|s| (s.address()..s.address() + s.size()).contains(&offset))
                .and_then(|s| s.name().ok())
                .unwrap_or("?");
            assert!(caller.contains("aya_log"), "{caller} calls {callee}");
        }
    }
    // The log's own call shows that the search finds what it looks for.
    assert!(
        loops > 0,
        "not even the debug log calls memcpy: look for another name"
    );
}

/// A panic cannot be loaded: it never returns.
#[test]
fn no_program_panics() {
    let file = object::File::parse(OBJECT).expect("an ELF file");
    for section in file.sections() {
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let name = file.symbol_by_index(symbol).expect("a symbol").name();
            let name = name.unwrap_or_default();
            assert!(
                !name.contains("panic"),
                "a call of {name} in {:?}",
                section.name()
            );
        }
    }
}
