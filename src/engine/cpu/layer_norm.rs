//! Layer norm over a row of C: `y = x_hat * gamma + beta`, `x_hat = (x - mean) * r`,
//! `r = 1 / sqrt(variance + epsilon)`, with the population variance.

use crate::engine::NormGradient;
use crate::engine::cpu::reduce;
use crate::engine::cpu::row_grain;
use crate::num::math::{fma, sqrt};
use crate::num::par;

/// y (N, C); stats (N, 2) receives mean and r of each row, for the backward; x (N, C), gamma, beta (C).
pub fn forward(y: &mut [f32], stats: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    let c = gamma.len();
    assert_eq!((x.len(), y.len()), (stats.len() / 2 * c, stats.len() / 2 * c), "x or y is not (N, {c})");
    // Split over rows: each is normalised by itself.
    par::for_each((par::rows(y, c), par::rows(stats, 2)), row_grain(c), |first, (y, stats)| {
        let x = &x[first * c..];
        for ((y, stats), x) in
            y.data.chunks_exact_mut(c).zip(stats.data.chunks_exact_mut(2)).zip(x.chunks_exact(c))
        {
            let (mean, r) = statistics(x, epsilon);
            for i in 0..c {
                y[i] = fma((x[i] - mean) * r, gamma[i], beta[i]);
            }
            stats.copy_from_slice(&[mean, r]);
        }
    });
}

/// Mean and `1 / sqrt(variance + epsilon)` of a row; both sums in the order of [`reduce`].
fn statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let c = x.len() as f32;
    let mean = reduce::sum(x) / c;
    let variance = reduce::sum_map(x, |x| (x - mean) * (x - mean)) / c;
    (mean, 1.0 / sqrt(variance + epsilon))
}

/// Differentiates `y = x_hat * gamma + beta` with respect to x. With `g = dy * gamma`:
/// `dx += r * (g - mean(g) - x_hat * mean(g * x_hat))`. It adds, because the residual's gradient already
/// stands there.
pub fn backward_input(dx: &mut [f32], dy: &[f32], x: &[f32], stats: &[f32], gamma: &[f32]) {
    let c = gamma.len();
    assert_eq!((dx.len(), dy.len(), x.len()), (stats.len() / 2 * c, dx.len(), dx.len()), "not (N, {c})");
    // Split over rows.
    par::for_each(par::rows(dx, c), row_grain(c), |first, dx| {
        let (dy, x, stats) = (&dy[first * c..], &x[first * c..], &stats[first * 2..]);
        for (((dx, dy), x), stats) in dx
            .data
            .chunks_exact_mut(c)
            .zip(dy.chunks_exact(c))
            .zip(x.chunks_exact(c))
            .zip(stats.chunks_exact(2))
        {
            let (mean, r) = (stats[0], stats[1]);
            let (mean_g, mean_gx) = gradient_means(dy, x, gamma, mean, r);
            for i in 0..c {
                let x_hat = (x[i] - mean) * r;
                dx[i] = fma(r, fma(-x_hat, mean_gx, dy[i] * gamma[i] - mean_g), dx[i]);
            }
        }
    });
}

/// Differentiates `y = x_hat * gamma + beta` of several norms with respect to gamma and beta:
/// `dgamma += sum over rows of dy * x_hat`, `dbeta += sum over rows of dy`.
pub fn backward_parameters_of<const K: usize>(norms: [NormGradient; K]) {
    let inputs = norms.each_ref().map(|NormGradient { dgamma, dy, x, stats, .. }| {
        let c = dgamma.len();
        assert_eq!((dy.len(), x.len()), (stats.len() / 2 * c, dy.len()), "not (N, {c})");
        (c, *dy, *x, *stats)
    });
    let outputs = norms.map(|norm| (par::rows(norm.dgamma, 1), par::rows(norm.dbeta, 1)));
    // Split over columns: each keeps its own chain over all rows.
    par::for_each_of(outputs, [64; K], |norm, first, (dgamma, dbeta)| {
        let (n, (c, dy, x, stats)) = (dgamma.data.len(), inputs[norm]);
        for ((dy, x), stats) in dy.chunks_exact(c).zip(x.chunks_exact(c)).zip(stats.chunks_exact(2)) {
            let (mean, r) = (stats[0], stats[1]);
            let (dy, x) = (&dy[first..][..n], &x[first..][..n]);
            for i in 0..n {
                dgamma.data[i] = fma(dy[i], (x[i] - mean) * r, dgamma.data[i]);
                dbeta.data[i] += dy[i];
            }
        }
    });
}

/// `mean(g)` and `mean(g * x_hat)` of a row, in 16 lanes and the halving tree like every row sum.
fn gradient_means(dy: &[f32], x: &[f32], gamma: &[f32], mean: f32, r: f32) -> (f32, f32) {
    use crate::num::simd::{LANES, halving_sum};
    let c = gamma.len();
    let (mut sum_g, mut sum_gx) = ([0.0f32; LANES], [0.0f32; LANES]);
    let mut add = |l: usize, i: usize| {
        let g = dy[i] * gamma[i];
        sum_g[l] += g;
        sum_gx[l] = fma(g, (x[i] - mean) * r, sum_gx[l]);
    };
    let whole = c / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for l in 0..LANES {
            add(l, start + l);
        }
    }
    for i in whole..c {
        add(i - whole, i);
    }
    (halving_sum(sum_g) / c as f32, halving_sum(sum_gx) / c as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_three() {
        let (mut y, mut stats) = ([0.0; 3], [0.0; 2]);
        forward(&mut y, &mut stats, &[1.0, 2.0, 3.0], &[1.0, 1.0, 2.0], &[0.0, 0.5, 0.0], 0.0);
        assert_eq!(stats[0], 2.0);
        let r = 1.0f32 / (2.0f32 / 3.0).sqrt();
        assert_eq!(y, [-r, 0.5, 2.0 * r]);
    }

    #[test]
    fn the_gradient_ignores_shift_and_scale() {
        // y does not change when x is shifted or scaled, so dx is orthogonal to 1 and to x - mean.
        let x: Vec<f32> = (0..37).map(|i| ((i * 7) % 11) as f32 - 3.0).collect();
        let dy: Vec<f32> = (0..37).map(|i| ((i * 5) % 13) as f32 * 0.1 - 0.5).collect();
        let (mut y, mut stats, mut dx) = ([0.0; 37], [0.0; 2], [0.0; 37]);
        let gamma = [1.5; 37];
        forward(&mut y, &mut stats, &x, &gamma, &[0.0; 37], 0.0);
        backward_input(&mut dx, &dy, &x, &stats, &gamma);
        assert!(reduce::sum(&dx).abs() < 1e-5);
        let centred: Vec<f32> = x.iter().map(|x| x - stats[0]).collect();
        assert!(reduce::dot(&dx, &centred).abs() < 1e-4);
        assert!(reduce::dot(&dx, &dx) > 1e-3);
    }
}
