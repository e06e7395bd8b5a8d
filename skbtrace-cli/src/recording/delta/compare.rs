//! Comparing an event with what was expected: of each event, and so in few instructions.

#[cfg(target_arch = "x86_64")]
use std::{
    arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_movemask_pd,
        _mm256_or_si256, _mm256_set_epi64x,
    },
    array,
};

use std::mem::offset_of;

use skbtrace_common::record::RawEvent;

use super::{PLACE, WORDS, Words, bits};

/// The words of an event, as bytes.
pub type Bytes = [[u8; 8]; WORDS];

/// From where on words may have bits that nobody wrote: what precedes the packet's bytes is always
/// written.
const PACKET: usize = offset_of!(RawEvent, packet) / 8;
const _: () = assert!(offset_of!(RawEvent, packet).is_multiple_of(8) && PACKET.is_multiple_of(4));

/// Whether the processor can compare [`by_fours`].
pub fn can_by_fours() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Which words of an event differ from those expected of its packet and its place, each of which is in one
/// of the two and 0 in the other. Not its time, and of each word the bits that are `written`.
#[inline]
pub fn one_by_one(words: &Bytes, written: &Words, last: &Words, there: &Words) -> u32 {
    let mut differ = 0;
    for nth in 1..WORDS {
        let word = u64::from_ne_bytes(words[nth]) & written[nth];
        differ |= u32::from(word ^ last[nth] != there[nth]) << nth;
    }
    differ
}

/// Where each four words begin; the last ones have some twice.
#[cfg(target_arch = "x86_64")]
const FOURS: [usize; 8] = [0, 4, 8, 12, 16, 20, 24, WORDS - 4];
const _: () = assert!(WORDS > 28 && WORDS <= 32);

/// The same, four words at once, as most processors can.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
pub fn by_fours(words: &Bytes, written: &Words, last: &Words, there: &Words) -> u32 {
    let mut same = 0;
    for from in FOURS {
        let word = |nth: usize| u64::from_ne_bytes(words[from + nth]);
        let mut event = four(word);
        if from >= PACKET {
            event = _mm256_and_si256(event, four(|nth| written[from + nth]));
        }
        let (last, there) = (four(|nth| last[from + nth]), four(|nth| there[from + nth]));
        // Where all are of one, the other need not be looked at.
        let expected = match PLACE >> from & 0xf {
            0 => last,
            0xf => there,
            _ => _mm256_or_si256(last, there),
        };
        let equal = _mm256_cmpeq_epi64(event, expected);
        let equal = _mm256_movemask_pd(_mm256_castsi256_pd(equal));
        same |= equal.cast_unsigned() << from;
    }
    !same & bits(1..WORDS)
}

/// Which the compiler makes one load of.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn four(word: impl Fn(usize) -> u64) -> __m256i {
    let [a, b, c, d] = array::from_fn(|nth| word(nth).cast_signed());
    _mm256_set_epi64x(d, c, b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_but_the_time_counts() {
        let word = |nth: usize| (nth as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let words: Bytes = array::from_fn(|nth| word(nth).to_ne_bytes());
        let all = [u64::MAX; WORDS];
        let differs = |written: &Words, last: &Words, there: &Words| {
            let differ = one_by_one(&words, written, last, there);
            #[cfg(target_arch = "x86_64")]
            if can_by_fours() {
                // SAFETY: the processor can.
                assert_eq!(differ, unsafe { by_fours(&words, written, last, there) });
            }
            differ
        };
        for nth in 0..WORDS {
            let bit = 1 << (nth * 7 % 64);
            let is_of_place = |nth: usize| PLACE >> nth & 1 != 0;
            let of = |place| {
                move |nth| {
                    if is_of_place(nth) == place {
                        word(nth)
                    } else {
                        0
                    }
                }
            };
            let mut last: Words = array::from_fn(of(false));
            let mut there: Words = array::from_fn(of(true));
            assert_eq!(differs(&all, &last, &there), 0);
            let changed = if is_of_place(nth) {
                &mut there
            } else {
                &mut last
            };
            changed[nth] ^= bit;
            let counts = if nth == 0 { 0 } else { 1 << nth };
            assert_eq!(differs(&all, &last, &there), counts);
            if nth < PACKET {
                continue;
            }
            // What was not written is 0, whatever is there.
            let mut written = all;
            written[nth] ^= bit;
            let is_zero = word(nth) & bit != 0;
            assert_eq!(
                differs(&written, &last, &there),
                if is_zero { 0 } else { counts }
            );
        }
    }
}
