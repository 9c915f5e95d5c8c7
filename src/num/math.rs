//! Elementary functions with one definition on every target.
//!
//! Each is one expression over exactly rounded operations (`+ - * /`, [`fma`], [`sqrt`], bit operations
//! and selects), so it gives the same bits everywhere, and a plain loop over a slice becomes SIMD code
//! without changing one of them. There are no branches and no tables. NaN in gives the one quiet NaN
//! [`f32::NAN`] out. Errors are in units in the last place (ulp) of the exact result, measured over
//! **all** 2^32 inputs; the `*_MAX_ULP` constants are the bounds that the tests enforce.
//!
//! The polynomials are our own: minimax fits by linear programming on 1500 Chebyshev nodes in the stated
//! weight, the coefficients rounded to f32 from the lowest degree up, the rest refitted after each.
//!
//! Not here: the activation functions built from these (see [`crate::engine::cpu`]) and anything in f64, which is
//! `libm`'s.

/// `a * b + c`, rounded once. Without hardware support this is slow and gives the same bits.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fmaf(a, b, c);
}

/// The square root, correctly rounded.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}

/// Bound on the error of [`exp`]; measured 0.982.
pub const EXP_MAX_ULP: f64 = 1.0;
/// Bound on the error of [`ln`]; measured 0.825.
pub const LN_MAX_ULP: f64 = 0.83;
/// Bound on the error of [`tanh`]; measured 2.419.
pub const TANH_MAX_ULP: f64 = 2.5;
/// Bound on the error of [`erf`]; measured 1.079.
pub const ERF_MAX_ULP: f64 = 1.1;
/// Bound on the error of [`sigmoid`]; measured 2.402.
pub const SIGMOID_MAX_ULP: f64 = 2.5;
/// Bound on the error of [`log_sigmoid`]; measured 2.001.
pub const LOG_SIGMOID_MAX_ULP: f64 = 2.1;

/// ln 2 rounded to f32, and what is missing from it.
const LN_2_HIGH: f32 = core::f32::consts::LN_2;
const LN_2_LOW: f32 = -1.904_654_2e-9;

/// Adding 1.5 * 2^23 rounds a small number to an integer (ties to even), which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Evaluates `c[0] + c[1] x + ...` by Horner's rule, fused.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = fma(sum, x, coefficients[i]);
    }
    sum
}

/// 2^n for n from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Splits `e^x = 2^n (1 + u)` with n an integer and `|x - n ln 2| <= ln(2)/2`; returns (u, n).
///
/// The first step of the reduction is exact: `n ln2_high` and x are multiples of 2^-25 and nearly cancel.
/// `u = r + r^2 Q(r)`, Q of degree 5, relative error of the fit 2^-31.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let rounded = fma(x, core::f32::consts::LOG2_E, ROUND);
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let whole = rounded - ROUND;
    let r = fma(whole, -LN_2_LOW, fma(whole, -LN_2_HIGH, x));
    let q =
        polynomial(r, [0.5, 0.166_666_66, 0.041_666_493, 0.008_333_547, 0.001_393_231_6, 0.000_197_609_94]);
    (fma(r * r, q, r), n)
}

/// `e^x`: at most [`EXP_MAX_ULP`] off, down through the subnormals to 0 and up to infinity; `exp(0) = 1`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Outside these the result is 0 or infinity anyway; a NaN passes both comparisons.
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    let (u, n) = exp_parts(clamped);
    // 2^n in two factors, as n goes from -150 to 128; only the second product can round.
    let half = n >> 1;
    let y = (1.0 + u) * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if x.is_nan() { f32::NAN } else { y }
}

/// The natural logarithm: at most [`LN_MAX_ULP`] off; `ln(0) = -inf`, `ln(x < 0)` is NaN.
///
/// `x = 2^e (1 + f)` with `1 + f` from sqrt(1/2) to sqrt(2), and
/// `ln x = e ln 2 + (f - f^2/2 + f^3 P(f))`, P of degree 8, relative error of the fit 2^-30.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let bias = if subnormal { 23 } else { 0 };
    // Subtracting the bits of sqrt(1/2) makes the exponent field step there instead of at 1.
    let e = (scaled.to_bits() as i32).wrapping_sub(core::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let f = f32::from_bits((scaled.to_bits() as i32).wrapping_sub(e << 23) as u32) - 1.0;
    let e = e.wrapping_sub(bias) as f32;
    let p = polynomial(
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_020_72,
            -0.166_679_89,
            0.142_203_58,
            -0.124_062_33,
            0.118_835_49,
            -0.116_701_15,
            0.067_492_99,
        ],
    );
    let tail = fma(f * f, fma(f, p, -0.5), e * LN_2_LOW);
    // e ln 2 + f, with what its rounding lost added to the tail.
    let high = fma(e, LN_2_HIGH, f);
    let lost = fma(e, LN_2_HIGH, -high) + f;
    let y = high + (tail + lost);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// The hyperbolic tangent: at most [`TANH_MAX_ULP`] off, odd, exactly 1 from about 9 on, `tanh(-0) = -0`.
