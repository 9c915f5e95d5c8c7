//! GELU (Hendrycks and Gimpel, 2016): `gelu(x) = x Phi(x)`, where Phi is the probability that a normal number is
//! below x. There is the exact form, with erf, and the form with tanh that comes close to it and that GPT-2 and
//! GPT-3 use. Both are products of x and a function of it, so the product rule gives their slopes.

use crate::engine::Activation;
use crate::num::math::{erf, exp, fma, tanh};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const FRAC_1_SQRT_2: f32 = core::f32::consts::FRAC_1_SQRT_2;
/// `1 / sqrt(2 pi)`, the normal density at 0.
const DENSITY: f32 = 0.398_942_3;

/// `y = gelu(x)`, elementwise.
pub fn forward(y: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(y.len(), x.len(), "gelu of {} into {} elements", x.len(), y.len());
    for i in 0..x.len() {
        y[i] = match activation {
            Activation::GeluTanh => with_tanh(x[i]),
            Activation::Gelu => with_erf(x[i]),
        };
    }
}

/// `dx = dy * gelu'(x)`, in place of `dy`.
pub fn backward(dy: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(dy.len(), x.len(), "gelu of {} into {} elements", x.len(), dy.len());
    for i in 0..x.len() {
        dy[i] *= match activation {
            Activation::GeluTanh => with_tanh_slope(x[i]),
            Activation::Gelu => with_erf_slope(x[i]),
        };
    }
}

/// `x/2 (1 + tanh u)`, `u = sqrt(2/pi) (x + 0.044715 x^3)`.
#[inline(always)]
pub fn with_tanh(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * fma(CUBIC * x * x, x, x);
    0.5 * x * (1.0 + tanh(u))
}

/// `(1 + t)/2 + x/2 (1 - t^2) u'`, `t = tanh u`, `u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)`, as `tanh' = 1 - tanh^2`.
#[inline(always)]
pub fn with_tanh_slope(x: f32) -> f32 {
    let t = tanh(SQRT_2_OVER_PI * fma(CUBIC * x * x, x, x));
    let du = SQRT_2_OVER_PI * fma(3.0 * CUBIC * x, x, 1.0);
    fma(0.5 * x * fma(-t, t, 1.0), du, 0.5 * (1.0 + t))
}

/// `x Phi(x)`, `Phi(x) = (1 + erf(x / sqrt 2)) / 2`.
#[inline(always)]
pub fn with_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// `Phi(x) + x phi(x)`; the slope of Phi is the normal density, `phi(x) = exp(-x^2 / 2) / sqrt(2 pi)`.
#[inline(always)]
pub fn with_erf_slope(x: f32) -> f32 {
    let density = DENSITY * exp(-0.5 * x * x);
    fma(x, density, 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)))
}
