//! The call that a program was run for: its arguments, its return, and which function it is.
//!
//! One image serves every way of attaching. What the context is, registers or an array of
//! arguments, is known from the [`Binding`] and therefore to the verifier.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::generated::{bpf_get_attach_cookie, bpf_get_func_arg, bpf_get_func_ip},
};
use skbtrace_common::{hooks::Binding, record::NO_ROW};

use crate::kernel::{binding, is_session_return, row, session_cookie};

/// A program's context.
#[derive(Clone, Copy)]
pub struct Call(*mut c_void);

impl EbpfContext for Call {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

/// Loads eight bytes of the context in one instruction of our own: the compiler would merge
/// several into one load at a computed offset, which the verifier refuses for a context.
macro_rules! load {
    ($context:expr, $offset:expr) => {{
        let value: u64;
        // SAFETY: the verifier checks that the context has them.
        unsafe {
            core::arch::asm!(
                "{value} = *(u64 *)({context} + {offset})",
                value = out(reg) value,
                context = in(reg) $context,
                offset = const $offset,
                options(pure, readonly, nostack),
            );
        }
        value
    }};
}

macro_rules! register {
    ($call:expr, $name:ident) => {
        load!($call.0, core::mem::offset_of!(pt_regs, $name))
    };
}

impl Call {
    /// The call behind a program's context.
    #[inline(always)]
    pub fn new(context: *mut c_void) -> Self {
        Self(context)
    }

    /// Argument at a position from 1 to 6; 0 for any other. The verifier may know it for a pointer
    /// to a certain type, with which it cannot be calculated; see [`Call::number`].
    #[inline(always)]
    pub fn argument(self, position: u64) -> u64 {
        let binding = binding();
        if binding.has_argument_helper() {
            return self.ask_for_argument(position);
        }
        if binding.has_arguments() {
            return match position {
                1 => load!(self.0, 0),
                2 => load!(self.0, 8),
                3 => load!(self.0, 16),
                4 => load!(self.0, 24),
                5 => load!(self.0, 32),
                6 => load!(self.0, 40),
                _ => 0,
            };
        }
        // System V calling convention, x86-64.
        match position {
            1 => register!(self, rdi),
            2 => register!(self, rsi),
            3 => register!(self, rdx),
            4 => register!(self, rcx),
            5 => register!(self, r8),
            6 => register!(self, r9),
            _ => 0,
        }
    }

    /// The same as a number.
    #[inline(always)]
    pub fn number(self, argument: u64) -> u64 {
        let binding = binding();
        if binding.has_arguments() && !binding.has_argument_helper() {
            forget_type(argument)
        } else {
            argument
        }
    }

    /// The other packet of a function that has two, or the one that it returned where returns have
    /// arguments (then the position is one behind the last).
    #[inline(always)]
    pub fn other(self) -> u64 {
        self.number(self.argument(binding().table()))
    }

    #[inline(always)]
    fn ask_for_argument(self, position: u64) -> u64 {
        let mut value = MaybeUninit::<u64>::uninit();
        // SAFETY: writes eight bytes on success.
        let result = unsafe { bpf_get_func_arg(self.0, position as u32 - 1, value.as_mut_ptr()) };
        if result != 0 {
            return 0;
        }
        // SAFETY: written.
        unsafe { value.assume_init() }
    }

    /// Whether it is the function's return that the program was run for, and not its entry.
    #[inline(always)]
    pub fn is_return(self) -> bool {
        let binding = binding();
        if binding.is_session() {
            is_session_return(self.0)
        } else {
            binding.is_at_return()
        }
    }

    /// What a session keeps for the call from its entry to its return.
    #[inline(always)]
    pub fn cookie(self) -> *mut u64 {
        session_cookie(self.0)
    }

    /// Stack pointer, where the context is registers: at the entry the address of the return
    /// address, at a kretprobe's return the same plus eight. At other returns it is what the
    /// kernel has there, at the same distance for all (since 6.14 below: `return_to_handler`,
    /// arch/x86/kernel/ftrace_64.S).
    #[inline(always)]
    pub fn stack(self) -> u64 {
        register!(self, rsp)
    }

    /// Returned value, where the context is registers.
    #[inline(always)]
    pub fn returned(self) -> u64 {
        register!(self, rax)
    }

    /// Row of the catalogue. Asked for only when there is something to report: the cookie of a
    /// kprobe.multi link costs a search.
    #[inline(always)]
    pub fn row(self) -> u16 {
        let binding: Binding = binding();
        if binding.has_address() {
            return NO_ROW;
        }
        if binding.has_cookie() {
            // SAFETY: takes the context.
            return unsafe { bpf_get_attach_cookie(self.0) } as u16;
        }
        row()
    }

    /// The function's address where that tells the row, otherwise 0.
    #[inline(always)]
    pub fn address(self) -> u64 {
        if binding().has_address() {
            // SAFETY: takes the context.
            unsafe { bpf_get_func_ip(self.0) }
        } else {
            0
        }
    }
}

/// The same number, of which the verifier knows nothing: negated twice. It lets no program
/// calculate with a pointer to a kernel type, but negate it.
#[inline(always)]
fn forget_type(pointer: u64) -> u64 {
    let mut number = pointer;
    // SAFETY: two instructions on a register.
    unsafe {
        core::arch::asm!(
            "{0} = -{0}",
            "{0} = -{0}",
            inout(reg) number,
            options(pure, nomem, nostack),
        );
    }
    number
}