///
/// `tanh a = g / (g + 2)` with `g = e^(2a) - 1 = 2^n u + (2^n - 1)`, which keeps small `a` exact.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let clamped = if a > 9.1 { 9.1 } else { a };
    let (u, n) = exp_parts(2.0 * clamped);
    let scale = power_of_two(n);
    let g = fma(scale, u, scale - 1.0);
    let y = (g / (g + 2.0)).copysign(x);
    if x.is_nan() { f32::NAN } else { y }
}

/// The error function: at most [`ERF_MAX_ULP`] off, odd, exactly 1 from about 3.9 on, `erf(-0) = -0`.
///
/// Below 1: `x + x P(x^2)`, P of degree 6, relative error of the fit 2^-29. From 1 on: `1 - e^g(x)`, g a
/// fit of degree 6 to `ln erfc` on [1, 4] weighted by `erfc`, error 2^-30 of the result.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let p = polynomial(
        a * a,
        [
            0.128_379_17,
            -0.376_126_26,
            0.112_835_79,
            -0.026_853_347,
            0.005_187_162,
            -0.000_799_785_3,
            7.806_904e-5,
        ],
    );
    let below_one = fma(a, p, a);
    let clamped = if a > 4.0 { 4.0 } else { a };
    let g = polynomial(
        clamped,
        [
            -0.000_353_724_84,
            -1.127_04,
            -0.638_225_7,
            -0.103_037_37,
            0.021_805_312,
            -0.002_939_601_4,
            0.000_185_572_69,
        ],
    );
    let (u, n) = exp_parts(g);
    let scale = power_of_two(n);
    let above_one = 1.0 - fma(scale, u, scale);
    let y = if a < 1.0 { below_one } else { above_one }.copysign(x);
    if x.is_nan() { f32::NAN } else { y }
}

/// `1 / (1 + e^-x)`: at most [`SIGMOID_MAX_ULP`] off.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // The exponential never overflows: e^-|x| over or below 1 + e^-|x|.
    let z = exp(-x.abs());
    let numerator = if x < 0.0 { z } else { 1.0 };
    let y = numerator / (1.0 + z);
    if x.is_nan() { f32::NAN } else { y }
}

