//! Constants in the instructions: what stands for them in the image, and what is put there.

use aya_obj::generated::bpf_insn;
#[cfg(doc)]
use skbtrace_common::config::USE_CAST;
use skbtrace_common::{
    config::{Config, Constant},
    hooks::Binding,
};

use crate::kernel::layout::Session;

/// Numbers of kernel functions in the kernel's BTF.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelFunctions {
    /// Of `bpf_rdonly_cast`, where it is used ([`USE_CAST`]).
    pub cast: Option<u32>,
    /// For programs at a function's entry and return ([`Binding::with_session`]).
    pub session: Option<Session>,
}

impl KernelFunctions {
    /// By what stands for it in the image (`kernel.rs`); `None` for one that is not used, whose
    /// calls are dead code and stay as they are.
    const fn number(self, placeholder: i32) -> Option<u32> {
        match (placeholder, self.session) {
            (RDONLY_CAST, _) => self.cast,
            (SESSION_IS_RETURN, Some(session)) => Some(session.is_return),
            (SESSION_COOKIE, Some(session)) => Some(session.cookie),
            _ => None,
        }
    }
}

const LOAD_IMMEDIATE_64: u8 = 0x18;
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`: the call is of a kernel function by its number in BTF.
const KERNEL_FUNCTION: u8 = 2;
/// What stands for kernel functions in the image (`kernel.rs`).
pub const RDONLY_CAST: i32 = 0x7e_0001;
const SESSION_IS_RETURN: i32 = 0x7e_0002;
pub const SESSION_COOKIE: i32 = 0x7e_0003;

/// Writes the configuration's constants over their placeholders, and the numbers of kernel
/// functions.
pub fn configure(instructions: &mut [bpf_insn], config: &Config, functions: KernelFunctions) {
    replace(instructions, |number| {
        Constant::recognise(number).map(|constant| constant.value(config))
    });
    for instruction in instructions {
        if instruction.code == CALL
            && instruction.src_reg() == 0
            && let Some(number) = functions.number(instruction.imm)
        {
            instruction.set_src_reg(KERNEL_FUNCTION);
            instruction.imm = number.cast_signed();
        }
    }
}

/// Writes the binding over its placeholder, but for the row.
pub fn bind(instructions: &mut [bpf_insn], binding: Binding) {
    replace(instructions, |number| {
        (number == Binding::PLACEHOLDER).then_some(binding.of_any_row().0)
    });
}

/// Writes the binding's row over its placeholder.
pub fn set_row(instructions: &mut [bpf_insn], binding: Binding) {
    replace(instructions, |number| {
        (number == Binding::ROW_PLACEHOLDER).then_some(u64::from(binding.hook()))
    });
}

/// Whether a number stands for what is known only when a program is loaded.
pub const fn is_placeholder(number: u64) -> bool {
    matches!(number, Binding::PLACEHOLDER | Binding::ROW_PLACEHOLDER)
}

/// Replaces 64-bit immediates.
fn replace(instructions: &mut [bpf_insn], new: impl Fn(u64) -> Option<u64>) {
    let halves = |value: u64| {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (low, high) = (value as u32, (value >> 32) as u32);
        (low.cast_signed(), high.cast_signed())
    };
    for at in 1..instructions.len() {
        let (first, second) = (&instructions[at - 1], &instructions[at]);
        // Others, with a source register, are addresses of maps.
        if first.code != LOAD_IMMEDIATE_64 || first.src_reg() != 0 {
            continue;
        }
        let number =
            u64::from(first.imm.cast_unsigned()) | u64::from(second.imm.cast_unsigned()) << 32;
        if let Some(value) = new(number) {
            (instructions[at - 1].imm, instructions[at].imm) = halves(value);
        }
    }
}
