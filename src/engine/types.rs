//! What the operations of every engine are told: shapes, addresses and constants.

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::num::math::sqrt;
use crate::num::rng::Stage;

/// What the operands of a product are rounded to. Sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Nothing: they are f32.
    #[default]
    F32,
    /// bf16: half the memory to read, and half the instructions where the processor has one for pairs.
    Bf16,
    /// tf32 on a GPU's tensor cores: bits of their own, the same from run to run. A processor computes it as
    /// [`Precision::F32`].
    Tf32,
    /// bf16 on a GPU's tensor cores: bits of their own, the same from run to run. A processor computes it as
    /// [`Precision::Bf16`].
    #[serde(rename = "bf16-fast")]
    Bf16Fast,
}

impl Precision {
    /// The precision that configurations, models and flags call `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "f32" => Some(Precision::F32),
            "bf16" => Some(Precision::Bf16),
            "tf32" => Some(Precision::Tf32),
            "bf16-fast" => Some(Precision::Bf16Fast),
            _ => None,
        }
    }

    /// That name.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Tf32 => "tf32",
            Precision::Bf16Fast => "bf16-fast",
        }
    }

    /// The precision with one definition that comes nearest, in which a processor computes.
    pub fn exact(self) -> Precision {
        match self {
            Precision::F32 | Precision::Tf32 => Precision::F32,
            Precision::Bf16 | Precision::Bf16Fast => Precision::Bf16,
        }
    }

    /// Whether the results have one definition, down to the bit, on every device.
    pub fn is_exact(self) -> bool {
        matches!(self, Precision::F32 | Precision::Bf16)
    }
}

/// A matrix anywhere in a buffer: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The buffer.
    pub data: &'a [f32],
    /// Stride between rows.
    pub row: usize,
    /// Stride between columns.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with rows of `width`.
    pub fn new(data: &'a [f32], width: usize) -> Self {
        Matrix { data, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix with rows of `width`.
    pub fn transposed(data: &'a [f32], width: usize) -> Self {
        Matrix { data, row: 1, column: width }
    }

    /// Element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row + j * self.column]
    }
}

/// Where the chains of a product start.
#[derive(Clone, Copy)]
pub enum Init<'a> {
    /// At +0.
    Zero,
    /// At `bias[j]`, shape (n).
    Bias(&'a [f32]),
    /// At what C holds.
    Accumulate,
}

/// The shape of a call of attention.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// Token offsets of the sequences, (B + 1). The buffers' first row is the first offset's.
    pub offsets: &'a [usize],
    /// NH.
    pub heads: usize,
    /// HS.
    pub head_size: usize,
    /// How many of the latest positions (its own included) a token sees.
    pub window: usize,
    /// Whether scores are divided by `sqrt(HS)`.
    pub scaled: bool,
}

impl Shape<'_> {
    /// B.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// N, the token rows of all sequences.
    pub fn tokens(&self) -> usize {
        self.offsets[self.sequences()] - self.offsets[0]
    }

    /// The token rows of a sequence.
    pub fn rows(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence] - self.offsets[0]..self.offsets[sequence + 1] - self.offsets[0]
    }

    /// Positions of its sequence that position `t` sees.
    pub fn visible(&self, t: usize) -> Range<usize> {
        (t + 1).saturating_sub(self.window)..t + 1
    }

    /// What every score is multiplied by: `1 / sqrt(HS)`, or 1.
    pub fn scale(&self) -> f32 {
        scale(self.head_size, self.scaled)
    }
}

/// What scores of heads of that size are multiplied by: `1 / sqrt(HS)`, or 1, which changes no bit.
pub(crate) fn scale(head_size: usize, scaled: bool) -> f32 {
    if scaled { 1.0 / sqrt(head_size as f32) } else { 1.0 }
}

/// The MLP's nonlinearity; configurations write "gelu" and "gelu_tanh". GPT-2 and GPT-3 use
/// [`Activation::GeluTanh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x/2 * (1 + erf(x/sqrt 2))`: Hugging Face's `gelu`.
    Gelu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: Hugging Face's `gelu_new` and `gelu_pytorch_tanh`.
    GeluTanh,
}

/// Where a step's dropout masks come from. A mask bit is a function of (seed, stage, step, sequence, position,
/// site, column) alone, so the backward draws it again instead of storing it.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability that an element is dropped, in [0, 1).
    pub rate: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Stage of the run.
    pub stage: Stage,
    /// Optimizer step.
    pub step: u64,
}

/// The address of a token row's random draws: its sequence's number in the step, and its position there.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Number of the sequence in the step's batch (not in the micro-batch).
    pub sequence: u64,
    /// Position of the token in its sequence.
    pub position: u32,
}

/// A target of the language-model head: a hidden row and the token that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Row of `hidden`.
    pub row: u32,
    /// The next token, below V.
    pub token: u32,
}

/// What the language-model head says of each target, in order.
pub struct Outputs<'a> {
    /// `ln p(token | tokens so far)` in nats, (targets).
    pub log_probs: &'a mut [f32],
    /// Entropy of the whole distribution in nats, (targets).
    pub entropies: &'a mut [f32],
}

