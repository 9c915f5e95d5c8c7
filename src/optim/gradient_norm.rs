//! The global gradient norm, the clipping scale, and the search for what is not finite.
//!
//! ```text
//! |g| = sqrt(sum_i g_i^2),   scale = min(1, max_norm / (|g| + 1e-6))      (PyTorch's clip_grad_norm_)
//! ```
//!
//! The paper prints no clipping; it is off by default. The sum's order is part of the definition: chunks
//! of [`CHUNK`] elements of the flat buffer, each by [`sum_of_squares`], added in order in f64.

use crate::num::math::fma;
use crate::num::par;

/// Elements per chunk of the flat buffer; chunks are summed on any thread.
pub const CHUNK: usize = 4096;
/// Chunks whose results are held at a time.
const GROUP: usize = 1024;

/// The squares of one chunk: lane `l` of 16 takes elements `l, l + 16, ...` by fma in order, then lanes
/// 8-15 are added to 0-7, and so on by halves (8, 4, 2, 1).
pub fn sum_of_squares(chunk: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let mut groups = chunk.chunks_exact(16);
    for group in &mut groups {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane = fma(x, x, *lane);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(groups.remainder()) {
        *lane = fma(x, x, *lane);
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// The L2 norm of the flat gradient buffer; infinite when a square overflows.
pub fn gradient_norm(gradients: &[f32]) -> f32 {
    let mut total = 0.0f64;
    for group in gradients.chunks(GROUP * CHUNK) {
        let (mut sums, count) = ([0.0; GROUP], group.len().div_ceil(CHUNK));
        of_chunks(group, &mut sums[..count], sum_of_squares);
        sums[..count].iter().for_each(|&sum| total += sum as f64);
    }
    libm::sqrt(total) as f32
}

/// `results[i] = of(chunk i of values)`.
fn of_chunks<R: Send>(values: &[f32], results: &mut [R], of: impl Fn(&[f32]) -> R + Sync) {
    // Split over chunks.
    par::for_each(par::rows(results, 1), 16, |first, results| {
        let chunks = values[first * CHUNK..].chunks(CHUNK);
        results.data.iter_mut().zip(chunks).for_each(|(result, chunk)| *result = of(chunk));
    });
}

/// What to multiply the gradients by so that their norm is at most `max_norm`; 1 when it already is.
pub fn clipping_scale(norm: f32, max_norm: f32) -> f32 {
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 { scale } else { 1.0 }
}

/// The index of the first infinity or NaN.
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    // Whole chunks first, without branches: the largest magnitude as an integer tells.
    const INFINITY: u32 = f32::INFINITY.to_bits();
    let largest = |chunk: &[f32]| chunk.iter().fold(0, |largest, x| x.abs().to_bits().max(largest));
    values.chunks(GROUP * CHUNK).enumerate().find_map(|(number, group)| {
        let (mut largests, count) = ([0; GROUP], group.len().div_ceil(CHUNK));
        of_chunks(group, &mut largests[..count], largest);
        let chunk = largests[..count].iter().position(|&largest| largest >= INFINITY)?;
        let at = group[chunk * CHUNK..].iter().position(|x| !x.is_finite())?;
        Some((number * GROUP + chunk) * CHUNK + at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn three_four_five() {
        assert_eq!(gradient_norm(&[3.0, 0.0, -4.0]), 5.0);
        assert_eq!(clipping_scale(5.0, 1.0), 1.0 / (5.0 + 1e-6));
        assert_eq!([clipping_scale(0.5, 1.0), clipping_scale(0.0, 1.0)], [1.0, 1.0]);
        assert_eq!(gradient_norm(&[]), 0.0);
    }

    /// The definition written as plain loops over single elements.
    #[test]
    fn the_order_of_the_sum_is_the_stated_one() {
        let mut rng = Rng::at(0, Stage::Test, Purpose::Noise, 0, 0, 0);
        for n in [1, 15, 16, 17, 100, CHUNK, CHUNK + 1, 3 * CHUNK + 77, (GROUP + 1) * CHUNK + 5] {
            let values: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let mut total = 0.0f64;
            for start in (0..n).step_by(CHUNK) {
                let mut lane = [0.0f32; 16];
                for i in start..n.min(start + CHUNK) {
                    lane[i % 16] = values[i].mul_add(values[i], lane[i % 16]);
                }
                let e: [f32; 8] = core::array::from_fn(|l| lane[l] + lane[l + 8]);
                let f: [f32; 4] = core::array::from_fn(|l| e[l] + e[l + 4]);
                total += ((f[0] + f[2]) + (f[1] + f[3])) as f64;
            }
            assert_eq!(gradient_norm(&values).to_bits(), (total.sqrt() as f32).to_bits(), "{n} elements");
            let exact = values.iter().map(|&x| x as f64 * x as f64).sum::<f64>().sqrt();
            assert!((gradient_norm(&values) as f64 / exact - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_first_non_finite_is_found_wherever_it_is() {
        // More than a group of chunks.
        let n = (GROUP + 3) * CHUNK + 5;
        let mut values = vec![1.0f32; n];
        assert_eq!(first_non_finite(&values), None);
        values[0] = f32::MAX;
        assert_eq!(first_non_finite(&values), None);
        for at in [n - 1, (GROUP + 1) * CHUNK, 2 * CHUNK, CHUNK - 1, 0] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                values[at] = bad;
                assert_eq!(first_non_finite(&values), Some(at));
            }
        }
    }
}
