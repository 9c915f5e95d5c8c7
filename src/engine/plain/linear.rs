//! `y = x W + b`, with W stored (inputs, outputs) as in GPT-2. In bf16 the operands of the three products are
//! rounded, and nothing else: not the sums, the bias or its gradient. A layer may have no bias.
//!
//! ```text
//! y[t][o] = b[o] + sum over i of x[t][i] W[i][o]
//! ```
//! Each number on the right goes into y by a product or a sum, so its gradient is that of y, times the other factor,
//! summed over all the places where it goes:
//! ```text
//! dx[t][i] = sum over o of dy[t][o] W[i][o]        x[t][i] goes into every output of row t
//! dW[i][o] = sum over t of x[t][i] dy[t][o]        W[i][o] goes into output o of every row
//! db[o]    = sum over t of dy[t][o]
//! ```

use core::ops::Range;

use super::gemm::chain;
use crate::engine::{BiasGradient, Linear, Precision, WeightGradient, WeightMatrix};

/// Parameters as products with them are made.
pub struct Weights<'a> {
    parameters: &'a [f32],
    precision: Precision,
}

impl<'a> Weights<'a> {
    /// The parameters.
    pub fn new(parameters: &'a [f32], precision: Precision) -> Self {
        Weights { parameters, precision }
    }

    /// The same: nothing is packed here.
    pub fn packed(parameters: &'a [f32], precision: Precision, _: &[WeightMatrix]) -> Self {
        Weights::new(parameters, precision)
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
    let (weight, bias) = (w.at(&at.weight), at.bias.as_ref().map(|bias| w.at(bias)));
    let (outputs, inputs) = (at.outputs, at.inputs());
    let n = y.len() / outputs;
    assert_eq!(x.len(), n * inputs, "x is not ({n}, {inputs})");
    for t in 0..n {
        for o in 0..outputs {
            let elements = |i: usize| (x[t * inputs + i], weight[i * outputs + o]);
            let start = bias.map_or(0.0, |bias| bias[o]);
            y[t * outputs + o] = chain(w.precision, start, &[0, inputs], elements);
        }
    }
}

/// `logits = hidden W^T`; hidden (N, C), W (V, C) at `at`, logits (N, V).
pub fn logits(logits: &mut [f32], hidden: &[f32], c: usize, w: &Weights, at: &Range<usize>) {
    let weight = w.at(at);
    let (n, vocab) = (hidden.len() / c, weight.len() / c);
    for t in 0..n {
        for v in 0..vocab {
            let elements = |i: usize| (hidden[t * c + i], weight[v * c + i]);
            logits[t * vocab + v] = chain(w.precision, 0.0, &[0, c], elements);
        }
    }
}

/// `dx = dy W^T` (overwrites); dx (N, I), dy (N, O), weight (I, O).
pub fn backward_input(precision: Precision, dx: &mut [f32], dy: &[f32], weight: &[f32], outputs: usize) {
    let (n, inputs) = (dy.len() / outputs, weight.len() / outputs);
    assert_eq!(dx.len(), n * inputs, "dx is not ({n}, {inputs})");
    for t in 0..n {
        for i in 0..inputs {
            let elements = |o: usize| (dy[t * outputs + o], weight[i * outputs + o]);
            dx[t * inputs + i] = chain(precision, 0.0, &[0, outputs], elements);
        }
    }
}

/// `dW += x^T dy`; dweight (I, O), dy (N, O), x (N, I). The chains go on from what is there, row by row. The rows are
/// those of sequences that begin at `offsets` (B + 1).
pub fn backward_weight(
    precision: Precision,
    dweight: &mut [f32],
    dy: &[f32],
    x: &[f32],
    outputs: usize,
    offsets: &[usize],
) {
    let (n, inputs) = (dy.len() / outputs, dweight.len() / outputs);
    assert_eq!(x.len(), n * inputs, "x is not ({n}, {inputs})");
    for i in 0..inputs {
        for o in 0..outputs {
            let elements = |t: usize| (x[t * inputs + i], dy[t * outputs + o]);
            dweight[i * outputs + o] = chain(precision, dweight[i * outputs + o], offsets, elements);
        }
    }
}

/// [`backward_weight`] of several layers.
pub fn backward_weights<const K: usize>(
    precision: Precision,
    layers: [WeightGradient; K],
    offsets: &[usize],
) {
    for WeightGradient { dweight, dy, x, outputs } in layers {
        backward_weight(precision, dweight, dy, x, outputs, offsets);
    }
}

/// `db += sum over rows of dy`, row by row; dbias (O), dy (N, O).
pub fn backward_bias(dbias: &mut [f32], dy: &[f32]) {
    for dy in dy.chunks_exact(dbias.len()) {
        for (db, dy) in dbias.iter_mut().zip(dy) {
            *db += dy;
        }
    }
}

/// [`backward_bias`] of the layers that have one.
pub fn backward_biases<const K: usize>(layers: [BiasGradient; K]) {
    for BiasGradient { dbias, dy } in layers.into_iter().filter(|layer| !layer.dbias.is_empty()) {
        backward_bias(dbias, dy);
    }
}
