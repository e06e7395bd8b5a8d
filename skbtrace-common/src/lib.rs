//! Plain data that both sides of skbtrace share.
//!
//! The kernel side and the command are built by different compilers for different targets, so
//! whatever crosses between them is defined once, here: the record of an event ([`record`]), the
//! frozen configuration ([`config`]), the kernel fields that are read ([`layout`]) and the
//! catalogue of hooks ([`hooks`]).
//!
//! **Invariant:** everything that crosses is `#[repr(C)]`, has no padding and is valid for any
//! bit pattern, so that bytes become a record, and a configuration bytes, without a check.
#![no_std]

pub mod config;
pub mod hooks;
pub mod layout;
pub mod proto;
pub mod record;

/// Data without padding that is valid for every bit pattern.
///
/// # Safety
/// Implementors are `#[repr(C)]`, contain no padding, no pointers and no types with invalid
/// values (`bool`, enums, references).
pub unsafe trait Plain: Copy + 'static {
    /// The value's bytes, in the machine's order.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: a `Plain` value has no padding, so each of its bytes is initialised.
        unsafe {
            core::slice::from_raw_parts(core::ptr::from_ref(self).cast::<u8>(), size_of::<Self>())
        }
    }

    /// A value from the first `size_of::<Self>()` bytes, or `None` when there are fewer.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size_of::<Self>())?;
        // SAFETY: the slice is long enough, any bit pattern is a value, alignment is not assumed.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// The value whose bytes are all zero.
    #[must_use]
    fn zeroed() -> Self {
        // SAFETY: any bit pattern is a value.
        unsafe { core::mem::zeroed() }
    }
}
