//! Decoding with a key-value cache, bit for bit the training forward: the same chains on the same tile, so
//! the sampler's log-probs *are* the trainer's, and PPO needs no second forward for its old log-probs.

use alloc::vec;
use alloc::vec::Vec;

use super::config::ModelConfig;
use super::layout::Head;
use super::transformer::Transformer;
use crate::engine::cpu::attention::{self, Cache};
use crate::engine::cpu::gemm::gemm;
use crate::engine::cpu::packed::Packed;
use crate::engine::cpu::{embedding, few_rows, gelu, layer_norm};
use crate::engine::{Init, Matrix, Precision, Shape};

/// A model's weights for decoding. The parameters must not change while it lives.
pub struct DecodeWeights<'a> {
    model: &'a Transformer,
    parameters: &'a [f32],
    blocks: Vec<BlockWeights<'a>>,
    /// `W^T` (C, V) of the language-model head.
    head: Weight<'a>,
}

struct BlockWeights<'a> {
    attn: Weight<'a>,
    attn_proj: Weight<'a>,
    fc: Weight<'a>,
    fc_proj: Weight<'a>,
}

/// A weight matrix: packed for many products of few rows, or as it lies among the parameters.
enum Weight<'a> {
    Packed(Packed),
    Plain { precision: Precision, inputs: usize, outputs: usize, matrix: Matrix<'a> },
}

/// Rows up to which a matrix is better read where it lies than packed for a single product.
const FEW: usize = 16;

impl Weight<'_> {
    fn bytes(&self) -> usize {
        match self {
            Weight::Packed(packed) => packed.bytes(),
            Weight::Plain { matrix, .. } => size_of_val(matrix.data),
        }
    }

    /// `C = init + A B`: the same bits in each form.
    fn multiply(&self, a: &[f32], init: Init, c: &mut [f32]) {
        match (self, init) {
            (Weight::Packed(packed), _) => packed.multiply(a, init, c),
            (Weight::Plain { precision: Precision::F32, inputs, matrix, .. }, Init::Bias(bias))
                if matrix.column == 1 && a.len() <= FEW * inputs =>
            {
                few_rows::multiply(a, matrix.data, bias, c);
            }
            (Weight::Plain { precision, inputs, outputs, matrix }, _) => {
                let a = Matrix::new(a, *inputs);
                gemm(*precision, c.len() / outputs, *outputs, *inputs, a, *matrix, init, c);
            }
        }
    }
}

impl<'a> DecodeWeights<'a> {
    /// Packs the weights of a language model, for decoding many tokens.
    pub fn new(model: &'a Transformer, parameters: &'a [f32]) -> Self {
        let precision = model.config.precision;
        let pack = |inputs, outputs, matrix| Weight::Packed(Packed::new(precision, inputs, outputs, matrix));
        Self::with(model, parameters, pack)
    }

    /// Takes the weights as they lie, for a prompt alone: reading it costs less than packing them.
    pub fn plain(model: &'a Transformer, parameters: &'a [f32]) -> Self {
        let precision = model.config.precision;
        Self::with(model, parameters, |inputs, outputs, matrix| Weight::Plain {
            precision,
            inputs,
            outputs,
            matrix,
        })
    }

    fn with(
        model: &'a Transformer,
        parameters: &'a [f32],
        weight: impl Fn(usize, usize, Matrix<'a>) -> Weight<'a>,
    ) -> Self {
        assert_eq!(model.head, Head::LanguageModel, "only a language model generates");
        let (c, f, v) = (model.config.width, model.config.inner, model.config.vocab_size);
        let of = |range: &core::ops::Range<usize>, inputs, outputs| {
            weight(inputs, outputs, Matrix::new(&parameters[range.clone()], outputs))
        };
        let blocks = model
            .layout
            .blocks
            .iter()
            .map(|at| BlockWeights {
                attn: of(&at.attn_weight, c, 3 * c),
                attn_proj: of(&at.attn_proj_weight, c, c),
                fc: of(&at.fc_weight, c, f),
                fc_proj: of(&at.fc_proj_weight, f, c),
            })
            .collect();
        let head = weight(c, v, Matrix::transposed(&parameters[model.layout.head.clone()], c));
        DecodeWeights { model, parameters, blocks, head }
    }

    /// Whether they lie as they are, and are to be packed when more than a prompt is decoded.
    pub fn is_plain(&self) -> bool {
        matches!(self.head, Weight::Plain { .. })
    }

    /// The same weights packed.
    pub fn packed(&self) -> DecodeWeights<'a> {
        DecodeWeights::new(self.model, self.parameters)
    }

