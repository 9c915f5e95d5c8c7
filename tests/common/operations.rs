//! Every operation of an engine by itself, over random shapes and hostile numbers: tails of every length, zeros of both
//! signs, subnormal numbers, huge ones. Two engines must leave the same bits in every buffer, touched or not.

use instructgpt::engine::activations::{COUNT, NAMES, TABLE, Widths};
use instructgpt::engine::{
    Activation, AdamConstants, AdamState, Batch, Choosing, Dropout, Engine, Heads, Index, Linear, Name, Norm,
    Outputs, Plain, Precision, Target,
};
use instructgpt::num::rng::{Purpose, Rng, Stage};

/// What an operation works on.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Where the random numbers begin.
    pub seed: u64,
    /// Tokens of each sequence; 0 is a sequence too.
    pub lengths: Vec<usize>,
    /// NH, and HS.
    pub heads: (usize, usize),
    /// F.
    pub inner: usize,
    /// V.
    pub vocab: usize,
    /// Positions that a token sees.
    pub window: usize,
    /// What products round their operands to.
    pub precision: Precision,
    /// Which of the numbers' kinds: see [`Numbers`].
    pub hostile: bool,
}

impl Shape {
    fn width(&self) -> usize {
        self.heads.0 * self.heads.1
    }

    /// Every other seed's are scaled.
    fn heads(&self) -> Heads {
        let scaled = self.seed.is_multiple_of(2);
        Heads { count: self.heads.0, size: self.heads.1, window: self.window, scaled }
    }
}

/// Numbers of an ordinary size, or hostile ones: a third of them zeros of both signs, subnormal or large.
struct Numbers {
    rng: Rng,
    hostile: bool,
}

impl Numbers {
    fn next(&mut self) -> f32 {
        let x = self.rng.normal();
        match if self.hostile { self.rng.below(12) } else { 11 } {
            0 => 0.0,
            1 => -0.0,
            2 => x * 1e-39,
            3 => x * 1e4,
            _ => x,
        }
    }

    fn some(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The parameters of one of each layer, and where they lie.
struct Places {
    wte: std::ops::Range<usize>,
    wpe: std::ops::Range<usize>,
    norm: Norm,
    /// (C, 3C), (C, F) and (F, C), the last without a bias.
    attention: Linear,
    fc: Linear,
    fc_back: Linear,
    scalar: std::ops::Range<usize>,
    len: usize,
}

impl Places {
    fn new(shape: &Shape, context: usize) -> Places {
        let (c, f, mut len) = (shape.width(), shape.inner, 3);
        let mut take = |count: usize| {
            // Nothing begins at a round address.
            len += count + 1;
            len - count - 1..len - 1
        };
        let wte = take(shape.vocab * c);
        let wpe = take(context * c);
        let norm = Norm { weight: take(c), bias: take(c) };
        let mut linear = |inputs: usize, outputs: usize, bias: bool| {
            let weight = take(inputs * outputs);
            Linear { weight, outputs, bias: bias.then(|| take(outputs)) }
        };
        let (attention, fc, fc_back) = (linear(c, 3 * c, true), linear(c, f, true), linear(f, c, false));
        Places { wte, wpe, norm, attention, fc, fc_back, scalar: take(c), len }
    }
}

/// What an engine left, by the operation's name: all buffers, gradients and numbers that it gave.
pub type Left = Vec<(&'static str, Vec<Vec<u32>>)>;

/// Compares an engine with the definition.
pub fn check<E: Engine>(engine: E, shape: &Shape) {
    let (found, expected) = (all(engine, shape), all(Plain, shape));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "{name}, {shape:?}");
            let different = found.iter().zip(expected).position(|(a, b)| a != b && !both_nan(*a, *b));
            if let Some(at) = different {
                let [a, b] = [found[at], expected[at]].map(f32::from_bits);
                let buffer = NAMES.get(place).map_or("what it gave".into(), |name| format!("{name:?}"));
                panic!("{name}: {buffer}, number {at} is {a:e} instead of {b:e}; {shape:?}");
            }
        }
    }
}

fn both_nan(a: u32, b: u32) -> bool {
    f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan()
}

