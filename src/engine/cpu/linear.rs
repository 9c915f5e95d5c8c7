//! `y = x W + b`, with W stored (inputs, outputs) as in GPT-2.

use alloc::collections::BTreeMap;
use core::ops::Range;

use super::depth::Depth;
use super::few_rows;
use super::gemm::{Product, gemm, products};
use super::packed::Packed;
use crate::engine::{BiasGradient, Init, Linear, Matrix, Precision, WeightGradient, WeightMatrix};
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

/// `y = x W + b`; x (N, I), W (I, O) and b (O) at `at`, y (N, O). The bias starts the chain, or else 0.
pub fn forward(y: &mut [f32], x: &[f32], w: &Weights, at: &Linear) {
    let (weight, o, i) = (w.at(&at.weight), at.outputs, at.inputs());
    let start = at.bias.as_ref().map_or(Init::Zero, |bias| Init::Bias(w.at(bias)));
    let n = y.len() / o;
    assert_eq!((x.len(), weight.len()), (n * i, i * o), "x is not ({n}, {i}) or W not ({i}, {o})");
    match w.packed.get(&at.weight.start) {
        Some(packed) => packed.multiply(x, start, y),
        None if n <= FEW && w.precision == Precision::F32 => few_rows::multiply(x, weight, o, start, y),
        None => gemm(w.precision, n, o, i, Matrix::new(x, i), Matrix::new(weight, o), start, y),
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

/// `dW += x^T dy` of several layers. The rows are those of sequences that begin at `offsets` (B + 1).
pub fn backward_weights<const K: usize>(
    precision: Precision,
    layers: [WeightGradient; K],
    offsets: &[usize],
) {
    let rows = Depth::runs(offsets);
    let layers = layers.map(|WeightGradient { dweight, dy, x, outputs: o }| {
        let (n, i) = (dy.len() / o, dweight.len() / o);
        assert_eq!((dy.len(), x.len()), (n * o, n * i), "dy is not ({n}, {o}) or x not ({n}, {i})");
        assert_eq!(rows.len(), n, "the sequences have {} rows, not {n}", rows.len());
        let (a, b) = (Matrix::transposed(x, i), Matrix::new(dy, o));
        Product { n: o, a, b, init: Init::Accumulate, c: dweight }
    });
    products(precision, rows, layers);
}

/// `db += sum over rows of dy` of several layers, each column a chain of additions in row order.
pub fn backward_biases<const K: usize>(layers: [BiasGradient; K]) {
    let dys = layers.each_ref().map(|layer| (layer.dbias.len(), layer.dy));
    // Split over columns: each keeps its own chain over all rows.
    par::for_each_of(layers.map(|layer| par::rows(layer.dbias, 1)), [64; K], |layer, first, dbias| {
        let (o, dy) = dys[layer];
        for dy in dy.chunks_exact(o) {
            for (db, &dy) in dbias.data.iter_mut().zip(&dy[first..]) {
                *db += dy;
            }
        }
    });
}
