//! Decoding with a key-value cache, bit for bit the training forward: the same chains on the same tile, so
//! the sampler's log-probs *are* the trainer's, and PPO needs no second forward for its old log-probs.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::config::ModelConfig;
use super::layout::Head;
use super::transformer::Transformer;
use crate::kernel::few_rows;
use crate::kernel::gemm::{Init, Matrix, Packed, gemm};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::ops::attention::Cache;
use crate::ops::{embedding, gelu, layer_norm, log_prob};

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
    Plain { inputs: usize, outputs: usize, matrix: Matrix<'a> },
}

/// Rows up to which a matrix is better read where it lies than packed for a single product.
const FEW: usize = 16;

impl Weight<'_> {
    /// `C = init + A B`: the same bits in each form.
    fn multiply(&self, a: &[f32], init: Init, c: &mut [f32]) {
        match (self, init) {
            (Weight::Packed(packed), _) => packed.multiply(a, init, c),
            (Weight::Plain { inputs, matrix, .. }, Init::Bias(bias))
                if matrix.column == 1 && a.len() <= FEW * inputs =>
            {
                few_rows::multiply(a, matrix.data, bias, c);
            }
            (Weight::Plain { inputs, outputs, matrix }, _) => {
                let a = Matrix::new(a, *inputs);
                gemm(c.len() / outputs, *outputs, *inputs, a, *matrix, init, c);
            }
        }
    }
}

impl<'a> DecodeWeights<'a> {
    /// Packs the weights of a language model, for decoding many tokens.
    pub fn new(model: &'a Transformer, parameters: &'a [f32]) -> Self {
        let pack = |inputs, outputs, matrix| Weight::Packed(Packed::new(inputs, outputs, matrix));
        Self::with(model, parameters, pack)
    }

