//! The norm of the gradient, and the search for what is not finite: chunks of the flat buffer on any thread.

use crate::engine::cpu::reduce;
use crate::engine::plain::gradient_norm::CHUNK;
use crate::num::par;

/// Chunks whose results are held at a time.
const GROUP: usize = 1024;

/// The L2 norm of the flat gradient buffer; infinite when a square overflows.
pub fn gradient_norm(gradients: &[f32]) -> f32 {
    let mut total = 0.0f64;
    for group in gradients.chunks(GROUP * CHUNK) {
        let (mut sums, count) = ([0.0; GROUP], group.len().div_ceil(CHUNK));
        of_chunks(group, &mut sums[..count], |chunk| reduce::dot(chunk, chunk));
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
    use crate::engine::plain;
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn fast_equals_definition() {
        let mut rng = Rng::at(0, Stage::Test, Purpose::Noise, 0, 0, 0);
        for n in [0, 1, 15, 16, 17, 100, CHUNK, CHUNK + 1, 3 * CHUNK + 77, (GROUP + 1) * CHUNK + 5] {
            let values: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let defined = plain::gradient_norm::gradient_norm(&values);
            for threads in [1, 3] {
                let fast = par::with_threads(threads, || gradient_norm(&values));
                assert_eq!(fast.to_bits(), defined.to_bits(), "{n} elements");
            }
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
                assert_eq!(plain::gradient_norm::first_non_finite(&values), Some(at));
            }
        }
    }
}
