//! AdamW (Loshchilov and Hutter, 2019), one step of one tensor, and the moving average of the weights that follows
//! it. Elementwise:
//!
//! ```text
//! g = s dp                                                  s: the clipping scale
//! m <- b1 m + (1 - b1) g                                    the mean of the latest gradients
//! v <- b2 v + (1 - b2) g^2                                  the mean of their squares
//! p <- (1 - lr w) p - rate m / (root_scale sqrt(v) + eps)   w: the weight decay
//! e <- e + (1 - d) (p - e)                                  d: the average's decay
//! ```
//! The moments start at 0 and are too small at first. `rate` and `root_scale` have the corrections in them, which
//! are the same for all elements: see [`AdamW`](crate::optim::AdamW).

use crate::engine::AdamConstants;
use crate::num::math::{fma, sqrt};

/// One update of a tensor; all buffers of one length, all but the gradients changed. A rate of 0 changes no
/// parameter.
pub fn update(
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    mut average: Option<&mut [f32]>,
    constants: AdamConstants,
) {
    for i in 0..parameters.len() {
        let (m, v) = (&mut first_moment[i], &mut second_moment[i]);
        parameters[i] = step(parameters[i], gradients[i], m, v, constants);
        if let Some(average) = &mut average {
            average[i] = blend(average[i], parameters[i], constants.average_rest);
        }
    }
}

/// The parameter after the step; the moments are updated.
#[inline(always)]
pub fn step(p: f32, dp: f32, m: &mut f32, v: &mut f32, c: AdamConstants) -> f32 {
    let g = c.gradient_scale * dp;
    *m = fma(c.beta1, *m, c.rest1 * g);
    *v = fma(c.beta2, *v, c.rest2 * g * g);
    let denominator = fma(sqrt(*v), c.root_scale, c.epsilon);
    let moved = fma(-c.rate, *m / denominator, c.keep * p);
    // Without the select a rate of 0 could still turn -0 into +0.
    if c.rate == 0.0 { p } else { moved }
}

/// `e + (1 - d) (p - e)`: the form of `d e + (1 - d) p` in which `p = e` moves nothing.
#[inline(always)]
pub fn blend(average: f32, parameter: f32, rest: f32) -> f32 {
    fma(rest, parameter - average, average)
}
