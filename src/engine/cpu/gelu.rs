//! GELU (Hendrycks and Gimpel 2016), exact and in the tanh form that GPT-2 and GPT-3 use.

use serde::{Deserialize, Serialize};

use crate::num::math::{erf, exp, fma, tanh};
use crate::num::par;

/// The MLP's nonlinearity; configurations write "gelu" and "gelu_tanh". GPT-2 and GPT-3 use
/// [`Activation::GeluTanh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x/2 * (1 + erf(x/sqrt 2))`: Hugging Face's `gelu`.
    Gelu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: Hugging Face's `gelu_new` and `gelu_pytorch_tanh`.
    GeluTanh,
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const FRAC_1_SQRT_2: f32 = core::f32::consts::FRAC_1_SQRT_2;
/// `1 / sqrt(2 pi)`, the normal density at 0.
const DENSITY: f32 = 0.398_942_3;

/// `y = gelu(x)`, elementwise.
pub fn forward(y: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(y.len(), x.len(), "gelu of {} into {} elements", x.len(), y.len());
    // Split over elements.
    par::for_each(par::rows(y, 1), 8 * 1024, |first, y| {
        let x = &x[first..][..y.data.len()];
        match activation {
            Activation::GeluTanh => y.data.iter_mut().zip(x).for_each(|(y, &x)| *y = gelu_tanh(x)),
            Activation::Gelu => y.data.iter_mut().zip(x).for_each(|(y, &x)| *y = gelu_erf(x)),
        }
    });
}

/// Differentiates `y = gelu(x)`: `dx = dy * gelu'(x)`, in place of `dy`.
pub fn backward(dy: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(dy.len(), x.len(), "gelu of {} into {} elements", x.len(), dy.len());
    // Split over elements.
    par::for_each(par::rows(dy, 1), 8 * 1024, |first, dy| {
        let x = &x[first..][..dy.data.len()];
        match activation {
            Activation::GeluTanh => dy.data.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= gelu_tanh_slope(x)),
            Activation::Gelu => dy.data.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= gelu_erf_slope(x)),
        }
    });
}

/// `x/2 (1 + tanh u)`, `u = sqrt(2/pi) (x + 0.044715 x^3)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * fma(CUBIC * x * x, x, x);
    0.5 * x * (1.0 + tanh(u))
}

/// `(1 + t)/2 + x/2 (1 - t^2) u'`, `t = tanh u`, `u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)`.
#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let t = tanh(SQRT_2_OVER_PI * fma(CUBIC * x * x, x, x));
    let du = SQRT_2_OVER_PI * fma(3.0 * CUBIC * x, x, 1.0);
    fma(0.5 * x * fma(-t, t, 1.0), du, 0.5 * (1.0 + t))
}

/// `x Phi(x)`, `Phi(x) = (1 + erf(x / sqrt 2)) / 2`.
#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// `Phi(x) + x phi(x)`, with phi the normal density.
#[inline(always)]
fn gelu_erf_slope(x: f32) -> f32 {
    let density = DENSITY * exp(-0.5 * x * x);
    fma(x, density, 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)))
}
