//! bf16, the upper half of an f32: its sign, its 8 bits of exponent, 7 of its 23 bits of fraction. The products
//! of a mixed-precision model round their operands to it and add up in f32.
//!
//! The definition is what a processor's instruction for pairs does (`vdpbf16ps`), so that the instruction
//! gives the same bits as this code: the odd product first, each rounded once, subnormal numbers taken for zero.
//! ```text
//! acc = flush(acc);  acc = flush(fma(a[1], b[1], acc));  acc = flush(fma(a[0], b[0], acc))
//! ```
//! Two things are left to the processor. A NaN is a NaN of no particular bits. And an exact sum that lies within
//! 2^-150 below the smallest normal number, 2^-126, is a subnormal number to this code only if it rounds to one:
//! the instruction may flush it a hair earlier.

use super::math::fma;

const SIGN: u32 = 1 << 31;

/// `x`, or the zero of its sign if it is subnormal.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    let kept = if x.abs() < f32::MIN_POSITIVE { SIGN } else { u32::MAX };
    f32::from_bits(x.to_bits() & kept)
}

/// `x` rounded to bf16, to nearest and ties to even; a subnormal one becomes the zero of its sign.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    let bits = flush(x).to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // Rounding could carry a NaN over into an infinity or a zero: it is made quiet instead.
    let rounded = if x.is_nan() { bits | 1 << 22 } else { nearest };
    f32::from_bits(rounded & 0xffff_0000)
}

/// Two numbers rounded to bf16, in the 32 bits of an f32: `even` in the lower half, `odd` in the upper. It is
/// moved as an f32 and is none.
#[inline(always)]
pub fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(round(even).to_bits() >> 16 | round(odd).to_bits())
}

/// The numbers of a pair, `[even, odd]`.
#[inline(always)]
pub fn halves(pair: f32) -> [f32; 2] {
    [f32::from_bits(pair.to_bits() << 16), f32::from_bits(pair.to_bits() & 0xffff_0000)]
}

/// `acc` plus the products of two pairs: the definition above.
#[inline(always)]
pub fn step(a: f32, b: f32, acc: f32) -> f32 {
    let ([a_even, a_odd], [b_even, b_odd]) = (halves(a), halves(b));
    flush(fma(a_even, b_even, flush(fma(a_odd, b_odd, flush(acc)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_half_crate_but_for_subnormals() {
        // Every sixteenth f32, and all whose lower halves decide ties.
        let ties = (0..1u32 << 16)
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| high << 16 | low));
        for bits in (0..u32::MAX).step_by(1021).chain(ties) {
            let x = f32::from_bits(bits);
            let (ours, theirs) = (round(x), half::bf16::from_f32(x).to_f32());
            if x.is_nan() {
                assert!(ours.is_nan() && ours.to_bits() & 0xffff == 0, "{bits:#x}");
            } else if x.is_subnormal() {
                assert_eq!(ours.to_bits(), x.to_bits() & SIGN, "{bits:#x}");
            } else {
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn a_pair_keeps_both_numbers() {
        for (even, odd) in [(1.5, -2.0), (-0.0, f32::INFINITY), (1e-40, -1e-40), (2.3456, 1e30)] {
            assert_eq!(
                halves(pair(even, odd)).map(f32::to_bits),
                [round(even), round(odd)].map(f32::to_bits)
            );
        }
    }

    #[test]
    fn a_step_takes_the_odd_product_first_and_flushes() {
        // 2^24 + 1 is no f32: it matters which product comes first.
        let two_12 = 4096.0;
        let (a, b) = (pair(1.0, two_12), pair(1.0, two_12));
        assert_eq!(step(a, b, 1.0), 16_777_216.0);
        let (a, b) = (pair(two_12, 1.0), pair(two_12, 1.0));
        assert_eq!(step(a, b, 1.0), 16_777_218.0);
        // Rounded once each: 1 + 2^-7 squared is 1 + 2^-6 + 2^-14.
        let near_one = 1.0 + 1.0 / 128.0;
        assert_eq!(step(pair(near_one, 0.0), pair(near_one, 0.0), -1.0), 1.0 / 64.0 + 1.0 / 16384.0);
        // Subnormal on the way in, between and on the way out.
        let tiny = f32::MIN_POSITIVE;
        let zero = |x: f32, sign: u32| assert_eq!(x.to_bits(), sign);
        zero(step(0.0, 0.0, tiny / 2.0), 0);
        zero(step(pair(-tiny, 0.0), pair(0.5, 0.0), -0.0), SIGN);
        assert_eq!(step(pair(1.5 * tiny, tiny), pair(1.0, 0.5), 0.0), 1.5 * tiny);
    }
}