    /// Bytes of the weights: what a step reads.
    pub fn bytes(&self) -> usize {
        let block =
            |b: &BlockWeights| b.attn.bytes() + b.attn_proj.bytes() + b.fc.bytes() + b.fc_proj.bytes();
        self.blocks.iter().map(block).sum::<usize>() + self.head.bytes()
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.model.config
    }
}

/// The decoding state of a number of sequences: their caches and the working memory of a call.
pub struct Decoder<'a> {
    weights: &'a DecodeWeights<'a>,
    capacity: usize,
    /// Tokens cached so far, per slot.
    lengths: Vec<usize>,
    /// Keys of every (layer, slot, head).
    keys: Vec<f32>,
    /// Values of every (layer, slot, head).
    values: Vec<f32>,
    work: Work,
}

/// Working memory for N token rows; grows to the largest call and stays.
#[derive(Default)]
struct Work {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    /// Where each sequence's rows begin, and the last one's end.
    offsets: Vec<usize>,
    x: Vec<f32>,
    normed: Vec<f32>,
    stats: Vec<f32>,
    qkv: Vec<f32>,
    heads: Vec<f32>,
    attention: Vec<f32>,
    branch: Vec<f32>,
    fc: Vec<f32>,
    gelu: Vec<f32>,
    last: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// Room for `slots` sequences of up to `capacity` tokens each.
    pub fn new(weights: &'a DecodeWeights<'a>, slots: usize, capacity: usize) -> Self {
        let config = weights.config();
        assert!(capacity <= config.context, "capacity {capacity} over the context {}", config.context);
        let (hs, heads) = (config.head_size(), slots * config.layers * config.heads);
        Decoder {
            weights,
            capacity,
            lengths: vec![0; slots],
            keys: vec![0.0; heads * Cache::keys_len(capacity, hs)],
            values: vec![0.0; heads * Cache::values_len(capacity, hs)],
            work: Work::default(),
        }
    }

    /// Goes on with the same weights in their other form.
    pub fn go_on_with(&mut self, weights: &'a DecodeWeights<'a>) {
        assert_eq!(self.weights.parameters.as_ptr(), weights.parameters.as_ptr(), "other weights");
        self.weights = weights;
    }

