//! Sums over a row: layer norm, softmax denominator, gradient norm.
//!
//! Adding f32 numbers in another order gives other bits, so the order is part of the definition. It is one that
//! vector units like: lane `l` of 16 adds elements `l, l+16, l+32, ...` in order, from +0; then the lanes are
//! added by halves, 8-15 to 0-7, 4-7 to 0-3, 2-3 to 0-1, 1 to 0. A row whose length is no multiple of 16 leaves
//! the last lanes one element short.

use crate::num::math::fma;

/// Lanes of a sum.
pub const LANES: usize = 16;

/// The sum of `n` terms, each put in its lane by `add(i, lane)`, which returns the lane with term `i` in it.
pub fn in_lanes(n: usize, mut add: impl FnMut(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for i in 0..n {
        lanes[i % LANES] = add(i, lanes[i % LANES]);
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// The sum of `xs`.
pub fn sum(xs: &[f32]) -> f32 {
    in_lanes(xs.len(), |i, lane| lane + xs[i])
}

/// The sum of `f(x)` over `xs`.
pub fn sum_map(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    in_lanes(xs.len(), |i, lane| lane + f(xs[i]))
}

/// The sum of `xs[i] * ys[i]`, each lane a chain of fused multiply-adds. It ends with elements that are not there,
/// one or more in each lane, as products of +0: a lane of -0 (a product too small for f32) becomes +0.
pub fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    assert_eq!(xs.len(), ys.len(), "dot of {} and {} elements", xs.len(), ys.len());
    let at = |xs: &[f32], i: usize| xs.get(i).copied().unwrap_or(0.0);
    in_lanes((xs.len() / LANES + 1) * LANES, |i, lane| fma(at(xs, i), at(ys, i), lane))
}

/// The greatest element; `-inf` for an empty row. NaN is skipped (callers test for it elsewhere). In lanes too,
/// which only shows where the greatest is 0: +0 and -0 are equal, and the first of them in its lane is taken.
pub fn max(xs: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for i in 0..xs.len() {
        lanes[i % LANES] = greater(lanes[i % LANES], xs[i]);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, greater)
}
