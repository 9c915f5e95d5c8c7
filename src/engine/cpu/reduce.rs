//! Sums over a row in vectors of 16 lanes: layer norm, softmax denominator, log-sum-exp.

use crate::num::simd::{LANES, V16, halving_sum};

/// The sum of `xs`.
pub fn sum(xs: &[f32]) -> f32 {
    let mut lanes = V16::ZERO;
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for x in chunks {
        lanes = lanes.add(V16::load(x));
    }
    lanes.add(load_tail(tail)).halving_sum()
}

/// The sum of `xs[i] * ys[i]`, each lane a chain of fused multiply-adds.
pub fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    assert_eq!(xs.len(), ys.len(), "dot of {} and {} elements", xs.len(), ys.len());
    let mut lanes = V16::ZERO;
    let (xs, ys) = (xs.chunks_exact(LANES), ys.chunks_exact(LANES));
    let (x_tail, y_tail) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        lanes = V16::load(x).fma(V16::load(y), lanes);
    }
    load_tail(x_tail).fma(load_tail(y_tail), lanes).halving_sum()
}

/// The sum of `f(x)` over `xs`, in the same order.
#[inline(always)]
pub fn sum_map(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for x in chunks {
        for l in 0..LANES {
            lanes[l] += f(x[l]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane += f(x);
    }
    halving_sum(lanes)
}

/// The greatest element; `-inf` for an empty row. NaN is skipped (callers test for it elsewhere).
pub fn max(xs: &[f32]) -> f32 {
    let pick = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for x in chunks {
        for l in 0..LANES {
            lanes[l] = pick(lanes[l], x[l]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane = pick(*lane, x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, pick)
}

fn load_tail(tail: &[f32]) -> V16 {
    let mut lanes = [0.0; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    V16::load(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plain;
    use crate::num::math;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fast_equals_definition(
            numbers in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 0..200),
            scale in prop_oneof![Just(1.0f32), Just(0.0), Just(-0.0), Just(1e-24), Just(1e-30)],
        ) {
            // Vanishing products keep their sign, and so do zeros.
            let (xs, ys): (Vec<f32>, Vec<f32>) = numbers.into_iter().map(|(x, y)| (x * scale, y * scale)).unzip();
            prop_assert_eq!(sum(&xs).to_bits(), plain::reduce::sum(&xs).to_bits());
            prop_assert_eq!(dot(&xs, &ys).to_bits(), plain::reduce::dot(&xs, &ys).to_bits());
            let squash = |x: f32| math::exp(x * 1e-2);
            prop_assert_eq!(sum_map(&xs, squash).to_bits(), plain::reduce::sum_map(&xs, squash).to_bits());
            prop_assert_eq!(max(&xs).to_bits(), plain::reduce::max(&xs).to_bits());
        }
    }

    #[test]
    fn absent_elements_are_positive_zeros() {
        // Every product vanishes below zero, so all lanes are -0 until the absent elements come.
        for n in 1..40 {
            let (xs, ys) = (vec![1e-30; n], vec![-1e-30; n]);
            assert_eq!(plain::reduce::dot(&xs, &ys).to_bits(), 0, "{n}");
            assert_eq!(dot(&xs, &ys).to_bits(), 0, "{n}");
        }
    }
}