    /// Tokens cached in a slot.
    pub fn len(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    /// Whether nothing is cached in any slot.
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&length| length == 0)
    }

    /// Forgets a slot's sequence.
    pub fn reset(&mut self, slot: usize) {
        self.lengths[slot] = 0;
    }

    /// Appends tokens (at least one each) to sequences, slots ascending, and returns the logits that follow
    /// each one's last token, (sequences, V).
    pub fn extend(&mut self, sequences: &[(usize, &[u32])]) -> &[f32] {
        assert!(sequences.is_sorted_by(|a, b| a.0 < b.0), "the slots do not ascend");
        let DecodeWeights { model, parameters, blocks, head } = self.weights;
        let config = &model.config;
        let (c, f, hs, epsilon) = (config.width, config.inner, config.head_size(), config.layer_norm_epsilon);
        let p = |range: &core::ops::Range<usize>| &parameters[range.clone()];
        let w = &mut self.work;
        w.tokens.clear();
        w.positions.clear();
        w.offsets.clear();
        w.offsets.push(0);
        for &(slot, tokens) in sequences {
            let length = self.lengths[slot];
            assert!(!tokens.is_empty() && length + tokens.len() <= self.capacity, "no tokens, or too many");
            w.tokens.extend_from_slice(tokens);
            w.positions.extend(length as u32..(length + tokens.len()) as u32);
            w.offsets.push(w.tokens.len());
            self.lengths[slot] += tokens.len();
        }
        let n = w.tokens.len();
        let grow = |buffer: &mut Vec<f32>, len: usize| buffer.resize(len, 0.0);
        for buffer in [&mut w.x, &mut w.normed, &mut w.heads, &mut w.attention, &mut w.branch] {
            grow(buffer, n * c);
        }
        for buffer in [&mut w.fc, &mut w.gelu] {
            grow(buffer, n * f);
        }
        grow(&mut w.stats, n * 2);
        grow(&mut w.qkv, n * 3 * c);
        grow(&mut w.last, sequences.len() * c);
        grow(&mut w.logits, sequences.len() * config.vocab_size);

        embedding::forward(&mut w.x, &w.tokens, &w.positions, p(&model.layout.wte), p(&model.layout.wpe));
        let slots = self.lengths.len() * config.heads;
        let (keys_len, values_len) =
            (Cache::keys_len(self.capacity, hs), Cache::values_len(self.capacity, hs));
        let keys = self.keys.chunks_exact_mut(slots * keys_len);
        let layers = keys.zip(self.values.chunks_exact_mut(slots * values_len)).enumerate();
        for ((block, at), (layer, (keys, values))) in blocks.iter().zip(&model.layout.blocks).zip(layers) {
            let (weight, bias) = (p(&at.ln_1_weight), p(&at.ln_1_bias));
            layer_norm::forward(&mut w.normed, &mut w.stats, &w.x, weight, bias, epsilon);
            block.attn.multiply(&w.normed, Init::Bias(p(&at.attn_bias)), &mut w.qkv);
            let pairs = keys.chunks_exact_mut(keys_len).zip(values.chunks_exact_mut(values_len));
            let mut caches: Vec<Cache> = pairs
                .enumerate()
                .filter(|(pair, _)| sequences.binary_search_by_key(&(pair / config.heads), |s| s.0).is_ok())
                .map(|(_, (keys, values))| Cache { keys, values, capacity: self.capacity })
                .collect();
            let (heads, window) = (config.heads, config.window(layer));
            let shape = Shape { offsets: &w.offsets, heads, head_size: hs, window };
            attention::decode(&mut w.heads, &mut caches, &w.qkv, &w.positions, shape);
            attention::merge_heads(&mut w.attention, &w.heads, c, 0, shape);
            block.attn_proj.multiply(&w.attention, Init::Bias(p(&at.attn_proj_bias)), &mut w.branch);
            add(&mut w.x, &w.branch);
            let (weight, bias) = (p(&at.ln_2_weight), p(&at.ln_2_bias));
            layer_norm::forward(&mut w.normed, &mut w.stats, &w.x, weight, bias, epsilon);
            block.fc.multiply(&w.normed, Init::Bias(p(&at.fc_bias)), &mut w.fc);
            gelu::forward(&mut w.gelu, &w.fc, config.activation);
            block.fc_proj.multiply(&w.gelu, Init::Bias(p(&at.fc_proj_bias)), &mut w.branch);
            add(&mut w.x, &w.branch);
        }
        for (&end, last) in w.offsets[1..].iter().zip(w.last.chunks_exact_mut(c)) {
            last.copy_from_slice(&w.x[(end - 1) * c..][..c]);
        }
        let (normed, stats) = (&mut w.normed[..w.last.len()], &mut w.stats[..2 * sequences.len()]);
        let (weight, bias) = (p(&model.layout.ln_f_weight), p(&model.layout.ln_f_bias));
        layer_norm::forward(normed, stats, &w.last, weight, bias, epsilon);
        head.multiply(normed, Init::Zero, &mut w.logits);
        &w.logits
    }
}

fn add(x: &mut [f32], branch: &[f32]) {
    x.iter_mut().zip(branch).for_each(|(x, branch)| *x += branch);
}
