//! Fast equals definition, to the bit, over random shapes, tails and numbers of threads: for the operations whose
//! files have no more to test. The others have this test of their own.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::engine::{
    Activation, AdamConstants, Address, BiasGradient, Dropout, Linear, NormGradient, Outputs, Precision,
    Target, WeightGradient, WeightMatrix, plain,
};
use crate::num::par;
use crate::num::rng::{Purpose, Rng, Stage};

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
    (0..n).map(|_| rng.normal()).collect()
}

fn bits(buffers: &[Vec<f32>]) -> Vec<Vec<u32>> {
    buffers.iter().map(|buffer| buffer.iter().map(|x| x.to_bits()).collect()).collect()
}

/// What `fast` makes of some buffers on some threads, and what `defined` makes of them.
fn both<const N: usize>(
    threads: usize,
    buffers: [Vec<f32>; N],
    fast: impl FnOnce([&mut [f32]; N]) + Send,
    defined: impl FnOnce([&mut [f32]; N]),
) -> [Vec<Vec<u32>>; 2] {
    let (mut ours, mut theirs) = (buffers.clone(), buffers);
    par::with_threads(threads, || fast(ours.each_mut().map(|buffer| &mut buffer[..])));
    defined(theirs.each_mut().map(|buffer| &mut buffer[..]));
    [bits(&ours), bits(&theirs)]
}

fn precision() -> impl Strategy<Value = Precision> {
    prop_oneof![Just(Precision::F32), Just(Precision::Bf16)]
}

/// Where sequences of these lengths begin, and N.
fn offsets(lengths: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    lengths.iter().for_each(|t| offsets.push(offsets[offsets.len() - 1] + t));
    offsets
}

