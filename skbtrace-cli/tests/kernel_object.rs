//! The kernel object as the build left it: what the compiler must not have put into it.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skbtrace"));

/// Zeroing or copying an array becomes a call of a byte loop: a hundred instructions on each
/// rejected packet.
#[test]
fn no_program_calls_a_byte_loop() {
    let file = object::File::parse(OBJECT).expect("an ELF file");
    let mut relocations = 0;
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol).expect("a symbol");
            let callee = symbol.name().unwrap_or_default();
            relocations += 1;
            let caller = file
                .symbols()
                .filter(|s| s.section_index() == Some(section.index()))
                .find(|s| (s.address()..s.address() + s.size()).contains(&offset))
                .and_then(|s| s.name().ok())
                .unwrap_or("?");
            assert!(
                !matches!(callee, "memset" | "memcpy" | "memmove" | "memcmp"),
                "{caller} calls {callee}"
            );
        }
    }
    // The programs name their maps in the same way.
    assert!(relocations > 0, "no relocations: look elsewhere");
}

/// The kernel gives a program and all that it calls 512 bytes of stack, and rounds each one's up to
/// 32 (`check_max_stack_depth`, kernel/bpf/verifier.c).
#[test]
fn the_stack_is_large_enough() {
    let file = object::File::parse(OBJECT).expect("an ELF file");
    let mut programs = 0;
    for symbol in file.symbols().filter(|symbol| symbol.size() > 0) {
        let Some(section) = symbol
            .section_index()
            .and_then(|index| file.section_by_index(index).ok())
            .filter(|section| {
                section.kind() == SectionKind::Text || section.name() == Ok("kprobe")
            })
        else {
            continue;
        };
        let code = section.data().expect("its content");
        let start = usize::try_from(symbol.address()).expect("an offset");
        let end = start + usize::try_from(symbol.size()).expect("a size");
        let depth = depth(&code[start..end]);
        programs += 1;
        // Some are called by what stands for them in the section of programs, which has no stack.
        let with_caller = depth.next_multiple_of(32).max(32) + 32;
        assert!(
            with_caller <= 512,
            "{:?} takes {depth} bytes",
            symbol.name()
        );
    }
    assert!(programs > 15, "{programs} programs");
}

/// How far below the frame pointer (r10) some code reaches.
fn depth(code: &[u8]) -> usize {
    /// `r += imm`.
    const ADD: u8 = 0x07;
    const LOADS_AND_STORES: std::ops::RangeInclusive<u8> = 1..=3;
    let reach = code.chunks_exact(8).map(|instruction| {
        let (class, registers) = (instruction[0] & 7, instruction[1]);
        let offset = i16::from_le_bytes([instruction[2], instruction[3]]);
        let immediate = i32::from_le_bytes(instruction[4..8].try_into().expect("four bytes"));
        // The register of the address: of a load the second.
        let base = if class == 1 {
            registers >> 4
        } else {
            registers & 0xf
        };
        if LOADS_AND_STORES.contains(&class) && base == 10 {
            i32::from(offset)
        } else if instruction[0] == ADD && (-512..0).contains(&immediate) {
            immediate
        } else {
            0
        }
    });
    reach
        .min()
        .map_or(0, |lowest| lowest.unsigned_abs() as usize)
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
