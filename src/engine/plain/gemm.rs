//! Matrix products `C = init + A B`, and the one chain that all sums of products are.
//!
//! ```text
//! acc = init[i][j];  for p in 0..k { acc = fma(A[i][p], B[p][j], acc) };  C[i][j] = acc
//! ```
//! In [`Precision::Bf16`] the operands are rounded to bf16 and a step of the chain takes two of them, by the
//! definition of [`bf16`]. So it matters which two make a pair. The k elements consist of runs, and a pair lies
//! within one: a run of odd length ends with a pair whose second element is +0. Where k is a layer's width there is
//! one run. A weight's gradient is a chain over token rows, and there the runs are the sequences: a batch may be
//! cut in micro-batches between any two of them, and the cut must not show.

use crate::engine::{Init, Matrix, Precision};
use crate::num::bf16;
use crate::num::math::fma;

/// `acc = init; for every element p of the runs { acc = fma(a, b, acc) }` with `(a, b) = elements(p)`. Run i is
/// the elements `runs[i]..runs[i + 1]`, counted from `runs[0]`; `&[0, k]` is one run of k.
pub fn chain(precision: Precision, init: f32, runs: &[usize], elements: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut acc = init;
    for run in runs.windows(2) {
        let (start, end) = (run[0] - runs[0], run[1] - runs[0]);
        match precision {
            Precision::F32 | Precision::Tf32 => {
                for p in start..end {
                    let (a, b) = elements(p);
                    acc = fma(a, b, acc);
                }
            }
            Precision::Bf16 | Precision::Bf16Fast => {
                for p in (start..end).step_by(2) {
                    let (a_even, b_even) = elements(p);
                    let (a_odd, b_odd) = if p + 1 < end { elements(p + 1) } else { (0.0, 0.0) };
                    acc = bf16::step(bf16::pair(a_even, a_odd), bf16::pair(b_even, b_odd), acc);
                }
            }
        }
    }
    acc
}

/// `C = init + A B` with A (m, k), B (k, n) and row-major C (m, n); k is what `runs` consist of.
pub fn gemm(
    precision: Precision,
    m: usize,
    n: usize,
    runs: &[usize],
    a: Matrix,
    b: Matrix,
    init: Init,
    c: &mut [f32],
) {
    assert_eq!(c.len(), m * n, "C has {} elements, not {m} x {n}", c.len());
    for i in 0..m {
        for j in 0..n {
            let start = match init {
                Init::Zero => 0.0,
                Init::Bias(bias) => bias[j],
                Init::Accumulate => c[i * n + j],
            };
            c[i * n + j] = chain(precision, start, runs, |p| (a.at(i, p), b.at(p, j)));
        }
    }
}