/// `ln sigmoid(x) = min(x, 0) - ln(1 + e^-|x|)`: at most [`LOG_SIGMOID_MAX_ULP`] off, never infinite for
/// a finite x.
#[inline(always)]
pub fn log_sigmoid(x: f32) -> f32 {
    let z = exp(-x.abs());
    let w = 1.0 + z;
    // ln(1 + z) = ln w + (what rounding 1 + z lost) / w.
    let log = ln(w) + (z - (w - 1.0)) / w;
    let y = if x < 0.0 { x - log } else { -log };
    if x.is_nan() { f32::NAN } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::hash::{EMPTY, fnv1a};

    /// The largest error in ulp over the inputs, and where it is. Infinities, zeros and NaN must be exact.
    fn worst(inputs: impl Iterator<Item = u32>, ours: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in inputs {
            let x = f32::from_bits(bits);
            let (y, truth) = (ours(x), exact(x as f64));
            if truth.is_nan() {
                assert_eq!(y.to_bits(), f32::NAN.to_bits(), "at {x:e}");
                continue;
            }
            assert!(!y.is_nan(), "NaN at {x:e}");
            if y == truth as f32 {
                continue; // includes both infinities
            }
            assert!(y.is_finite(), "{y} at {x:e}, exact {truth:e}");
            let exponent = ((truth.to_bits() >> 52 & 0x7ff) as i32 - 1023).clamp(-126, 127);
            let error = (y as f64 - truth).abs() / libm::exp2((exponent - 23) as f64);
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);
    const CASES: [Case; 6] = [
        ("exp", exp, libm::exp, EXP_MAX_ULP),
        ("ln", ln, libm::log, LN_MAX_ULP),
        ("tanh", tanh, libm::tanh, TANH_MAX_ULP),
        ("erf", erf, libm::erf, ERF_MAX_ULP),
        ("sigmoid", sigmoid, exact_sigmoid, SIGMOID_MAX_ULP),
        ("log_sigmoid", log_sigmoid, exact_log_sigmoid, LOG_SIGMOID_MAX_ULP),
    ];

    fn exact_sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + libm::exp(-x))
    }

    fn exact_log_sigmoid(x: f64) -> f64 {
        x.min(0.0) - libm::log1p(libm::exp(-x.abs()))
    }

    fn check((name, ours, exact, bound): Case, stride: usize) {
        let (error, x) = worst((0..=u32::MAX).step_by(stride), ours, exact);
        println!("{name}: {error:.4} ulp at {x:e} ({:#010x})", x.to_bits());
        assert!(error <= bound, "{name}: {error:.4} ulp at {x:e}, bound {bound}");
    }

    #[test]
    fn errors_stay_within_the_bounds_on_a_stride_through_all_floats() {
        for case in CASES {
            check(case, 2999); // 1.4 million inputs over all exponents and both signs
        }
    }

    /// All 2^32 inputs, some minutes per function:
    /// `cargo test --release --lib math -- --ignored --nocapture exhaustive_exp`
    macro_rules! exhaustive {
        ($($test:ident $slot:literal)*) => {$(
            #[test]
            #[ignore = "all 2^32 inputs, some minutes"]
            fn $test() {
                check(CASES[$slot], 1);
            }
        )*};
    }
    exhaustive!(exhaustive_exp 0 exhaustive_ln 1 exhaustive_tanh 2);
    exhaustive!(exhaustive_erf 3 exhaustive_sigmoid 4 exhaustive_log_sigmoid 5);

    #[test]
    fn special_values_are_exact() {
        let infinity = f32::INFINITY;
        assert_eq!([exp(0.0), exp(-0.0), exp(-infinity), exp(infinity)], [1.0, 1.0, 0.0, infinity]);
        assert_eq!([exp(88.722_84), exp(-103.972_09), exp(-103.97)], [infinity, 0.0, f32::from_bits(1)]);
        assert_eq!([ln(0.0), ln(-0.0), ln(infinity)], [-infinity, -infinity, infinity]);
        assert_eq!(ln(1.0).to_bits(), 0.0f32.to_bits());
        for odd in [tanh, erf] {
            assert_eq!([odd(infinity), odd(10.0), odd(f32::MAX)], [1.0; 3]);
            assert_eq!(odd(-0.0).to_bits(), (-0.0f32).to_bits());
            for x in [1e-45, 1e-30, 0.1, 0.99, 1.0, 3.0, 20.0] {
                assert_eq!(odd(-x), -odd(x));
            }
        }
        assert_eq!([tanh(1e-30), tanh(1e-45)], [1e-30, 1e-45]);
        assert_eq!([sigmoid(0.0), sigmoid(infinity), sigmoid(-infinity)], [0.5, 1.0, 0.0]);
        assert_eq!([log_sigmoid(infinity), log_sigmoid(-infinity)], [0.0, -infinity]);
        assert_eq!(log_sigmoid(-1e30), -1e30);
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            for (name, ours, ..) in CASES {
                assert_eq!(ours(nan).to_bits(), f32::NAN.to_bits(), "{name}");
            }
        }
        assert!(ln(-1.0).is_nan() && ln(-1e-45).is_nan() && ln(-infinity).is_nan());
    }

    #[test]
    fn fma_rounds_once_and_equals_the_software_definition() {
        let x = 1.0 + f32::EPSILON;
        assert_eq!(fma(x, x, -(x * x)), f32::EPSILON * f32::EPSILON);
        let mut bits = 1u32;
        for _ in 0..100_000 {
            let mut next = || {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from_bits(bits)
            };
            let (a, b, c) = (next(), next(), next());
            let (fused, soft) = (fma(a, b, c), libm::fmaf(a, b, c));
            assert!(
                fused.to_bits() == soft.to_bits() || (fused.is_nan() && soft.is_nan()),
                "{a:e} {b:e} {c:e}"
            );
            let (root, soft) = (sqrt(a), libm::sqrtf(a));
            assert!(root.to_bits() == soft.to_bits() || (root.is_nan() && soft.is_nan()), "{a:e}");
        }
    }

    /// A loop over a slice (SIMD code) gives the bits of single calls, and the bits are those of the first
    /// version: FNV-1a over the results on a fixed grid through all floats. A change here changes every
    /// trained model.
    #[test]
    fn bits_never_change() {
        let inputs: alloc::vec::Vec<f32> = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).collect();
        let mut outputs = inputs.clone();
        let mut hashes = [0u64; CASES.len()];
        macro_rules! hash {
            ($slot:expr, $function:ident) => {
                for (y, &x) in outputs.iter_mut().zip(&inputs) {
                    *y = $function(x);
                }
                hashes[$slot] = EMPTY;
                for (y, &x) in outputs.iter().zip(&inputs) {
                    assert_eq!(y.to_bits(), core::hint::black_box($function as fn(f32) -> f32)(x).to_bits());
                    hashes[$slot] = fnv1a(hashes[$slot], y.to_bits().to_le_bytes());
                }
            };
        }
        hash!(0, exp);
        hash!(1, ln);
        hash!(2, tanh);
        hash!(3, erf);
        hash!(4, sigmoid);
        hash!(5, log_sigmoid);
        let first_version = [
            0x07e8_8ec0_8796_d48c,
            0xa29b_b514_2687_ca9e,
            0xc8c7_55fb_b5e0_1df1,
            0x2d9b_a2b2_5dc9_0e56,
            0x152c_decf_ae85_16d3,
            0xf87f_3f40_b94d_e69a,
        ];
        assert_eq!(hashes, first_version, "{hashes:#x?}");
    }
}