    /// Takes the weights as they lie, for a prompt alone: reading it costs less than packing them.
    pub fn plain(model: &'a Transformer, parameters: &'a [f32]) -> Self {
        Self::with(model, parameters, |inputs, outputs, matrix| Weight::Plain { inputs, outputs, matrix })
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

    fn is_plain(&self) -> bool {
        matches!(self.head, Weight::Plain { .. })
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
    /// Keys of every (slot, layer, head).
    keys: Vec<f32>,
    /// Values of every (slot, layer, head).
    values: Vec<f32>,
    work: Work,
}

/// Working memory for N token rows; grows to the largest call and stays.
#[derive(Default)]
struct Work {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    x: Vec<f32>,
    normed: Vec<f32>,
    stats: Vec<f32>,
    qkv: Vec<f32>,
    attention: Vec<f32>,
    branch: Vec<f32>,
    fc: Vec<f32>,
    gelu: Vec<f32>,
    scores: Vec<f32>,
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

    /// Appends tokens (at least one each) to sequences and returns the logits that follow each one's last
    /// token, (sequences, V).
    pub fn extend(&mut self, sequences: &[(usize, &[u32])]) -> &mut [f32] {
        let DecodeWeights { model, parameters, blocks, head } = self.weights;
        let config = &model.config;
        let (c, f, hs, epsilon) = (config.width, config.inner, config.head_size(), config.layer_norm_epsilon);
        let p = |range: &core::ops::Range<usize>| &parameters[range.clone()];
        let w = &mut self.work;
        w.tokens.clear();
        w.positions.clear();
        for &(slot, tokens) in sequences {
            let length = self.lengths[slot];
            assert!(!tokens.is_empty() && length + tokens.len() <= self.capacity, "no tokens, or too many");
            w.tokens.extend_from_slice(tokens);
            w.positions.extend(length as u32..(length + tokens.len()) as u32);
        }
        let n = w.tokens.len();
        let grow = |buffer: &mut Vec<f32>, len: usize| buffer.resize(len, 0.0);
        for buffer in [&mut w.x, &mut w.normed, &mut w.attention, &mut w.branch] {
            grow(buffer, n * c);
        }
        for buffer in [&mut w.fc, &mut w.gelu] {
            grow(buffer, n * f);
        }
        grow(&mut w.stats, n * 2);
        grow(&mut w.qkv, n * 3 * c);
        grow(&mut w.scores, self.capacity.next_multiple_of(64));
        grow(&mut w.last, sequences.len() * c);
        grow(&mut w.logits, sequences.len() * config.vocab_size);

        embedding::forward(&mut w.x, &w.tokens, &w.positions, p(&model.layout.wte), p(&model.layout.wpe));
        for (layer, (block, at)) in blocks.iter().zip(&model.layout.blocks).enumerate() {
            layer_norm::forward(
                &mut w.normed,
                &mut w.stats,
                &w.x,
                p(&at.ln_1_weight),
                p(&at.ln_1_bias),
                epsilon,
            );
            block.attn.multiply(&w.normed, Init::Bias(p(&at.attn_bias)), &mut w.qkv);
            let mut row = 0;
            for &(slot, tokens) in sequences {
                for t in self.lengths[slot]..self.lengths[slot] + tokens.len() {
                    let qkv = &w.qkv[row * 3 * c..][..3 * c];
                    for (h, out) in w.attention[row * c..][..c].chunks_exact_mut(hs).enumerate() {
                        let number = (slot * config.layers + layer) * config.heads + h;
                        let (keys, values) =
                            (Cache::keys_len(self.capacity, hs), Cache::values_len(self.capacity, hs));
                        let mut cache = Cache {
                            keys: &mut self.keys[number * keys..][..keys],
                            values: &mut self.values[number * values..][..values],
                            capacity: self.capacity,
                        };
                        cache.push(t, &qkv[c + h * hs..][..hs], &qkv[2 * c + h * hs..][..hs]);
                        cache.attend(out, &mut w.scores, &qkv[h * hs..][..hs], t, config.window(layer));
                    }
                    row += 1;
                }
            }
            block.attn_proj.multiply(&w.attention, Init::Bias(p(&at.attn_proj_bias)), &mut w.branch);
            add(&mut w.x, &w.branch);
            layer_norm::forward(
                &mut w.normed,
                &mut w.stats,
                &w.x,
                p(&at.ln_2_weight),
                p(&at.ln_2_bias),
                epsilon,
            );
            block.fc.multiply(&w.normed, Init::Bias(p(&at.fc_bias)), &mut w.fc);
            gelu::forward(&mut w.gelu, &w.fc, config.activation);
            block.fc_proj.multiply(&w.gelu, Init::Bias(p(&at.fc_proj_bias)), &mut w.branch);
            add(&mut w.x, &w.branch);
        }
        let mut row = 0;
        for (&(slot, tokens), last) in sequences.iter().zip(w.last.chunks_exact_mut(c)) {
            row += tokens.len();
            last.copy_from_slice(&w.x[(row - 1) * c..][..c]);
            self.lengths[slot] += tokens.len();
        }
        let (normed, stats) = (&mut w.normed[..w.last.len()], &mut w.stats[..2 * sequences.len()]);
        layer_norm::forward(
            normed,
            stats,
            &w.last,
            p(&model.layout.ln_f_weight),
            p(&model.layout.ln_f_bias),
            epsilon,
        );
        head.multiply(normed, Init::Zero, &mut w.logits);
        &mut w.logits
    }
}

fn add(x: &mut [f32], branch: &[f32]) {
    x.iter_mut().zip(branch).for_each(|(x, branch)| *x += branch);
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most probable token. PPO samples at 1 (paper, appendix C.4).
    pub temperature: f32,
    /// Only the k most probable tokens may be drawn; 0: all.
    pub top_k: usize,
    /// Only the smallest set of most probable tokens whose probabilities reach p may be drawn; 1: all.
    pub top_p: f32,
    /// Most tokens of a response, the end-of-text token included.
    pub max_new_tokens: usize,
    /// Ends a response.
    pub end_of_text: Option<u32>,
}

/// A sampled response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// Its tokens, the end-of-text token included if it ended by itself.
    pub tokens: Vec<u32>,
    /// Log-prob of each under the full distribution at the sampling temperature (at 1 where that is 0).
    pub log_probs: Vec<f32>,
    /// Entropy of each step's full distribution, in nats.
    pub entropies: Vec<f32>,
    /// Whether it ended with the end-of-text token.
    pub ended: bool,
}

/// Addresses a response's draws: token `t` is drawn at (seed, stage, step, episode, t).
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Seed of the run.
    pub seed: u64,
    /// Stage of the run.
    pub stage: Stage,
    /// Step or iteration.
    pub step: u64,
    /// Number of the response within the step.
    pub episode: u64,
}

