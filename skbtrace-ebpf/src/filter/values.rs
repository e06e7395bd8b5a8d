//! The values of a filter option: whether it is set, and whether one of them is it.
//!
//! Macros and not functions, because each reads another field of the frozen configuration.

use skbtrace_common::config::List;

/// Whether a part of the filter is set.
macro_rules! active {
    ($part:expr) => {
        config!(active) & u64::from($part) != 0
    };
}

/// A value of a list, or a field of it.
macro_rules! value {
    ($list:ident, $index:expr $(, $($field:tt)+)?) => {{
        let first = (&raw const $crate::kernel::CONFIG.filter.$list.values).cast();
        let value = $crate::filter::values::at(&raw const $crate::kernel::CONFIG.filter.$list, first, $index);
        // SAFETY: the index is below MAX_VALUES. No slice, whose bounds check would leave a panic
        // in the program; volatile as all of the configuration.
        unsafe { (&raw const (*value)$($($field)+)?).read_volatile() }
    }};
}

/// Address of a value of a list; `list` only tells the type.
#[inline(always)]
pub fn at<T>(_list: *const List<T>, first: *const T, index: usize) -> *const T {
    first.wrapping_add(index)
}

/// Whether any value of a list passes a test on its index.
macro_rules! any {
    ($list:ident, |$index:ident| $test:expr) => {{
        let len = config!(filter.$list.len) as usize;
        let mut $index = 0;
        let mut found = false;
        while $index < MAX_VALUES {
            if $index >= len {
                break;
            }
            if $test {
                found = true;
                break;
            }
            $index = $crate::follow::opaque($index + 1);
        }
        found
    }};
}

/// Whether a list may hold a value of a key: one comparison in place of a loop for most packets.
macro_rules! may_hold {
    ($list:ident, $key:expr) => {{
        let key = $key & config!(filter.$list.mask) as u32;
        config!(filter.$list.slots) >> skbtrace_common::config::slot(key) & 1 != 0
    }};
}

/// Whether a list holds a value.
macro_rules! holds {
    ($list:ident, $wanted:expr) => {{
        let wanted = $wanted;
        may_hold!($list, wanted as u32) && any!($list, |i| value!($list, i) == wanted)
    }};
}

/// Whether a list of IPv4 prefixes holds an address.
macro_rules! holds4 {
    ($list:ident, $address:expr) => {
        may_hold!($list, $address)
            && any!($list, |i| $address & value!($list, i, .mask) == value!($list, i, .addr))
    };
}

/// Whether a list of IPv6 prefixes holds an address, given as a pointer to four words.
macro_rules! holds6 {
    ($list:ident, $address:expr) => {
        // SAFETY: the pointer is to four initialised words.
        may_hold!($list, unsafe { ($address as *const u32).add(3).read() }) && any!($list, |i| {
            let address: *const u32 = $address;
            let differs = |word: u32, mask: u32, wanted: u32| word & mask != wanted;
            // SAFETY: the pointer is to four initialised words.
            let (a, b, c, d) = unsafe {
                (
                    address.read(),
                    address.add(1).read(),
                    address.add(2).read(),
                    address.add(3).read(),
                )
            };
            !(differs(a, value!($list, i, .mask[0]), value!($list, i, .addr[0]))
                || differs(b, value!($list, i, .mask[1]), value!($list, i, .addr[1]))
                || differs(c, value!($list, i, .mask[2]), value!($list, i, .addr[2]))
                || differs(d, value!($list, i, .mask[3]), value!($list, i, .addr[3])))
        })
    };
}