/// Every operation, each on buffers of its own content.
fn all<E: Engine>(e: E, shape: &Shape) -> Left {
    let mut left: Left = Vec::new();
    for (number, (name, operation)) in operations::<E>().into_iter().enumerate() {
        let mut bench = Bench::new(e, shape, number as u64);
        let mut gave = Vec::new();
        operation(&mut bench, &mut gave);
        let mut bits: Vec<Vec<u32>> = bench.buffers.iter().map(|buffer| bits(&e.values(buffer))).collect();
        bits.push(bench.values(&bench.gradients));
        bits.extend(bench.moments.iter().map(|moment| bench.values(moment)));
        bits.push(bench.values(&bench.parameters));
        bits.extend(gave);
        left.push((name, bits));
    }
    left
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// An engine's memory, filled.
struct Bench<'a, E: Engine> {
    e: E,
    shape: &'a Shape,
    at: Places,
    batch: Batch,
    widths: [usize; COUNT],
    buffers: [E::Buffer; COUNT],
    parameters: E::Buffer,
    gradients: E::Buffer,
    moments: [E::Buffer; 3],
    targets: Vec<Target>,
    slopes: Vec<f32>,
    uniforms: Vec<f32>,
}

impl<'a, E: Engine> Bench<'a, E> {
    fn new(e: E, shape: &'a Shape, number: u64) -> Self {
        let rng = Rng::at(shape.seed, Stage::Test, Purpose::Noise, number, 0, 0);
        let mut numbers = Numbers { rng, hostile: shape.hostile };
        let context = shape.lengths.iter().copied().max().unwrap_or(0).max(1);
        let mut batch = Batch::with_capacity(0, 0);
        for (i, &length) in shape.lengths.iter().enumerate() {
            let tokens: Vec<u32> = (0..length).map(|_| numbers.rng.below(shape.vocab) as u32).collect();
            batch.push(&tokens, (i as u64) << 31 | 5);
        }
        let (n, at) = (batch.len(), Places::new(shape, context));
        let widths = Widths { width: shape.width(), inner: shape.inner, heads: shape.heads.0 };
        let widths = TABLE.map(|buffer| (buffer.width)(widths));
        let buffers = widths.map(|width| e.buffer(numbers.some(n * width)));
        let parameters = e.buffer(numbers.some(at.len));
        let gradients = e.buffer(numbers.some(at.len));
        // The second moment is a mean of squares.
        let moments = [
            numbers.some(at.len),
            numbers.some(at.len).iter().map(|x| x.abs()).collect(),
            numbers.some(at.len),
        ];
        // Two of three rows are targets; some rows twice.
        let mut targets = Vec::new();
        for row in 0..n as u32 {
            for _ in 0..[0, 1, 1, 1, 1, 2][numbers.rng.below(6)] {
                targets.push(Target { row, token: numbers.rng.below(shape.vocab) as u32 });
            }
        }
        let slopes = numbers.some(targets.len());
        let uniforms = (0..targets.len()).map(|_| numbers.rng.uniform()).collect();
        let moments = moments.map(|moment| e.buffer(moment));
        Bench {
            e,
            shape,
            at,
            batch,
            widths,
            buffers,
            parameters,
            gradients,
            moments,
            targets,
            slopes,
            uniforms,
        }
    }

    fn values(&self, buffer: &E::Buffer) -> Vec<u32> {
        bits(&self.e.values(buffer))
    }

    /// Where the parameters lie, rows, weights and gradients, to be used side by side.
    fn parts(&mut self) -> (&Places, E::Rows<'_>, E::Weights<'_>, &mut E::Buffer) {
        let Bench { e, shape, at, batch, widths, buffers, parameters, gradients, .. } = self;
        let rows = e.rows(batch, buffers.each_mut(), *widths);
        (at, rows, e.weights(parameters, shape.precision), gradients)
    }

    fn rows(&mut self) -> E::Rows<'_> {
        self.e.rows(&self.batch, self.buffers.each_mut(), self.widths)
    }
}