/// Samples one response to each prompt. Responses end at `end_of_text`, at `max_new_tokens` or where the
/// context ends. Neither the company of other prompts nor threads change a response.
///
/// `progress` is called with the number of tokens just sampled, and returns whether to go on; if not, the
/// responses are left unfinished.
pub fn generate(
    weights: &DecodeWeights,
    prompts: &[&[u32]],
    sampling: &Sampling,
    draws: &[Draw],
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Vec<Response> {
    assert_eq!(prompts.len(), draws.len(), "one draw address per prompt");
    let mut responses = vec![Response::default(); prompts.len()];
    // Each group decodes by itself; more than 32 in a group would only cost memory.
    let group = prompts.len().div_ceil(crate::num::par::threads()).clamp(1, 32);
    // Split over groups of whole sequences.
    crate::num::par::for_each(crate::num::par::rows(&mut responses, 1), group, |first, responses| {
        for (g, responses) in responses.data.chunks_mut(group).enumerate() {
            let at = first + g * group;
            let (prompts, draws) = (&prompts[at..][..responses.len()], &draws[at..][..responses.len()]);
            generate_group(weights, prompts, sampling, draws, responses, progress);
        }
    });
    responses
}

fn generate_group(
    weights: &DecodeWeights,
    prompts: &[&[u32]],
    sampling: &Sampling,
    draws: &[Draw],
    responses: &mut [Response],
    progress: &(dyn Fn(usize) -> bool + Sync),
) {
    let config = weights.config();
    let limit = |slot: usize| limit(config, prompts[slot].len(), sampling);
    let capacity = (0..prompts.len()).map(|slot| prompts[slot].len() + limit(slot)).max().unwrap_or(0);
    let mut decoder = Decoder::new(weights, prompts.len(), capacity.min(config.context));
    let mut chooser = Chooser::default();
    let mut active: Vec<usize> = Vec::new();
    // Prompts one at a time: together they would need the memory of all.
    for slot in (0..prompts.len()).filter(|&slot| limit(slot) > 0) {
        let logits = decoder.extend(&[(slot, prompts[slot])]);
        chooser.choose(logits, sampling, draws[slot], &mut responses[slot]);
        active.push(slot);
        if !progress(1) {
            return;
        }
    }
    let mut last: Vec<[u32; 1]> = Vec::new();
    loop {
        active.retain(|&slot| !responses[slot].ended && responses[slot].tokens.len() < limit(slot));
        if active.is_empty() {
            return;
        }
        last.clear();
        last.extend(active.iter().map(|&slot| [responses[slot].tokens[responses[slot].tokens.len() - 1]]));
        let sequences: Vec<(usize, &[u32])> =
            active.iter().zip(&last).map(|(&slot, token)| (slot, token.as_slice())).collect();
        let logits = decoder.extend(&sequences);
        for (logits, &slot) in logits.chunks_exact_mut(config.vocab_size).zip(&active) {
            chooser.choose(logits, sampling, draws[slot], &mut responses[slot]);
        }
        if !progress(active.len()) {
            return;
        }
    }
}

/// Most tokens of a response to a prompt of `prompt` tokens. It may fill the context, not overflow it: reward
/// model and trainer read it whole.
fn limit(config: &ModelConfig, prompt: usize, sampling: &Sampling) -> usize {
    sampling.max_new_tokens.min(config.context.saturating_sub(prompt))
}

/// [`generate`] for a single prompt, handing on each token as it is drawn; `each` returns whether to go on.
/// Weights that are [plain](DecodeWeights::plain) are packed when there is to be a second token.
pub fn generate_one(
    weights: &DecodeWeights,
    prompt: &[u32],
    sampling: &Sampling,
    draw: Draw,
    mut each: impl FnMut(u32) -> bool,
) -> Response {
    let limit = limit(weights.config(), prompt.len(), sampling);
    let mut response = Response::default();
    if limit == 0 {
        return response;
    }
    let packed = OnceCell::new();
    let mut decoder = Decoder::new(weights, 1, prompt.len() + limit);
    let mut chooser = Chooser::default();
    let mut latest;
    let mut next = prompt;
    loop {
        chooser.choose(decoder.extend(&[(0, next)]), sampling, draw, &mut response);
        let token = response.tokens[response.tokens.len() - 1];
        if !each(token) || response.ended || response.tokens.len() == limit {
            return response;
        }
        if weights.is_plain() {
            decoder.weights = packed.get_or_init(|| DecodeWeights::new(weights.model, weights.parameters));
        }
        latest = [token];
        next = &latest;
    }
}

/// Chooses tokens; keeps its working memory.
#[derive(Default)]
struct Chooser {
    order: Vec<u32>,
    original: Vec<f32>,
}

impl Chooser {
    /// Draws a token from a row of logits (which it uses up) and appends it to the response.
    fn choose(&mut self, logits: &mut [f32], sampling: &Sampling, draw: Draw, response: &mut Response) {
        let temperature = if sampling.temperature == 0.0 { 1.0 } else { sampling.temperature };
        self.original.clear();
        self.original.extend_from_slice(logits);
        let summary = log_prob::softmax(logits, temperature);
        let token = if sampling.temperature == 0.0 {
            greatest(logits)
        } else {
            let position = response.tokens.len() as u64;
            let mut rng = Rng::at(draw.seed, draw.stage, Purpose::Sample, draw.step, draw.episode, position);
            self.draw(logits, sampling, rng.uniform())
        };
        response.tokens.push(token);
        response.log_probs.push(summary.log_prob(self.original[token as usize], temperature));
        response.entropies.push(summary.entropy);
        response.ended = Some(token) == sampling.end_of_text;
    }

    /// Inverts the cumulative distribution at `u` in [0, 1): probabilities are added in token order, in f64.
    /// With top-k or top-p, the tokens outside the set get probability 0 first; equal ones rank by token.
    fn draw(&mut self, p: &mut [f32], sampling: &Sampling, u: f32) -> u32 {
        let most = if sampling.top_k == 0 { p.len() } else { sampling.top_k.min(p.len()) };
        if most < p.len() || sampling.top_p < 1.0 {
            self.order.clear();
            self.order.extend(0..p.len() as u32);
            self.order.sort_unstable_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
            let (mut kept, mut mass) = (0, 0.0);
            while kept < most && (kept == 0 || mass < f64::from(sampling.top_p)) {
                mass += f64::from(p[self.order[kept] as usize]);
                kept += 1;
            }
            self.order[kept..].iter().for_each(|&token| p[token as usize] = 0.0);
        }
        let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
        let (mut cumulative, threshold, mut last) = (0.0, f64::from(u) * total, 0);
        for (token, &p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            cumulative += f64::from(p);
            last = token;
            if cumulative > threshold {
                break;
            }
        }
        last as u32
    }
}

fn greatest(p: &[f32]) -> u32 {
    let mut best = 0;
    for (token, &candidate) in p.iter().enumerate() {
        if candidate > p[best] {
            best = token;
        }
    }
    best as u32
}
