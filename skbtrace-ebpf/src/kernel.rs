//! Reads of kernel memory: the only place where an address becomes a value.
//!
//! Where the kernel offers it (`bpf_rdonly_cast`, 6.3), memory is read by plain loads that give
//! zero when the address is bad; elsewhere through `bpf_probe_read_kernel`, which says so. Buffers
//! start uninitialised: zeroing one would become a call of a byte loop.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use skbtrace_common::{
    config::{Config, USE_CAST},
    hooks::Binding,
    layout::ABSENT,
};

/// What this run is told; user space overwrites it and freezes it.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::new();

/// A number of the frozen configuration, as a constant in the instructions.
#[macro_export]
macro_rules! config {
    ($($field:tt)+) => {{
        const FIELD: u64 = skbtrace_common::config::Constant::field(
            core::mem::offset_of!(skbtrace_common::config::Config, $($field)+),
            core::mem::size_of_val(&skbtrace_common::config::Config::new().$($field)+),
        );
        $crate::constant!(FIELD)
    }};
}

/// An offset of the frozen layout.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        $crate::config!(layout.$field)
    };
    ($field:ident - $start:ident) => {{
        const DIFFERENCE: u64 = skbtrace_common::config::Constant::difference(
            core::mem::offset_of!(skbtrace_common::config::Config, layout.$field),
            core::mem::offset_of!(skbtrace_common::config::Config, layout.$start),
        );
        $crate::constant!(DIFFERENCE)
    }};
}

/// A 64-bit immediate that user space replaces before loading.
#[macro_export]
macro_rules! constant {
    ($placeholder:expr) => {{
        let value: u64;
        // SAFETY: loads an immediate.
        unsafe {
            core::arch::asm!(
                "{0} = {1} ll",
                out(reg) value,
                const $placeholder,
                options(pure, nomem, nostack),
            );
        }
        value
    }};
}

/// Whether a field exists on this kernel.
#[inline(always)]
pub fn has(offset: u64) -> bool {
    offset != ABSENT as u64
}

/// Whether an option of the run is set.
#[inline(always)]
pub fn option(bit: u32) -> bool {
    config!(options) & bit as u64 != 0
}

/// The function this copy of the program is attached to, but for its row.
#[inline(always)]
pub fn binding() -> Binding {
    Binding(constant!(Binding::PLACEHOLDER))
}

/// The row of that function.
#[inline(always)]
pub fn row() -> u16 {
    constant!(Binding::ROW_PLACEHOLDER) as u16
}

/// Memory that may be loaded as anything, up to 64 bytes of it: a pointer that the verifier takes
/// for one to `struct new_utsname`. Only with [`USE_CAST`].
#[inline(always)]
pub fn cast(address: u64) -> *const u8 {
    /// Not a helper of this number: user space makes it a call of the kernel's function
    /// `bpf_rdonly_cast`.
    const RDONLY_CAST: usize = 0x7e_0001;
    // SAFETY: how aya-ebpf, too, makes a call of a helper by its number.
    let function: unsafe extern "C" fn(u64, u64) -> *const u8 =
        unsafe { core::mem::transmute(RDONLY_CAST) };
    let type_id = config!(cast_type);
    // SAFETY: changes no memory; a bad address gives zeros when loaded from.
    unsafe { function(address, type_id) }
}

/// Whether a program that runs at a function's entry and return is at the return
/// (`bpf_session_is_return`, 6.10). The context is an argument since 7.0; before, there is none.
#[inline(always)]
pub fn is_session_return(context: *mut c_void) -> bool {
    /// Not a helper of this number either.
    const SESSION_IS_RETURN: usize = 0x7e_0002;
    // SAFETY: as in `cast`.
    let function: unsafe extern "C" fn(*mut c_void) -> u64 =
        unsafe { core::mem::transmute(SESSION_IS_RETURN) };
    // SAFETY: takes the context.
    let returned = unsafe { function(context) };
    // A `bool`, of which only the lowest byte is defined.
    returned & 1 != 0
}

/// Eight bytes that are the same at a call's entry and return (`bpf_session_cookie`, likewise).
#[inline(always)]
pub fn session_cookie(context: *mut c_void) -> *mut u64 {
    /// Not a helper of this number either.
    const SESSION_COOKIE: usize = 0x7e_0003;
    // SAFETY: as in `cast`.
    let function: unsafe extern "C" fn(*mut c_void) -> *mut u64 =
        unsafe { core::mem::transmute(SESSION_COOKIE) };
    // SAFETY: takes the context.
    unsafe { function(context) }
}

/// A value of plain type `T`, of eight bytes at most, at a kernel address.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    if option(USE_CAST) {
        // SAFETY: the verifier makes the load safe; T is plain.
        return Some(unsafe { cast(address).cast::<T>().read_volatile() });
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the buffer is of the type.
    if !unsafe {
        copy(
            value.as_mut_ptr().cast::<u8>(),
            size_of::<T>() as u32,
            address,
        )
    } {
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

/// Sixteen bytes likewise, by plain loads where they can be had. `to` is aligned to eight.
///
/// # Safety
/// `to` is valid for writes of sixteen bytes.
#[inline(always)]
pub unsafe fn copy_16(to: *mut u8, address: u64) -> bool {
    if !option(USE_CAST) {
        // SAFETY: by the caller's word.
        return unsafe { copy(to, 16, address) };
    }
    let (from, to) = (cast(address).cast::<u64>(), to.cast::<u64>());
    // SAFETY: the verifier makes the loads safe; the rest by the caller's word.
    unsafe {
        to.write_volatile(from.read_volatile());
        to.add(1).write_volatile(from.add(1).read_volatile());
    }
    true
}

/// Where `size` bytes of kernel memory, 64 at most, can be loaded from: themselves, or a copy of
/// them in `buffer`.
///
/// # Safety
/// `buffer` is valid for writes of `size` bytes.
#[inline(always)]
pub unsafe fn window(buffer: *mut u8, size: u32, address: u64) -> Option<*const u8> {
    if option(USE_CAST) {
        return Some(cast(address));
    }
    // SAFETY: by the caller's word.
    if !unsafe { copy(buffer, size, address) } {
        return None;
    }
    Some(buffer)
}

/// Eight bytes at any alignment, in one instruction: the compiler would load them one by one.
///
/// # Safety
/// `from` came from [`cast`], and they lie within its 64 bytes.
#[inline(always)]
pub unsafe fn load_8(from: *const u8) -> u64 {
    let value: u64;
    // SAFETY: the verifier makes the load safe.
    unsafe {
        core::arch::asm!(
            "{value} = *(u64 *)({from} + 0)",
            value = out(reg) value,
            from = in(reg) from,
            options(pure, readonly, nostack),
        );
    }
    value
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