fn addresses(n: usize) -> Vec<Address> {
    (0..n).map(|t| Address { sequence: t as u64 / 5, position: t as u32 % 5 }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn embedding_equals_definition(n in 0usize..90, c in 1usize..400, threads in 1usize..4, seed: u64) {
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Text, 0, 0, 0);
        let [tokens, positions] = [120, 70].map(|rows| (0..n).map(|_| rng.below(rows) as u32).collect::<Vec<_>>());
        let (wte, wpe, dx) = (noise(seed, 120 * c), noise(seed ^ 1, 70 * c), noise(seed ^ 2, n * c));
        let [fast, defined] = both(threads, [vec![f32::NAN; n * c], wte.clone(), wpe.clone()],
            |[x, dwte, dwpe]| {
                embedding::forward(x, &tokens, &positions, &wte, &wpe);
                embedding::backward(dwte, &dx, &tokens);
                embedding::backward(dwpe, &dx, &positions);
            },
            |[x, dwte, dwpe]| {
                plain::embedding::forward(x, &tokens, &positions, &wte, &wpe);
                plain::embedding::backward(dwte, &dx, &tokens);
                plain::embedding::backward(dwpe, &dx, &positions);
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn layer_norm_equals_definition(n in 0usize..90, c in 1usize..400, threads in 1usize..4, seed: u64) {
        let (x, dy, gamma, beta) = (noise(seed, n * c), noise(seed ^ 1, n * c), noise(seed ^ 2, c), noise(seed ^ 3, c));
        let buffers = [vec![f32::NAN; n * c], vec![f32::NAN; n * 2], noise(seed ^ 4, n * c), gamma.clone(), beta.clone()];
        let [fast, defined] = both(threads, buffers,
            |[y, stats, dx, dgamma, dbeta]| {
                layer_norm::forward(y, stats, &x, &gamma, &beta, 1e-5);
                layer_norm::backward_input(dx, &dy, &x, stats, &gamma);
                layer_norm::backward_parameters_of([NormGradient { dgamma, dbeta, dy: &dy, x: &x, stats }]);
            },
            |[y, stats, dx, dgamma, dbeta]| {
                plain::layer_norm::forward(y, stats, &x, &gamma, &beta, 1e-5);
                plain::layer_norm::backward_input(dx, &dy, &x, stats, &gamma);
                plain::layer_norm::backward_parameters(dgamma, dbeta, &dy, &x, stats);
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn linear_equals_definition(
        lengths in prop::collection::vec(0usize..20, 1..4), inputs in 1usize..60, outputs in 1usize..90,
        with_bias: bool, precision in precision(), threads in 1usize..4, seed: u64,
    ) {
        let offsets = offsets(&lengths);
        let n = offsets[lengths.len()];
        let (x, dy) = (noise(seed, n * inputs), noise(seed ^ 1, n * outputs));
        let parameters = noise(seed ^ 2, (inputs + 1) * outputs);
        let (weight, bias) = (0..inputs * outputs, inputs * outputs..parameters.len());
        let at = Linear { weight: weight.clone(), outputs, bias: with_bias.then_some(bias.clone()) };
        let (weight, bias) = (&parameters[weight], &parameters[bias]);
        let matrix = WeightMatrix { at: at.weight.clone(), inputs, outputs, transposed: false };
        let head = WeightMatrix { at: at.weight.clone(), inputs: outputs, outputs: inputs, transposed: true };
        let buffers = [
            vec![f32::NAN; n * outputs],
            vec![f32::NAN; n * outputs],
            vec![f32::NAN; n * inputs],
            vec![f32::NAN; n * inputs],
            vec![f32::NAN; n * inputs],
            weight.to_vec(),
            bias.to_vec(),
        ];
        let [fast, defined] = both(threads, buffers,
            |[y, packed_y, logits, packed_logits, dx, dweight, dbias]| {
                let w = linear::Weights::new(&parameters, precision);
                linear::forward(y, &x, &w, &at);
                linear::logits(logits, &dy, outputs, &w, &at.weight);
                linear::forward(packed_y, &x, &linear::Weights::packed(&parameters, precision, &[matrix]), &at);
                let w = linear::Weights::packed(&parameters, precision, &[head]);
                linear::logits(packed_logits, &dy, outputs, &w, &at.weight);
                linear::backward_input(precision, dx, &dy, weight, outputs);
                linear::backward_weights(precision, [WeightGradient { dweight, dy: &dy, x: &x, outputs }], &offsets);
                linear::backward_biases([BiasGradient { dbias, dy: &dy }]);
            },
            |[y, packed_y, logits, packed_logits, dx, dweight, dbias]| {
                let w = plain::linear::Weights::new(&parameters, precision);
                plain::linear::forward(y, &x, &w, &at);
                plain::linear::logits(logits, &dy, outputs, &w, &at.weight);
                packed_y.copy_from_slice(y);
                packed_logits.copy_from_slice(logits);
                plain::linear::backward_input(precision, dx, &dy, weight, outputs);
                plain::linear::backward_weight(precision, dweight, &dy, &x, outputs, &offsets);
                plain::linear::backward_bias(dbias, &dy);
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn gelu_equals_definition(n in 0usize..40_000, exact: bool, threads in 1usize..4, seed: u64) {
        let activation = if exact { Activation::Gelu } else { Activation::GeluTanh };
        let x = noise(seed, n);
        let [fast, defined] = both(threads, [vec![f32::NAN; n], noise(seed ^ 1, n)],
            |[y, dy]| {
                gelu::forward(y, &x, activation);
                gelu::backward(dy, &x, activation);
            },
            |[y, dy]| {
                plain::gelu::forward(y, &x, activation);
                plain::gelu::backward(dy, &x, activation);
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn dropout_equals_definition(
        n in 0usize..90, c in 1usize..400, rate in 0.0f32..0.9, none: bool, threads in 1usize..4, seed: u64,
    ) {
        let dropout = (!none).then_some(Dropout { rate, seed, stage: Stage::Test, step: 7 });
        let (x, branch, rows) = (noise(seed, n * c), noise(seed ^ 1, n * c), addresses(n));
        let [fast, defined] = both(threads, [vec![f32::NAN; n * c], vec![f32::NAN; n * c]],
            |[y, dbranch]| {
                dropout::add(y, &x, &branch, &rows, 3, dropout);
                dropout::backward(dbranch, &x, &rows, 3, dropout);
            },
            |[y, dbranch]| {
                plain::dropout::add(y, &x, &branch, &rows, 3, dropout);
                plain::dropout::backward(dbranch, &x, &rows, 3, dropout);
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn log_prob_equals_definition(
        lengths in prop::collection::vec(0usize..30, 1..4), skipped in 1u64..4, c in 1usize..40,
        vocab in 1usize..120, temperature in prop_oneof![Just(1.0f32), 0.3f32..2.0], precision in precision(),
        threads in 1usize..4, seed: u64,
    ) {
        let offsets = offsets(&lengths);
        let n = offsets[lengths.len()];
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Text, 0, 0, 0);
        let targets: Vec<Target> = (0..n as u32)
            .filter(|&row| skipped == 1 || !(u64::from(row) ^ seed).is_multiple_of(skipped))
            .map(|row| Target { row, token: rng.below(vocab) as u32 })
            .collect();
        let (hidden, weight, slopes) =
            (noise(seed, n * c), noise(seed ^ 1, vocab * c), noise(seed ^ 2, targets.len()));
        let outputs = || vec![f32::NAN; targets.len()];
        let buffers = [outputs(), outputs(), outputs(), outputs(), noise(seed ^ 3, n * c), noise(seed ^ 4, vocab * c)];
        let [fast, defined] = both(threads, buffers,
            |[log_probs, entropies, more_log_probs, more_entropies, dhidden, dweight]| {
                let mut work = log_prob::Workspace::with_chunk(16, vocab, c);
                let outputs = Outputs { log_probs, entropies };
                log_prob::forward(precision, outputs, &hidden, &weight, c, &targets, temperature, &mut work);
                let outputs = Outputs { log_probs: more_log_probs, entropies: more_entropies };
                log_prob::forward_backward(
                    precision, outputs, dhidden, dweight, &hidden, &weight, c, &targets, &offsets, temperature,
                    &slopes, None, &mut work,
                );
            },
            |[log_probs, entropies, more_log_probs, more_entropies, dhidden, dweight]| {
                let outputs = Outputs { log_probs, entropies };
                plain::log_prob::forward(
                    precision, outputs, &hidden, &weight, c, &targets, temperature, &mut plain::log_prob::Workspace);
                let outputs = Outputs { log_probs: more_log_probs, entropies: more_entropies };
                plain::log_prob::forward_backward(
                    precision, outputs, dhidden, dweight, &hidden, &weight, c, &targets, &offsets, temperature,
                    &slopes, None, &mut plain::log_prob::Workspace,
                );
            });
        prop_assert_eq!(fast, defined);
    }

    #[test]
    fn softmax_equals_definition(vocab in 1usize..300, impossible in 0usize..5, warm: bool, seed: u64) {
        let temperature = if warm { 1.7 } else { 1.0 };
        let mut logits = noise(seed, vocab);
        logits.iter_mut().skip(1).take(impossible).for_each(|x| *x = f32::NEG_INFINITY);
        let (mut fast, mut defined) = (logits.clone(), logits);
        let summaries = [log_prob::softmax(&mut fast, temperature), plain::log_prob::softmax(&mut defined, temperature)];
        let [fast_summary, summary] = summaries.map(|s| [s.max, s.log_sum, s.entropy].map(f32::to_bits));
        prop_assert_eq!(fast_summary, summary);
        prop_assert_eq!(bits(&[fast]), bits(&[defined]));
    }

    #[test]
    fn adamw_equals_definition(n in 0usize..20_000, averaged: bool, still: bool, threads in 1usize..4, seed: u64) {
        let constants = AdamConstants {
            gradient_scale: 0.7,
            beta1: 0.9,
            rest1: 0.1,
            beta2: 0.95,
            rest2: 0.05,
            root_scale: 1.3,
            epsilon: 1e-8,
            rate: if still { 0.0 } else { 0.01 },
            keep: 0.999,
            average_rest: 0.008,
        };
        let gradients = noise(seed, n);
        let squares = noise(seed ^ 3, n).into_iter().map(|x| x * x).collect();
        let [fast, defined] = both(threads, [noise(seed ^ 1, n), noise(seed ^ 2, n), squares, noise(seed ^ 4, n)],
            |[p, m, v, e]| adamw::update(p, &gradients, m, v, averaged.then_some(e), constants),
            |[p, m, v, e]| plain::adamw::update(p, &gradients, m, v, averaged.then_some(e), constants));
        prop_assert_eq!(fast, defined);
    }
}

#[test]
fn chunks_of_logits_are_equal() {
    let chunk = log_prob::chunk;
    assert_eq!(chunk(50257, 1024), 343, "three of 417 at most");
    assert_eq!(chunk(50257, 8192), 411, "twenty");
    assert_eq!([chunk(50257, 256), chunk(65, 768)], [256, 768], "one for all");
    assert_eq!([chunk(50257, 3), chunk(65, 4096), chunk(65, 0)], [16, 1024, 16], "the least and the most");
}
