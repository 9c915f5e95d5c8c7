//! What the operands of a product are, and the steps of its chains.

use crate::num::bf16;
use crate::num::simd::{HARDWARE_BF16, V16, cast_slice};

/// The words that packed panels are made of: what of one or two elements of depth is stored in the 32 bits of an
/// f32, and moved as one.
pub(crate) trait Operands {
    /// Elements of depth in a word of B.
    const DEEP: usize;
    /// Steps of a chain over one word of B; A has a word for each of them.
    const STEPS: usize;
    /// Whether a word is an element, and a step the fused multiply-add of two words.
    #[cfg_attr(not(target_feature = "avx512f"), allow(dead_code, reason = "AVX-512 has a loop for these"))]
    const PLAIN: bool;
    /// The word of B for an element and the next one in depth, which has a part in it only where DEEP is 2.
    fn right(element: f32, next: f32) -> f32;
    /// The word of A for one of the steps over the same two elements.
    fn left(element: f32, next: f32, step: usize) -> f32;
    /// What of the words of B takes part in one of the steps.
    fn part(b: V16, step: usize) -> V16;
    /// Where a chain starts.
    fn start(acc: V16) -> V16;
    /// The least exponent of all elements in these words that are not 0, or less, where that matters.
    fn least_exponent(words: &[f32]) -> i32;
    /// Whether a chain over words of A and B, `least` being the sum of their least exponents, or one that starts at
    /// one of `acc`, could meet a subnormal number that has to be flushed.
    fn may_underflow(least: i32, acc: &[V16]) -> bool;
    /// A chain's step. Without `UNDERFLOW` there are no subnormal numbers in the chain.
    fn step<const UNDERFLOW: bool>(a: V16, b: V16, acc: V16) -> V16;
}

/// [`Precision::F32`](crate::engine::Precision::F32): a word is an element.
pub(crate) struct F32;

impl Operands for F32 {
    const PLAIN: bool = true;
    const DEEP: usize = 1;
    const STEPS: usize = 1;

    #[inline(always)]
    fn right(element: f32, _: f32) -> f32 {
        element
    }

    #[inline(always)]
    fn left(element: f32, _: f32, _: usize) -> f32 {
        element
    }

    #[inline(always)]
    fn part(b: V16, _: usize) -> V16 {
        b
    }

    #[inline(always)]
    fn start(acc: V16) -> V16 {
        acc
    }

    #[inline(always)]
    fn least_exponent(_: &[f32]) -> i32 {
        0
    }

    /// They are numbers like others.
    #[inline(always)]
    fn may_underflow(_: i32, _: &[V16]) -> bool {
        false
    }

    #[inline(always)]
    fn step<const UNDERFLOW: bool>(a: V16, b: V16, acc: V16) -> V16 {
        a.fma(b, acc)
    }
}

/// [`Precision::Bf16`](crate::engine::Precision::Bf16): a word of B is a pair, see [`bf16`]. So is one of A where
/// there is an instruction for pairs; without it, the two steps that this stands for are taken one by one, and A has
/// the rounded element of each.
pub(crate) struct Bf16;

impl Operands for Bf16 {
    const PLAIN: bool = false;
    const DEEP: usize = 2;
    const STEPS: usize = if HARDWARE_BF16 { 1 } else { 2 };

    #[inline(always)]
    fn right(element: f32, next: f32) -> f32 {
        bf16::pair(element, next)
    }

    #[inline(always)]
    fn left(element: f32, next: f32, step: usize) -> f32 {
        match step {
            _ if HARDWARE_BF16 => bf16::pair(element, next),
            0 => bf16::round(next),
            _ => bf16::round(element),
        }
    }

    #[inline(always)]
    fn part(b: V16, step: usize) -> V16 {
        match step {
            _ if HARDWARE_BF16 => b,
            0 => b.upper_halves(),
            _ => b.lower_halves(),
        }
    }

    #[inline(always)]
    fn start(acc: V16) -> V16 {
        acc.flush()
    }

    /// Words of A without an instruction for pairs have a whole element and a half that is 0.
    #[inline(always)]
    fn least_exponent(words: &[f32]) -> i32 {
        if HARDWARE_BF16 {
            return 0; // The instruction flushes by itself.
        }
        let magnitudes = cast_slice::<f32, u16>(words).iter().map(|half| half & 0x7fff);
        // 0 becomes the largest of all.
        let least = magnitudes.fold(u16::MAX, |least, half| least.min(half.wrapping_sub(1)));
        ((i32::from(least) + 1) >> 7) - 127
    }

    /// A bf16 of exponent e is a multiple of 2^(e - 7), so all products are multiples of 2^(least - 14); an f32 of
    /// exponent e is one of 2^(e - 23). If these are multiples of the smallest normal number, 2^-126, then so are all
    /// sums of them, rounded or not: none is subnormal. Looking saves the flushing, which takes longer than the
    /// products.
    #[inline(always)]
    fn may_underflow(least: i32, acc: &[V16]) -> bool {
        const FAR_FROM_SUBNORMAL: f32 = f32::MIN_POSITIVE * 8_388_608.0; // 2^(23 - 126)
        !HARDWARE_BF16 && (least - 14 < -126 || acc.iter().any(|acc| acc.any_below(FAR_FROM_SUBNORMAL)))
    }

    #[inline(always)]
    fn step<const UNDERFLOW: bool>(a: V16, b: V16, acc: V16) -> V16 {
        match UNDERFLOW {
            _ if HARDWARE_BF16 => a.dot_pairs(b, acc),
            true => a.fma(b, acc).flush(),
            false => a.fma(b, acc),
        }
    }
}
