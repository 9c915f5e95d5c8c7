//! Floor 1: the engine. An [`Engine`] has memory and some thirty operations on it; a transformer is composed of them
//! once, in `model`, for every engine.
//!
//! | engine | what it is |
//! |---|---|
//! | [`plain`](Plain) | the definition: plain loops, to be read first and the oracle of every test |
//! | [`cpu`](Cpu) | the fast one: register tiles, packed operands, threads |
//! | `cuda` | the same on an NVIDIA GPU, with the feature `cuda` |
//!
//! The files of all have the same names and functions of the same signatures; [`host`] calls them by the names of
//! the [table of activations](activations). Whatever the engine, the bits are the same.
//!
//! # Conventions
//! Buffers are row-major, shapes stand in the docs, `dx` is the gradient of `x`. A backward says of each gradient
//! whether it *overwrites* (`=`) or *adds to* (`+=`) what is there. Gradients of parameters always add, token by
//! token in the order of the batch, so that a batch cut in pieces gives the bits of the whole.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

pub mod activations;
pub mod batch;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub(crate) mod device;
pub mod host;
pub mod plain;
pub mod sampling;
mod types;

pub use activations::Name;
pub use batch::Batch;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use device::{Device, check_devices};
pub use sampling::{Choice, Choosing};
pub use types::*;

