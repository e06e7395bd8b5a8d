//! Reads of kernel memory: the only place where an address becomes a value.
//!
//! Every read goes through `bpf_probe_read_kernel`, which copies nothing and says so when the
//! address is bad. Buffers start uninitialised: zeroing one would become a call of a byte loop.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
};
use skbtrace_common::{config::Config, hooks::Binding, layout::ABSENT};

/// What this run is told; user space overwrites it and freezes it.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::new();

/// A field of the frozen configuration.
#[macro_export]
macro_rules! config {
    ($($field:tt)+) => {{
        let field = &raw const $crate::kernel::CONFIG.$($field)+;
        // SAFETY: a field of a static that is initialised. Volatile, because the compiler sees
        // the placeholder and not what user space writes over it.
        unsafe { field.read_volatile() }
    }};
}

/// An offset of the frozen layout.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        u64::from($crate::config!(layout.$field))
    };
}

/// Whether a field exists on this kernel.
#[inline(always)]
pub fn has(offset: u64) -> bool {
    offset != ABSENT as u64
}

/// The function this copy of the program is attached to.
#[inline(always)]
pub fn binding() -> Binding {
    let value: u64;
    // SAFETY: loads a 64-bit immediate (Binding::PLACEHOLDER), which user space replaces.
    unsafe {
        core::arch::asm!("{0} = 0x5eed5eed5eed5eed ll", out(reg) value, options(pure, nomem, nostack));
    }
    Binding(value)
}

/// A value of plain type `T` at a kernel address.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: writes size_of::<T>() bytes to the buffer on success; T is plain.
    let result = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: the helper filled it.
    Some(unsafe { value.assume_init() })
}

/// `size` bytes from a kernel address into `to`, which the helper zeroes when it cannot read.
///
/// # Safety
/// `to` is valid for writes of `size` bytes.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, size: u32, address: u64) -> bool {
    // SAFETY: by the caller's word.
    unsafe { bpf_probe_read_kernel(to.cast::<c_void>(), size, address as *const c_void) == 0 }
}

/// A string from a kernel address into `to`: at most `size` bytes with the terminating zero.
/// The length with the zero; negative when nothing could be read.
///
/// # Safety
/// `to` is valid for writes of `size` bytes.
#[inline(always)]
pub unsafe fn copy_str(to: *mut u8, size: u32, address: u64) -> i64 {
    // SAFETY: by the caller's word.
    unsafe { bpf_probe_read_kernel_str(to.cast::<c_void>(), size, address as *const c_void) }
}

/// The registers at a function's entry or return (System V calling convention, x86-64).
pub struct Registers(*const pt_regs);

/// Loads a register in one instruction of our own: the compiler would merge several into one load
/// at a computed offset, which the verifier refuses for a context.
macro_rules! register {
    ($regs:expr, $name:ident) => {{
        let value: u64;
        // SAFETY: the context of a kprobe program is a pt_regs.
        unsafe {
            core::arch::asm!(
                "{value} = *(u64 *)({regs} + {offset})",
                value = out(reg) value,
                regs = in(reg) $regs.0,
                offset = const core::mem::offset_of!(pt_regs, $name),
                options(pure, readonly, nostack),
            );
        }
        value
    }};
}

impl Registers {
    /// The registers behind a program's context.
    #[inline(always)]
    pub fn new(context: *mut c_void) -> Self {
        Self(context.cast::<pt_regs>())
    }

    /// Argument at a position from 1 to 6; 0 for any other.
    #[inline(always)]
    pub fn arg(&self, position: u64) -> u64 {
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

    /// Stack pointer: at the entry the address of the return address, at the return the same plus
    /// eight.
    #[inline(always)]
    pub fn sp(&self) -> u64 {
        register!(self, rsp)
    }

    /// Returned value.
    #[inline(always)]
    pub fn ret(&self) -> u64 {
        register!(self, rax)
    }
}
