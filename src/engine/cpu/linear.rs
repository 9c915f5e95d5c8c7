//! `y = x W + b`, with W stored (inputs, outputs) as in GPT-2.

use alloc::collections::BTreeMap;
use core::ops::Range;

use super::depth::Depth;
use super::few_rows;
use super::gemm::gemm;
use super::packed::Packed;
use crate::engine::{Affine, Init, Matrix, Precision, WeightMatrix};
use crate::num::par;

/// Parameters as products with them are made: as they lie, or with their matrices packed.
pub struct Weights<'a> {
    parameters: &'a [f32],
    precision: Precision,
    /// By the place of the matrix.
    packed: BTreeMap<usize, Packed>,
}

/// Rows up to which a matrix is better read where it lies than packed for a single product.
const FEW: usize = 16;

impl<'a> Weights<'a> {
    /// The parameters as they lie.
    pub fn new(parameters: &'a [f32], precision: Precision) -> Self {
        Weights { parameters, precision, packed: BTreeMap::new() }
    }

    /// The parameters with these matrices packed.
    pub fn packed(parameters: &'a [f32], precision: Precision, matrices: &[WeightMatrix]) -> Self {
        let pack = |matrix: &WeightMatrix| {
            let WeightMatrix { at, inputs, outputs, transposed } = matrix;
            let values = &parameters[at.clone()];
            let b =
                if *transposed { Matrix::transposed(values, *inputs) } else { Matrix::new(values, *outputs) };
            (at.start, Packed::new(precision, *inputs, *outputs, b))
        };
        Weights { parameters, precision, packed: matrices.iter().map(pack).collect() }
    }

    /// The parameters at a place.
    pub fn at(&self, range: &Range<usize>) -> &'a [f32] {
        &self.parameters[range.clone()]
    }

    /// What products round their operands to.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

/// `y = x W + b`; x (N, I), W (I, O) and b (O) at `at`, y (N, O). The bias starts the chain.
pub fn forward(y: &mut [f32], x: &[f32], w: &Weights, at: &Affine) {
    let (weight, bias) = (w.at(&at.weight), w.at(&at.bias));
    let o = bias.len();
    let (n, i) = (y.len() / o, weight.len() / o);
    assert_eq!((x.len(), weight.len()), (n * i, i * o), "x is not ({n}, {i}) or W not ({i}, {o})");
    match w.packed.get(&at.weight.start) {
        Some(packed) => packed.multiply(x, Init::Bias(bias), y),
        None if n <= FEW && w.precision == Precision::F32 => few_rows::multiply(x, weight, bias, y),
        None => {
            gemm(w.precision, n, o, i, Matrix::new(x, i), Matrix::new(weight, o), Init::Bias(bias), y);
        }
    }
}

/// `logits = hidden W^T`; hidden (N, C), W (V, C) at `at`, logits (N, V).
pub fn logits(logits: &mut [f32], hidden: &[f32], c: usize, w: &Weights, at: &Range<usize>) {
    let weight = w.at(at);
    let (n, vocab) = (hidden.len() / c, weight.len() / c);
    match w.packed.get(&at.start) {
        Some(packed) => packed.multiply(hidden, Init::Zero, logits),
        None => {
            let (hidden, head) = (Matrix::new(hidden, c), Matrix::transposed(weight, c));
            gemm(w.precision, n, vocab, c, hidden, head, Init::Zero, logits);
        }
    }
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
