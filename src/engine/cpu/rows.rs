//! Sums over a row: layer norm, softmax denominator, log-sum-exp.
//!
//! Definition: lane `l` of 16 adds elements `l, l+16, ...` in order, from +0; the lanes are then added by
//! the halving tree 8-4-2-1. Absent elements are +0, so a tail changes nothing.

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
    use crate::num::math;
    use proptest::prelude::*;

    fn lanes_then_tree(terms: impl Fn(usize, f32) -> f32, n: usize) -> f32 {
        let mut lanes = [0.0f32; 16];
        for i in 0..n {
            lanes[i % 16] = terms(i, lanes[i % 16]);
        }
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
        }
        lanes[0]
    }

    proptest! {
        #[test]
        fn fast_equals_definition(xs in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 0..200)) {
            let (xs, ys): (Vec<f32>, Vec<f32>) = xs.into_iter().unzip();
            let defined = lanes_then_tree(|i, acc| acc + xs[i], xs.len());
            prop_assert_eq!(sum(&xs).to_bits(), defined.to_bits());
            let defined = lanes_then_tree(|i, acc| math::fma(xs[i], ys[i], acc), xs.len());
            prop_assert_eq!(dot(&xs, &ys).to_bits(), defined.to_bits());
            let defined = lanes_then_tree(|i, acc| acc + math::exp(xs[i] * 1e-2), xs.len());
            prop_assert_eq!(sum_map(&xs, |x| math::exp(x * 1e-2)).to_bits(), defined.to_bits());
            let greatest = xs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(max(&xs), greatest);
        }
    }
}