type Operation<E> = fn(&mut Bench<'_, E>, &mut Vec<Vec<u32>>);

fn operations<E: Engine>() -> Vec<(&'static str, Operation<E>)> {
    use Name::*;
    vec![
        ("clear", |b, _| b.e.clear(&mut b.gradients)),
        ("add", |b, _| b.e.add(&mut b.gradients, &b.at.wte, &b.e.buffer(vec![1.5; b.at.wte.len()]))),
        ("first_non_finite", |b, gave| {
            let mut find = |values: Vec<f32>| {
                let found = b.e.first_non_finite(&b.e.buffer(values));
                gave.push(vec![found.map_or(u32::MAX, |at| at as u32)]);
            };
            find(vec![0.5; 9000]);
            for at in [0, 15, 16, 4095, 4096, 8967, 8999] {
                let mut values = vec![f32::MAX; 9000];
                (values[at], values[8999]) = (f32::NAN, f32::NEG_INFINITY);
                find(values);
            }
        }),
        ("clear_rows", |b, _| {
            let e = b.e;
            e.clear_rows(&mut b.rows(), DX);
        }),
        ("embedding", |b, _| {
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.embedding(&mut rows, &w, &at.wte, &at.wpe);
        }),
        ("embedding_backward", |b, _| {
            let e = b.e;
            let (at, mut rows, _, gradients) = b.parts();
            e.embedding_backward(&mut rows, DX, Index::Token, gradients, &at.wte);
            e.embedding_backward(&mut rows, DX, Index::Position, gradients, &at.wpe);
        }),
        ("layer_norm", |b, _| {
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.layer_norm(&mut rows, (Ln1, Ln1Stats), X, &w, &at.norm, 1e-5);
        }),
        ("layer_norm_backward", |b, _| {
            let e = b.e;
            let (at, mut rows, w, gradients) = b.parts();
            e.layer_norm_backward(&mut rows, DX, DLn1, (X, Ln1Stats), &w, &at.norm);
            e.layer_norm_parameters(&mut rows, [(DLn1, (X, Ln1Stats), &at.norm)], gradients);
        }),
        ("linear", |b, _| {
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.linear(&mut rows, Qkv, Ln1, &w, &at.attention);
            e.linear(&mut rows, Fc, Ln2, &w, &at.fc);
            e.linear(&mut rows, Branch, Gelu, &w, &at.fc_back);
        }),
        ("linear_backward", |b, _| {
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.linear_backward(&mut rows, DLn1, Qkv, &w, &at.attention);
            e.linear_backward(&mut rows, DFc, DBranch, &w, &at.fc_back);
        }),
        ("linear_parameters", |b, _| {
            let (e, shape) = (b.e, b.shape);
            let (at, mut rows, _, gradients) = b.parts();
            let precision = shape.precision;
            let layers = [(Qkv, Ln1, &at.attention), (DFc, Ln2, &at.fc), (DBranch, Gelu, &at.fc_back)];
            e.linear_parameters(&mut rows, layers, precision, gradients);
        }),
        ("attention", |b, _| {
            let (e, heads) = (b.e, b.shape.heads());
            e.attention(&mut b.rows(), heads);
        }),
        ("attention_backward", |b, _| {
            let (e, heads) = (b.e, b.shape.heads());
            // Of a softmax that was computed, not of anything.
            e.attention(&mut b.rows(), heads);
            e.attention_backward(&mut b.rows(), heads);
        }),
        ("attention_cached", |b, _| {
            let (e, heads) = (b.e, b.shape.heads());
            let slots: Vec<usize> = (0..b.batch.sequences()).map(|i| 2 * i + 1).collect();
            let capacity = b.shape.lengths.iter().copied().max().unwrap_or(0).max(1) + 3;
            let mut cache = e.cache(2, 2 * slots.len() + 1, heads, capacity);
            e.attention_cached(&mut b.rows(), heads, &mut cache, 1, &slots);
        }),
        ("gelu", |b, _| {
            let e = b.e;
            e.gelu(&mut b.rows(), Gelu, Fc, Activation::Gelu);
            e.gelu(&mut b.rows(), Branch, X, Activation::GeluTanh);
        }),
        ("gelu_backward", |b, _| {
            let e = b.e;
            e.gelu_backward(&mut b.rows(), DFc, Fc, Activation::Gelu);
            e.gelu_backward(&mut b.rows(), DX, X, Activation::GeluTanh);
        }),
        ("residual", |b, _| {
            let (e, seed) = (b.e, b.shape.seed);
            let dropout = Dropout { rate: 0.3, seed, stage: Stage::Sft, step: 1 << 40 };
            e.residual(&mut b.rows(), XMiddle, X, Branch, 3, Some(dropout));
            e.residual(&mut b.rows(), XOut, X, Branch, 3, None);
            e.residual_backward(&mut b.rows(), DBranch, DX, 7, Some(dropout));
            e.residual_backward(&mut b.rows(), DLn2, DX, 7, None);
        }),
        ("log_probs", |b, gave| {
            let count = b.targets.len();
            for temperature in [1.0, 0.7] {
                let mut outputs = [vec![0.0; count], vec![0.0; count]];
                let targets = b.targets.clone();
                let (e, shape) = (b.e, b.shape);
                let (at, mut rows, w, _) = b.parts();
                let mut head = e.head(shape.vocab, shape.width(), count.max(1));
                let [log_probs, entropies] = &mut outputs;
                let outputs_of = Outputs { log_probs, entropies };
                e.log_probs(&mut rows, &w, &at.wte, &targets, temperature, outputs_of, None, None, &mut head);
                gave.extend(outputs.iter().map(|values| bits(values)));
            }
        }),
        ("log_probs_backward", |b, gave| {
            let count = b.targets.len();
            for temperature in [1.0, 1.3] {
                let mut outputs = [vec![0.0; count], vec![0.0; count]];
                let (targets, slopes) = (b.targets.clone(), b.slopes.clone());
                let (e, shape) = (b.e, b.shape);
                let (at, mut rows, w, gradients) = b.parts();
                let mut head = e.head(shape.vocab, shape.width(), count.max(1));
                let [log_probs, entropies] = &mut outputs;
                let outputs_of = Outputs { log_probs, entropies };
                let gradient = Some((&slopes[..], gradients));
                e.log_probs(
                    &mut rows,
                    &w,
                    &at.wte,
                    &targets,
                    temperature,
                    outputs_of,
                    gradient,
                    None,
                    &mut head,
                );
                gave.extend(outputs.iter().map(|values| bits(values)));
            }
        }),
        ("scalars", |b, gave| {
            let (targets, mut values) = (b.targets.clone(), vec![0.0; b.targets.len()]);
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.scalars(&mut rows, &w, &at.scalar, &targets, &mut values);
            gave.push(bits(&values));
        }),
        ("scalars_backward", |b, _| {
            let (targets, slopes) = (b.targets.clone(), b.slopes.clone());
            let e = b.e;
            let (at, mut rows, w, gradients) = b.parts();
            e.scalars_backward(&mut rows, &w, &at.scalar, &targets, &slopes, gradients);
        }),
        ("logits", |b, gave| {
            let (targets, mut logits) = (b.targets.clone(), vec![0.0; b.targets.len() * b.shape.vocab]);
            let e = b.e;
            let (at, mut rows, w, _) = b.parts();
            e.logits(&mut rows, &w, &at.wte, &targets, &mut logits);
            gave.push(bits(&logits));
        }),
        ("next_tokens", |b, gave| {
            // Not of hostile numbers: a distribution that is no number has no token.
            if b.shape.hostile {
                return;
            }
            let (targets, uniforms) = (b.targets.clone(), b.uniforms.clone());
            let (e, vocab) = (b.e, b.shape.vocab);
            let (at, mut rows, w, _) = b.parts();
            for (temperature, top_k) in [(1.0, 0), (0.6, 0), (0.0, 0), (0.9, 3)] {
                let (how, mut room) = (Choosing { temperature, top_k, top_p: 1.0 }, Vec::new());
                let choices = e.next_tokens(&mut rows, &w, &at.wte, &targets, how, &uniforms, &mut room);
                gave.push(choices.iter().map(|choice| choice.token).collect());
                gave.push(choices.iter().map(|choice| choice.log_prob.to_bits()).collect());
                gave.push(choices.iter().map(|choice| choice.entropy.to_bits()).collect());
            }
            // Where the first half of the vocabulary ends: an error in adding up the probabilities moves it.
            let how = Choosing { temperature: 1.0, top_k: 0, top_p: 1.0 };
            let (mut from, mut to) = (vec![0.0; targets.len()], vec![1.0; targets.len()]);
            for _ in 0..26 {
                let middle: Vec<f32> = from.iter().zip(&to).map(|(from, to)| (from + to) / 2.0).collect();
                let choices = e.next_tokens(&mut rows, &w, &at.wte, &targets, how, &middle, &mut Vec::new());
                for (i, choice) in choices.iter().enumerate() {
                    let first_half = 2 * (choice.token as usize) < vocab;
                    *(if first_half { &mut from[i] } else { &mut to[i] }) = middle[i];
                }
            }
            gave.push(bits(&from));
            // Of equally probable tokens the first is the most probable.
            e.clear_rows(&mut rows, Hidden);
            let how = Choosing { temperature: 0.0, ..how };
            let choices = e.next_tokens(&mut rows, &w, &at.wte, &targets, how, &from, &mut Vec::new());
            assert!(choices.iter().all(|choice| choice.token == 0));
        }),
        ("gradient_norm", |b, gave| gave.push(vec![b.e.gradient_norm(&b.gradients).to_bits()])),
        ("adamw", |b, _| {
            let [first_moment, second_moment, average] = &mut b.moments;
            let constants = AdamConstants {
                gradient_scale: 0.7,
                beta1: 0.9,
                rest1: 0.1,
                beta2: 0.95,
                rest2: 0.05,
                root_scale: 1.1,
                epsilon: 1e-8,
                rate: 1e-3,
                keep: 0.999,
                average_rest: 0.008,
            };
            let mut step = |at: &std::ops::Range<usize>, average, constants| {
                let parameters = &mut b.parameters;
                let state = AdamState { parameters, first_moment, second_moment, average };
                b.e.adamw(state, &b.gradients, at, constants);
            };
            step(&b.at.attention.weight, Some(average), constants);
            step(&b.at.wte, None, constants);
            step(&b.at.norm.bias, None, AdamConstants { rate: 0.0, ..constants });
        }),
    ]
}

/// Compares products on tensor cores with the exact ones. Tensor cores round each operand by a part in 2^11 (tf32) or 2^8
/// (bf16) at most, so a product of k numbers is off by twice that of the sum of its terms' sizes, and by the f32
/// additions: k parts in 2^24, whatever their order.
pub fn check_products<E: Engine>(engine: E, shape: &Shape) {
    let rounding = if shape.precision == Precision::Tf32 { 2f64.powi(-11) } else { 2f64.powi(-8) };
    let found = products(engine, shape);
    assert_eq!(found, products(engine, shape), "not the same from run to run");
    let exactly = Shape { precision: Precision::F32, ..shape.clone() };
    let (exact, sizes) = (products(engine, &exactly), sizes_of_terms(&exactly));
    let mut differing = 0;
    for ((name, found), ((_, exact), (k, sizes))) in found.iter().zip(exact.iter().zip(&sizes)) {
        for i in 0..found.len() {
            let [found, exact, size] = [found[i], exact[i], sizes[i]].map(f64::from);
            let bound = size * (2.1 * rounding + *k as f64 * 2f64.powi(-23));
            let off = (found - exact).abs();
            assert!(off <= bound, "{name} {i}: {found} instead of {exact}, {off:e} over {bound:e}");
            differing += usize::from(off > 0.0);
        }
    }
    assert!(differing > 0, "{:?}: the exact kernels ran", shape.precision);
}

/// The products of linear layers, forward and both ways back, with biases and gradients that were there before.
fn products<E: Engine>(e: E, shape: &Shape) -> Vec<(&'static str, Vec<f32>)> {
    let mut bench = Bench::new(e, shape, 1);
    let at = [bench.at.attention.clone(), bench.at.fc_back.clone()];
    let mut rows = e.rows(&bench.batch, bench.buffers.each_mut(), bench.widths);
    let w = e.weights(&bench.parameters, shape.precision);
    e.linear(&mut rows, Name::Qkv, Name::Ln1, &w, &at[0]);
    e.linear(&mut rows, Name::Branch, Name::Gelu, &w, &at[1]);
    e.linear_backward(&mut rows, Name::DFc, Name::DBranch, &w, &at[1]);
    let layer = (Name::DLn2, Name::Fc, &at[1]);
    e.linear_parameters(&mut rows, [layer], shape.precision, &mut bench.gradients);
    let outputs = [Name::Qkv, Name::Branch, Name::DFc].map(|name| e.values_in_rows(&mut rows, name));
    let weight = e.values(&bench.gradients)[at[1].weight.clone()].to_vec();
    ["linear", "linear, back to C", "linear_backward", "linear_parameters"]
        .into_iter()
        .zip(outputs.into_iter().chain([weight]))
        .collect()
}

/// Of each number of [`products`]: how many terms it is the sum of, and the sum of their sizes.
fn sizes_of_terms(shape: &Shape) -> Vec<(usize, Vec<f32>)> {
    let mut bench = Bench::new(Plain, shape, 1);
    let n = bench.batch.len();
    for buffer in bench.buffers.iter_mut().chain([&mut bench.parameters, &mut bench.gradients]) {
        buffer.iter_mut().for_each(|x| *x = x.abs());
    }
    let at = [bench.at.attention.clone(), bench.at.fc_back.clone()];
    let mut rows = Plain.rows(&bench.batch, bench.buffers.each_mut(), bench.widths);
    let w = Plain.weights(&bench.parameters, Precision::F32);
    Plain.linear(&mut rows, Name::Qkv, Name::Ln1, &w, &at[0]);
    Plain.linear(&mut rows, Name::Branch, Name::Gelu, &w, &at[1]);
    Plain.linear_backward(&mut rows, Name::DFc, Name::DBranch, &w, &at[1]);
    let layer = (Name::DLn2, Name::Fc, &at[1]);
    Plain.linear_parameters(&mut rows, [layer], Precision::F32, &mut bench.gradients);
    let outputs = [Name::Qkv, Name::Branch, Name::DFc].map(|name| Plain.values_in_rows(&mut rows, name));
    let weight = bench.gradients[at[1].weight.clone()].to_vec();
    let terms = [shape.width(), shape.inner, shape.width(), n].map(|k| k + 1);
    terms.into_iter().zip(outputs.into_iter().chain([weight])).collect()
}