/// The operations of a transformer and the memory they work on.
///
/// Activations are [rows](Engine::Rows): views of every buffer of the table for the token rows of some whole
/// sequences, and the operations name the buffers they read and write. Parameters and their gradients are flat
/// buffers, and the operations are told where in them to look.
pub trait Engine: Copy + Send + Sync + 'static {
    /// f32 numbers in the engine's memory.
    type Buffer: Send + Sync;
    /// Token rows of whole sequences: their tokens, and a view of every activation.
    type Rows<'a>: Send;
    /// Parameters as the forward multiplies with them.
    type Weights<'a>: Sync;
    /// Keys and values of sequences that are being decoded.
    type Cache: Send + Sync;
    /// Working memory of the language-model head.
    type Head: Send + Sync;

    /// Sequences that are decoded together, by each thread if the host's decode: more would only cost memory.
    const DECODED: usize = 32;
    /// Whether the operations are the host's threads' work, so that decoding is shared out to them.
    const ON_HOST: bool = true;

    // Memory.

    /// A buffer that holds `values`.
    fn buffer(&self, values: Vec<f32>) -> Self::Buffer;
    /// What a buffer holds.
    fn values<'a>(&self, buffer: &'a Self::Buffer) -> Cow<'a, [f32]>;
    /// What a buffer holds at `at`.
    fn read(&self, buffer: &Self::Buffer, at: &Range<usize>) -> Vec<f32>;
    /// `buffer[at] = values`.
    fn write(&self, buffer: &mut Self::Buffer, at: &Range<usize>, values: &[f32]);
    /// `buffer = 0`.
    fn clear(&self, buffer: &mut Self::Buffer);
    /// `sum[at] += part`, elementwise.
    fn add(&self, sum: &mut Self::Buffer, at: &Range<usize>, part: &Self::Buffer);
    /// The first of a buffer's numbers that is infinite or NaN.
    fn first_non_finite(&self, buffer: &Self::Buffer) -> Option<usize>;

    /// The rows of `batch` in the given buffers, one for each name, of which each has `widths[name]` numbers a row.
    fn rows<'a>(
        &self,
        batch: &'a Batch,
        buffers: [&'a mut Self::Buffer; activations::COUNT],
        widths: [usize; activations::COUNT],
    ) -> Self::Rows<'a>;
    /// Runs `body`, which treats each sequence by itself, on all rows: at once, or on parts of at least `least` rows
    /// side by side.
    fn regions(&self, rows: &mut Self::Rows<'_>, least: usize, body: impl Fn(&mut Self::Rows<'_>) + Sync);
    /// `x = 0`.
    fn clear_rows(&self, rows: &mut Self::Rows<'_>, x: Name);
    /// What `x` holds, (N, its width).
    fn values_in_rows(&self, rows: &mut Self::Rows<'_>, x: Name) -> Vec<f32>;
    /// Makes sure that no operation on up to `tokens` rows of sequences of up to `context` has to allocate.
    fn reserve(&self, heads: Heads, context: usize);

    /// The parameters as they lie, for passes and for short decoding.
    fn weights<'a>(&self, parameters: &'a Self::Buffer, precision: Precision) -> Self::Weights<'a>;
    /// The parameters with these matrices packed, for decoding many tokens. They must not change meanwhile.
    fn pack<'a>(
        &self,
        parameters: &'a Self::Buffer,
        precision: Precision,
        matrices: &[WeightMatrix],
    ) -> Self::Weights<'a>;

    // The trunk.

    /// `X[t] = wte[token] + wpe[position]`; wte (V, C), wpe (context, C).
    fn embedding(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        wte: &Range<usize>,
        wpe: &Range<usize>,
    );
    /// `table[index of t] += dx[t]` for t ascending; the table lies at `at`.
    fn embedding_backward(
        &self,
        rows: &mut Self::Rows<'_>,
        dx: Name,
        index: Index,
        table: &mut Self::Buffer,
        at: &Range<usize>,
    );

    /// `y = (x - mean) r * weight + bias`, `r = 1 / sqrt(variance + epsilon)`; x, y (N, C); stats (N, 2) keeps mean
    /// and r.
    fn layer_norm(
        &self,
        rows: &mut Self::Rows<'_>,
        y_stats: (Name, Name),
        x: Name,
        w: &Self::Weights<'_>,
        at: &Norm,
        epsilon: f32,
    );
    /// `dx += r (g - mean(g) - x^ mean(g x^))`, `g = dy * weight`, `x^ = (x - mean) r`; all (N, C).
    fn layer_norm_backward(
        &self,
        rows: &mut Self::Rows<'_>,
        dx: Name,
        dy: Name,
        x_stats: (Name, Name),
        w: &Self::Weights<'_>,
        at: &Norm,
    );
    /// `dweight += sum of dy x^`, `dbias += sum of dy`, over the rows in order, of several norms `(dy, (x, stats), at)`.
    fn layer_norm_parameters<const K: usize>(
        &self,
        rows: &mut Self::Rows<'_>,
        norms: [(Name, (Name, Name), &Norm); K],
        gradients: &mut Self::Buffer,
    );

    /// `y = x W + b`; x (N, I), W (I, O), b (O), y (N, O). Without a bias `y = x W`.
    fn linear(&self, rows: &mut Self::Rows<'_>, y: Name, x: Name, w: &Self::Weights<'_>, at: &Linear);
    /// `dx = dy W^T`.
    fn linear_backward(
        &self,
        rows: &mut Self::Rows<'_>,
        dx: Name,
        dy: Name,
        w: &Self::Weights<'_>,
        at: &Linear,
    );
    /// `dW += x^T dy` and, where there is a bias, `db += sum of dy`, over the rows in order, of several layers
    /// `(dy, x, at)`.
    fn linear_parameters<const K: usize>(
        &self,
        rows: &mut Self::Rows<'_>,
        layers: [(Name, Name, &Linear); K],
        precision: Precision,
        gradients: &mut Self::Buffer,
    );

    /// Causal attention of each sequence to itself: from `Qkv` (N, 3C) to `Attention` (N, C). Keeps `Q`, `K`, `V`
    /// and `HeadsStats`. For query t over the s it sees,
    /// `out[t] = sum of softmax(q[t] . k[s] / sqrt(HS)) v[s]`; of heads that are not scaled, without `sqrt(HS)`.
    fn attention(&self, rows: &mut Self::Rows<'_>, heads: Heads);
    /// From the gradient of `Attention`, which is in `DLn1`, to that of `Qkv`, which takes its place.
    fn attention_backward(&self, rows: &mut Self::Rows<'_>, heads: Heads);
    /// A cache with room for `slots` sequences of up to `capacity` tokens.
    fn cache(&self, layers: usize, slots: usize, heads: Heads, capacity: usize) -> Self::Cache;
    /// [`Engine::attention`] of sequences that go on: appends the rows' keys and values to the cache of their slots
    /// (ascending, one for each sequence) and attends from each over all that its sequence has.
    fn attention_cached(
        &self,
        rows: &mut Self::Rows<'_>,
        heads: Heads,
        cache: &mut Self::Cache,
        layer: usize,
        slots: &[usize],
    );

    /// `y = GELU(x)`, elementwise.
    fn gelu(&self, rows: &mut Self::Rows<'_>, y: Name, x: Name, activation: Activation);
    /// `dx = dy GELU'(x)`, in place of dy.
    fn gelu_backward(&self, rows: &mut Self::Rows<'_>, dy: Name, x: Name, activation: Activation);

    /// `y = x + branch`, the branch under a dropout mask; all (N, C). `site` numbers the model's additions.
    fn residual(
        &self,
        rows: &mut Self::Rows<'_>,
        y: Name,
        x: Name,
        branch: Name,
        site: u32,
        dropout: Option<Dropout>,
    );
    /// `dbranch = dy`, under the same mask. The gradient of x is dy itself.
    fn residual_backward(
        &self,
        rows: &mut Self::Rows<'_>,
        dbranch: Name,
        dy: Name,
        site: u32,
        dropout: Option<Dropout>,
    );

    // The heads, which read `Hidden` (N, C) and write `DHidden`.

    /// Working memory for a head of V tokens and width C that is given up to `targets` targets.
    fn head(&self, vocab_size: usize, width: usize, targets: usize) -> Self::Head;
    /// Log-probs (nats) and entropies of the targets, both (targets), under `softmax(hidden W^T / temperature)`, W
    /// (V, C) at `at`. With `gradient`, which gives the loss's slope in each log-prob, at once the way back:
    /// `DHidden += dlogits W`, `dW += dlogits^T hidden`, `dlogits[v] = slope (1[v = token] - p[v]) / temperature`.
    /// With `relay`, W's sums come from there and go there, piece by piece.
    fn log_probs(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        temperature: f32,
        outputs: Outputs,
        gradient: Option<(&[f32], &mut Self::Buffer)>,
        relay: Option<&mut dyn Relayed>,
        work: &mut Self::Head,
    );
    /// `values[i] = hidden[rows of targets[i]] . w`, w (C) at `at`.
    fn scalars(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        values: &mut [f32],
    );
    /// `DHidden += slope w`, `dw += slope hidden`, target by target.
    fn scalars_backward(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        at: &Range<usize>,
        targets: &[Target],
        slopes: &[f32],
        gradients: &mut Self::Buffer,
    );
    /// `logits[i] = hidden[row of last[i]] W^T`, (last, V): what follows each sequence.
    fn logits(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        at: &Range<usize>,
        last: &[Target],
        logits: &mut [f32],
    );
    /// A token for each of `last`, drawn from those logits at `uniforms`, (last). `logits` is room for them, for an
    /// engine that draws in the host's memory.
    fn next_tokens(
        &self,
        rows: &mut Self::Rows<'_>,
        w: &Self::Weights<'_>,
        at: &Range<usize>,
        last: &[Target],
        how: Choosing,
        uniforms: &[f32],
        logits: &mut Vec<f32>,
    ) -> Vec<Choice>;

    // The optimizer.

    /// The L2 norm of all gradients; infinite where a square overflows.
    fn gradient_norm(&self, gradients: &Self::Buffer) -> f32;
    /// AdamW's update of the parameters at `at`, and of their average, if one is kept.
    fn adamw(
        &self,
        state: AdamState<'_, Self::Buffer>,
        gradients: &Self::Buffer,
        at: &Range<usize>,
        constants: AdamConstants,
    );
}

/// What AdamW changes, all as long as the parameters.
pub struct AdamState<'a, B> {
    /// The parameters.
    pub parameters: &'a mut B,
    /// Mean of the gradients.
    pub first_moment: &'a mut B,
    /// Mean of their squares.
    pub second_moment: &'a mut B,
    /// The average of the parameters.
    pub average: Option<&'a mut B>,
}

/// The fast engine: [`cpu`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu;

/// The definition: [`plain`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;
