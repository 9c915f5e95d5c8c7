//! Layer norm (Ba, Kiros and Hinton, 2016) over a row of C, with the population variance:
//!
//! ```text
//! y = x_hat * gamma + beta,   x_hat = (x - mean) * r,   r = 1 / sqrt(variance + epsilon)
//! ```

use super::reduce;
use crate::engine::NormGradient;
use crate::num::math::{fma, sqrt};

/// y (N, C); stats (N, 2) receives mean and r of each row, for the backward; x (N, C), gamma, beta (C).
pub fn forward(y: &mut [f32], stats: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    let (n, c) = (stats.len() / 2, gamma.len());
    assert_eq!((x.len(), y.len()), (n * c, n * c), "x or y is not ({n}, {c})");
    for t in 0..n {
        let x = &x[t * c..][..c];
        let mean = reduce::sum(x) / c as f32;
        let variance = reduce::sum_map(x, |x| (x - mean) * (x - mean)) / c as f32;
        let r = 1.0 / sqrt(variance + epsilon);
        for i in 0..c {
            y[t * c + i] = fma((x[i] - mean) * r, gamma[i], beta[i]);
        }
        stats[2 * t] = mean;
        stats[2 * t + 1] = r;
    }
}

/// With `g = dy * gamma`, the gradient of `x_hat`: `dx += r * (g - mean(g) - x_hat * mean(g * x_hat))`. It adds,
/// because the residual's gradient already stands there. dx, dy, x (N, C), stats (N, 2), gamma (C).
///
/// A change of x that is the same everywhere is taken away with the mean, and one along `x_hat` by the division: y
/// does not feel them. So dx is r times what is left of g without its parts in these two directions, which are
/// orthogonal, and both of squared length C.
pub fn backward_input(dx: &mut [f32], dy: &[f32], x: &[f32], stats: &[f32], gamma: &[f32]) {
    let (n, c) = (stats.len() / 2, gamma.len());
    assert_eq!((dx.len(), dy.len(), x.len()), (n * c, n * c, n * c), "not ({n}, {c})");
    for t in 0..n {
        let (x, dy, dx) = (&x[t * c..][..c], &dy[t * c..][..c], &mut dx[t * c..][..c]);
        let (mean, r) = (stats[2 * t], stats[2 * t + 1]);
        let x_hat = |i: usize| (x[i] - mean) * r;
        let g = |i: usize| dy[i] * gamma[i];
        let mean_g = reduce::in_lanes(c, |i, lane| lane + g(i)) / c as f32;
        let mean_gx = reduce::in_lanes(c, |i, lane| fma(g(i), x_hat(i), lane)) / c as f32;
        for i in 0..c {
            dx[i] = fma(r, fma(-x_hat(i), mean_gx, g(i) - mean_g), dx[i]);
        }
    }
}

/// `dgamma += sum over rows of dy * x_hat`, `dbeta += sum over rows of dy`, in row order; dgamma, dbeta (C).
pub fn backward_parameters(dgamma: &mut [f32], dbeta: &mut [f32], dy: &[f32], x: &[f32], stats: &[f32]) {
    let (n, c) = (stats.len() / 2, dgamma.len());
    assert_eq!((dy.len(), x.len()), (n * c, n * c), "not ({n}, {c})");
    for t in 0..n {
        let (mean, r) = (stats[2 * t], stats[2 * t + 1]);
        for i in 0..c {
            let (x, dy) = (x[t * c + i], dy[t * c + i]);
            dgamma[i] = fma(dy, (x - mean) * r, dgamma[i]);
            dbeta[i] += dy;
        }
    }
}

/// [`backward_parameters`] of several norms.
pub fn backward_parameters_of<const K: usize>(norms: [NormGradient; K]) {
    for NormGradient { dgamma, dbeta, dy, x, stats } in norms {
        backward_parameters(dgamma, dbeta, dy, x, stats);
    }
}
