//! All memory of a forward and backward pass, planned once; a step allocates nothing.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::config::ModelConfig;
use crate::engine::cpu::attention;
use crate::engine::cpu::gemm;
use crate::num::scratch;

/// What one block keeps for its backward.
pub struct BlockActivations {
    /// First layer norm's output, (N, C).
    pub ln_1: Vec<f32>,
    /// Its mean and 1/deviation, (N, 2).
    pub ln_1_stats: Vec<f32>,
    /// Queries, (N; NH, HS): head-major within each sequence, see [`attention`].
    pub q: Vec<f32>,
    /// Keys, (N; NH, HS).
    pub k: Vec<f32>,
    /// Values, (N; NH, HS).
    pub v: Vec<f32>,
    /// Maximum and 1/sum of every softmax, (N; NH, 2).
    pub attention_stats: Vec<f32>,
    /// Attention's output as token rows, (N, C).
    pub attention: Vec<f32>,
    /// The residual stream between attention and MLP, (N, C).
    pub x_middle: Vec<f32>,
    /// Second layer norm's output, (N, C).
    pub ln_2: Vec<f32>,
    /// Its mean and 1/deviation, (N, 2).
    pub ln_2_stats: Vec<f32>,
    /// MLP before GELU, (N, F).
    pub fc: Vec<f32>,
    /// MLP after GELU, (N, F).
    pub gelu: Vec<f32>,
}

/// Buffers that every block uses in turn.
pub struct Shared {
    /// Queries, keys and values side by side, (N, 3C); in the backward their gradient.
    pub qkv: Vec<f32>,
    /// Attention's output, head-major, (N; NH, HS).
    pub out: Vec<f32>,
    /// A branch before it joins the residual stream, (N, C); in the backward the gradient of attention's.
    pub branch: Vec<f32>,
    /// Gradient of the MLP's branch, (N, C).
    pub d_branch: Vec<f32>,
    /// Gradient of the second layer norm's output, (N, C).
    pub d_ln_2: Vec<f32>,
    /// Gradient of the attention rows, and then of the first layer norm's output, (N, C).
    pub d_rows: Vec<f32>,
    /// Gradient inside the MLP, (N, F).
    pub d_inner: Vec<f32>,
    /// Gradients of out, q, k, v, head-major, (N; NH, HS) each.
    pub d_heads: [Vec<f32>; 4],
}

/// The activations of a trunk for up to a planned number of token rows.
pub struct Activations {
    /// Rows there is room for.
    pub max_tokens: usize,
    /// The residual stream entering each block and leaving the last, (N, C) each: L + 1 of them for
    /// training, two for inference, which blocks read and write by turns.
    pub x: Vec<Vec<f32>>,
    /// L for training, a single one for inference.
    pub blocks: Vec<BlockActivations>,
    /// Shared working memory.
    pub shared: Shared,
    /// Final layer norm's output, which the heads read, (N, C).
    pub hidden: Vec<f32>,
    /// Its mean and 1/deviation, (N, 2).
    pub ln_f_stats: Vec<f32>,
    /// Gradient of `hidden`, filled by the heads, (N, C).
    pub d_hidden: Vec<f32>,
    /// Gradient of the residual stream, (N, C).
    pub d_x: Vec<f32>,
}

impl Activations {
    /// Plans a training pass of up to `max_tokens` rows in sequences of up to `context` tokens.
    pub fn for_training(config: &ModelConfig, max_tokens: usize) -> Self {
        Self::plan(config, max_tokens, true)
    }

    /// Plans a forward pass alone, which keeps nothing.
    pub fn for_inference(config: &ModelConfig, max_tokens: usize) -> Self {
        Self::plan(config, max_tokens, false)
    }

    fn plan(config: &ModelConfig, n: usize, training: bool) -> Self {
        let (c, f, stats) = (config.width, config.inner, 2 * config.heads);
        let block = || BlockActivations {
            ln_1: vec![0.0; n * c],
            ln_1_stats: vec![0.0; n * 2],
            q: vec![0.0; n * c],
            k: vec![0.0; n * c],
            v: vec![0.0; n * c],
            attention_stats: vec![0.0; n * stats],
            attention: vec![0.0; n * c],
            x_middle: vec![0.0; n * c],
            ln_2: vec![0.0; n * c],
            ln_2_stats: vec![0.0; n * 2],
            fc: vec![0.0; n * f],
            gelu: vec![0.0; n * f],
        };
        let kept = if training { config.layers } else { 1 };
        let back = |len: usize| vec![0.0; if training { len } else { 0 }];
        scratch::reserve(
            scratch::Use::Attention,
            attention::workspace(config.context.min(n), config.head_size()),
        );
        gemm::reserve();
        Activations {
            max_tokens: n,
            x: (0..kept + 1).map(|_| vec![0.0; n * c]).collect(),
            blocks: (0..kept).map(|_| block()).collect(),
            shared: Shared {
                qkv: vec![0.0; n * 3 * c],
                out: vec![0.0; n * c],
                branch: vec![0.0; n * c],
                d_branch: back(n * c),
                d_ln_2: back(n * c),
                d_rows: back(n * c),
                d_inner: back(n * f),
                d_heads: core::array::from_fn(|_| back(n * c)),
            },
            hidden: vec![0.0; n * c],
            ln_f_stats: vec![0.0; n * 2],
            d_hidden: back(n * c),
            d_x: back(n * c),
        }
    }

    /// Where a forward pass of `rows` tokens first left the numbers: the layer whose output it was, and what
    /// was found. A pass planned for inference overwrites its blocks, so there only `hidden` tells.
    pub fn first_non_finite(&self, rows: usize) -> Option<(String, f32)> {
        let kept = if self.d_x.is_empty() { &[] } else { self.blocks.as_slice() };
        let mut outputs = vec![];
        if !kept.is_empty() {
            outputs.push(("the embedding".to_string(), &self.x[0]));
        }
        for (layer, (block, leaving)) in kept.iter().zip(self.x.iter().skip(1)).enumerate() {
            let names = ["ln_1", "attn.c_attn", "attn.c_attn", "attn.c_attn", "attn", "attn.c_proj", "ln_2"];
            let buffers =
                [&block.ln_1, &block.q, &block.k, &block.v, &block.attention, &block.x_middle, &block.ln_2];
            let inner = [("mlp.c_fc", &block.fc), ("mlp.act", &block.gelu), ("mlp.c_proj", leaving)];
            let all = names.into_iter().zip(buffers).chain(inner);
            outputs.extend(all.map(|(name, buffer)| (format!("h.{layer}.{name}"), buffer)));
        }
        outputs.push(("ln_f".to_string(), &self.hidden));
        outputs.into_iter().find_map(|(name, buffer)| {
            let row = buffer.len() / self.max_tokens;
            Some((name, buffer[..rows * row].iter().copied().find(|x| !x.is_finite())?))
        })
    }
}
