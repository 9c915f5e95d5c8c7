//! `y = x W + b`, with W stored (inputs, outputs) as in GPT-2.

use crate::engine::cpu::depth::Depth;
use crate::engine::cpu::gemm::gemm;
use crate::engine::{Init, Matrix, Precision};
use crate::num::par;

/// `y = x W + b`; x (N, I), weight (I, O), bias (O), y (N, O). The bias starts the chain.
pub fn forward(precision: Precision, y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) {
    let o = bias.len();
    let (n, i) = (y.len() / o, weight.len() / o);
    assert_eq!((x.len(), weight.len()), (n * i, i * o), "x is not ({n}, {i}) or W not ({i}, {o})");
    gemm(precision, n, o, i, Matrix::new(x, i), Matrix::new(weight, o), Init::Bias(bias), y);
}

/// `dx = dy W^T` (overwrites).
pub fn backward_input(precision: Precision, dx: &mut [f32], dy: &[f32], weight: &[f32], outputs: usize) {
    let (o, i) = (outputs, weight.len() / outputs);
    let n = dy.len() / o;
    assert_eq!((dy.len(), dx.len()), (n * o, n * i), "dy is not ({n}, {o}) or dx not ({n}, {i})");
    gemm(precision, n, i, o, Matrix::new(dy, o), Matrix::transposed(weight, o), Init::Zero, dx);
}

/// `dW += x^T dy`, `db += sum over rows of dy`. The rows
/// are those of sequences that begin at `offsets` (B + 1).
pub fn backward_parameters(
    precision: Precision,
    dweight: &mut [f32],
    dbias: &mut [f32],
    dy: &[f32],
    x: &[f32],
    offsets: &[usize],
) {
    let o = dbias.len();
    let (n, i) = (dy.len() / o, dweight.len() / o);
    assert_eq!((dy.len(), x.len()), (n * o, n * i), "dy is not ({n}, {o}) or x not ({n}, {i})");
    let (x, rows) = (Matrix::transposed(x, i), Depth::runs(offsets));
    assert_eq!(rows.len(), n, "the sequences have {} rows, not {n}", rows.len());
    gemm(precision, i, o, rows, x, Matrix::new(dy, o), Init::Accumulate, dweight);
    sum_rows(dbias, dy);
}

/// `sums += sum over rows of x`, each column a chain of additions in row order; x (N, O), sums (O).
pub fn sum_rows(sums: &mut [f32], x: &[f32]) {
    let o = sums.len();
    // Split over columns: each keeps its own chain over all rows.
    par::for_each(par::rows(sums, 1), 64, |first, sums| {
        for row in x.chunks_exact(o) {
            for (sum, &x) in sums.data.iter_mut().zip(&row[first..]) {
                *sum += x;
            }
        }
    });
}