/// Sums that several add to, one after another. They are handed on in [`pieces`], so that the next one has something to
/// do while this one goes on.
pub trait Relayed {
    /// A piece of so many sums as the one before has left them; none of the first one's, which begins at 0.
    fn take_over(&mut self, count: usize) -> Option<Vec<f32>>;

    /// Hands a piece on.
    fn hand_on(&mut self, sums: Vec<f32>);
}

/// The pieces in which a matrix with rows of `width` at `at` is handed on: about 1 MB each, and whole rows.
pub fn pieces(at: &Range<usize>, width: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let (end, piece) = (at.end, ((1 << 18) / width).max(1) * width);
    at.clone().step_by(piece).map(move |start| start..end.min(start + piece))
}

/// What a softmax says of a row of logits x (already divided by the temperature).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// `m = max x`.
    pub max: f32,
    /// `sum of exp(x - m)`.
    pub sum: f32,
    /// Its logarithm.
    pub log_sum: f32,
    /// Entropy in nats: `ln(sum) - sum of p * (x - m)`.
    pub entropy: f32,
}

impl Summary {
    /// The log-prob of a token whose logit, before the division by the temperature, is `logit`.
    pub fn log_prob(&self, logit: f32, temperature: f32) -> f32 {
        (logit / temperature - self.max) - self.log_sum
    }
}

/// The constants of one step of AdamW on one tensor, bias corrections included: see
/// [`adamw`](crate::engine::plain::adamw).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConstants {
    /// What the gradient is multiplied by: the clipping scale.
    pub gradient_scale: f32,
    /// `b1`, the decay of the first moment.
    pub beta1: f32,
    /// `1 - b1`.
    pub rest1: f32,
    /// `b2`, the decay of the second moment.
    pub beta2: f32,
    /// `1 - b2`.
    pub rest2: f32,
    /// What the root of the second moment is multiplied by.
    pub root_scale: f32,
    /// What is then added to it.
    pub epsilon: f32,
    /// What the quotient is multiplied by: the learning rate, corrected.
    pub rate: f32,
    /// `1 - lr w`, which weight decay leaves of a parameter.
    pub keep: f32,
    /// `1 - d`, how far the average moves to the parameter.
    pub average_rest: f32,
}

/// Where a layer norm's gain and bias lie among the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Norm {
    /// The gain, (C).
    pub weight: Range<usize>,
    /// The bias, (C).
    pub bias: Range<usize>,
}

impl Norm {
    /// All of it.
    pub fn range(&self) -> Range<usize> {
        self.weight.start..self.bias.end
    }
}

/// Where a linear layer lies among the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// The weight, (inputs, outputs).
    pub weight: Range<usize>,
    /// O.
    pub outputs: usize,
    /// The bias, (outputs), of a layer that has one.
    pub bias: Option<Range<usize>>,
}

impl Linear {
    /// All of it.
    pub fn range(&self) -> Range<usize> {
        self.weight.start..self.bias.as_ref().unwrap_or(&self.weight).end
    }

    /// I.
    pub fn inputs(&self) -> usize {
        self.weight.len() / self.outputs
    }
}

/// The gradient of a linear layer's weight, and what is added to it: `dW += x^T dy`.
pub struct WeightGradient<'a> {
    /// dW, (I, O).
    pub dweight: &'a mut [f32],
    /// (N, O).
    pub dy: &'a [f32],
    /// (N, I).
    pub x: &'a [f32],
    /// O.
    pub outputs: usize,
}

/// The gradient of a layer's bias, and what is added to it: `db += sum of dy`.
pub struct BiasGradient<'a> {
    /// (O); empty where the layer has no bias.
    pub dbias: &'a mut [f32],
    /// (N, O).
    pub dy: &'a [f32],
}

/// The gradients of a layer norm's parameters, and what is added to them: `dgamma += sum of dy x^`, `dbeta += sum of dy`.
pub struct NormGradient<'a> {
    /// (C).
    pub dgamma: &'a mut [f32],
    /// (C).
    pub dbeta: &'a mut [f32],
    /// (N, C).
    pub dy: &'a [f32],
    /// What was normalised, (N, C).
    pub x: &'a [f32],
    /// Mean and r of each row, (N, 2).
    pub stats: &'a [f32],
}

/// A weight matrix among the parameters, as a product `x W` has it: W (inputs, outputs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightMatrix {
    /// Where it lies.
    pub at: Range<usize>,
    /// Columns of x.
    pub inputs: usize,
    /// Columns of the product.
    pub outputs: usize,
    /// Whether it lies as (outputs, inputs): the language-model head.
    pub transposed: bool,
}

/// The attention heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// NH.
    pub count: usize,
    /// HS.
    pub size: usize,
    /// How many of the latest positions (its own included) a token sees.
    pub window: usize,
    /// Whether scores are divided by `sqrt(HS)`.
    pub scaled: bool,
}

/// What numbers the rows of an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// Tokens: `wte`.
    Token,
    /// Positions: `wpe`.
    Position,
}
