//! Resolving: a symbol's address, without user space reading `/proc/kallsyms`.
//!
//! Run by user space, not by a packet.

use aya_ebpf::{
    helpers::generated::bpf_kallsyms_lookup_name, macros::kprobe, programs::ProbeContext,
};

/// Longest name with its terminating zero (`KSYM_NAME_LEN` is 512 since 6.1; no function that is
/// listened on comes near).
const NAME: usize = 128;

/// A question and its answer.
#[repr(C)]
struct Symbol {
    name: [u8; NAME],
    address: u64,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.symbol")]
static mut SYMBOL: Symbol = Symbol {
    name: [0; NAME],
    address: 0,
};

/// Looks up the address of the name in [`SYMBOL`].
#[kprobe]
pub fn resolve(_ctx: ProbeContext) -> u32 {
    // SAFETY: fields of a static of which user space uses one at a time.
    let result = unsafe {
        bpf_kallsyms_lookup_name(
            (&raw const SYMBOL.name).cast(),
            NAME as i32,
            0,
            (&raw mut SYMBOL.address).cast(),
        )
    };
    result as u32
}
