//! GELU, exact and in the tanh form that GPT-2 and GPT-3 use.

use crate::engine::Activation;
use crate::engine::plain::gelu::{with_erf, with_erf_slope, with_tanh, with_tanh_slope};
use crate::num::par;

/// `y = gelu(x)`, elementwise.
pub fn forward(y: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(y.len(), x.len(), "gelu of {} into {} elements", x.len(), y.len());
    // Split over elements.
    par::for_each(par::rows(y, 1), 8 * 1024, |first, y| {
        let x = &x[first..][..y.data.len()];
        match activation {
            Activation::GeluTanh => y.data.iter_mut().zip(x).for_each(|(y, &x)| *y = with_tanh(x)),
            Activation::Gelu => y.data.iter_mut().zip(x).for_each(|(y, &x)| *y = with_erf(x)),
        }
    });
}

/// `dx = dy * gelu'(x)`, in place of `dy`.
pub fn backward(dy: &mut [f32], x: &[f32], activation: Activation) {
    assert_eq!(dy.len(), x.len(), "gelu of {} into {} elements", x.len(), dy.len());
    // Split over elements.
    par::for_each(par::rows(dy, 1), 8 * 1024, |first, dy| {
        let x = &x[first..][..dy.data.len()];
        match activation {
            Activation::GeluTanh => dy.data.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= with_tanh_slope(x)),
            Activation::Gelu => dy.data.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= with_erf_slope(x)),
        }
    });
}
