//! The arithmetic contract at the level of the model: not one bit depends on threads, on the other
//! sequences of a batch, on how a batch is cut, or on decoding instead of training.

use std::sync::atomic::{AtomicUsize, Ordering};

use instructgpt::engine::cpu::log_prob::{self, Workspace};
use instructgpt::engine::{Dropout, Outputs, Target};
use instructgpt::model::sampling::{CACHED, PREFILL};
use instructgpt::model::{
    Activation, Activations, AttentionPattern, Batch, DecodeWeights, Decoder, Draw, Gradients, Head,
    ModelConfig, Precision, Response, Sampling, Transformer, generate, generate_one,
};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::{Purpose, Rng, Stage};

fn configurations() -> Vec<ModelConfig> {
    let dense = ModelConfig::gpt2(61, 40, 36, 2, 3);
    let mut banded = ModelConfig::gpt2(97, 50, 40, 3, 5);
    banded.attention = AttentionPattern::Alternating { window: 7 };
    banded.activation = Activation::Gelu;
    banded.inner = 52;
    banded.tied_head = false;
    // Odd everywhere: each product's last pair is half empty.
    let mut bf16 = ModelConfig::gpt2(61, 40, 35, 2, 5);
    bf16.inner = 51;
    bf16.precision = Precision::Bf16;
    vec![dense, banded, bf16]
}

fn parameters(model: &Transformer) -> Vec<f32> {
    // Far from the initialisation, so that every term matters.
    let mut rng = Rng::at(7, Stage::Test, Purpose::Test, 0, 0, 0);
    model.initialise(5).iter().map(|x| x + 0.1 * rng.normal()).collect()
}

fn sequences(config: &ModelConfig, lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut rng = Rng::at(11, Stage::Test, Purpose::Test, 0, 0, 0);
    lengths.iter().map(|&t| (0..t).map(|_| rng.below(config.vocab_size) as u32).collect()).collect()
}

struct Pass {
    hidden: Vec<u32>,
    log_probs: Vec<u32>,
    gradients: Vec<u32>,
}

/// A forward and backward of the mean next-token loss, the batch cut in pieces of `pieces` sequences.
fn pass(model: &Transformer, sequences: &[Vec<u32>], pieces: usize, chunk: usize, dropout: bool) -> Pass {
    let (config, parameters) = (&model.config, parameters(model));
    let (c, dropout) =
        (config.width, dropout.then_some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 9 }));
    let total: usize = sequences.iter().map(|s| s.len()).sum();
    let mut activations = Activations::for_training(config, total);
    let mut gradients = Gradients::new(model);
    let mut work = Workspace::with_chunk(chunk, config.vocab_size, c);
    let (mut hidden, mut all) = (vec![], vec![]);
    let slope = -1.0 / (total - sequences.len()) as f32;
    let mut number = 0;
    for sequences in sequences.chunks(pieces) {
        let mut batch = Batch::with_capacity(total, sequences.len());
        let mut targets = vec![];
        for sequence in sequences {
            let first = batch.push(sequence, number);
            number += 1;
            targets.extend(
                (1..sequence.len()).map(|t| Target { row: (first + t - 1) as u32, token: sequence[t] }),
            );
        }
        model.forward(&parameters, &batch, &mut activations, dropout);
        let n = batch.len() * c;
        hidden.extend_from_slice(&activations.hidden[..n]);
        activations.d_hidden[..n].fill(0.0);
        let (mut log_probs, mut entropies) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
        log_prob::forward_backward(
            config.precision,
            Outputs { log_probs: &mut log_probs, entropies: &mut entropies },
            &mut activations.d_hidden[..n],
            &mut gradients.flat[model.layout.head.clone()],
            &activations.hidden[..n],
            &parameters[model.layout.head.clone()],
            c,
            &targets,
            &batch.offsets,
            1.0,
            &vec![slope; targets.len()],
            &mut work,
        );
        model.backward(&parameters, &mut gradients, &batch, &mut activations, dropout);
        all.extend(log_probs);
    }
    gradients.finish(&model.layout);
    let bits = |xs: &[f32]| xs.iter().map(|x| x.to_bits()).collect();
    Pass { hidden: bits(&hidden), log_probs: bits(&all), gradients: bits(&gradients.flat) }
}

const LENGTHS: [usize; 5] = [9, 1, 23, 40, 17];

#[test]
fn threads_do_not_show() {
    for config in configurations() {
        let model = Transformer::new(config.clone(), Head::LanguageModel);
        // Enough for a region of sequences per thread, and too little for a second region.
        for sequences in [sequences(&config, &LENGTHS.repeat(15)), sequences(&config, &LENGTHS)] {
            let one = with_threads(1, || pass(&model, &sequences, 75, 64, true));
            for threads in [2, 3, 7] {
                let many = with_threads(threads, || pass(&model, &sequences, 75, 64, true));
                assert!(one.hidden == many.hidden && one.log_probs == many.log_probs);
                assert!(one.gradients == many.gradients, "{threads} threads");
            }
        }
    }
}

#[test]
fn micro_batches_and_head_chunks_do_not_show() {
    for config in configurations() {
        let model = Transformer::new(config.clone(), Head::LanguageModel);
        let sequences = sequences(&config, &LENGTHS);
        let whole = pass(&model, &sequences, 5, 256, true);
        for (pieces, chunk) in [(1, 16), (2, 33), (3, 100)] {
            let cut = pass(&model, &sequences, pieces, chunk, true);
            assert!(whole.hidden == cut.hidden && whole.log_probs == cut.log_probs);
            assert!(whole.gradients == cut.gradients, "pieces of {pieces}");
        }
    }
}

#[test]
fn other_sequences_of_the_batch_do_not_show() {
    for config in configurations() {
        let model = Transformer::new(config.clone(), Head::LanguageModel);
        let sequences = sequences(&config, &LENGTHS);
        let together = pass(&model, &sequences, 5, 64, false);
        let (mut row, mut target) = (0, 0);
        for sequence in &sequences {
            let alone = pass(&model, std::slice::from_ref(sequence), 1, 64, false);
            let (rows, targets) = (sequence.len() * config.width, sequence.len() - 1);
            assert_eq!(alone.hidden, together.hidden[row..row + rows]);
            assert_eq!(alone.log_probs, together.log_probs[target..target + targets]);
            (row, target) = (row + rows, target + targets);
        }
    }
}

#[test]
fn dropout_is_not_ignored() {
    let config = configurations().remove(0);
    let model = Transformer::new(config.clone(), Head::LanguageModel);
    let sequences = sequences(&config, &LENGTHS);
    let (with, without) = (pass(&model, &sequences, 5, 64, true), pass(&model, &sequences, 5, 64, false));
    assert!(with.hidden != without.hidden && with.gradients != without.gradients);
}

/// The trainer's log-probs and entropies of sampled tokens are the sampler's.
fn equals_the_trainer(model: &Transformer, parameters: &[f32], prompts: &[&[u32]], responses: &[Response]) {
    for (prompt, response) in prompts.iter().zip(responses) {
        let whole = [prompt, response.tokens.as_slice()].concat();
        let batch = Batch::of(&[&whole[..whole.len() - 1]]);
        let mut activations = Activations::for_inference(&model.config, batch.len());
        model.forward(parameters, &batch, &mut activations, None);
        let targets: Vec<Target> =
            (prompt.len()..whole.len()).map(|t| Target { row: t as u32 - 1, token: whole[t] }).collect();
        let (mut log_probs, mut entropies) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
        let mut work = Workspace::new(model.config.vocab_size, model.config.width, 1024);
        log_prob::forward(
            model.config.precision,
            Outputs { log_probs: &mut log_probs, entropies: &mut entropies },
            &activations.hidden[..batch.len() * model.config.width],
            &parameters[model.layout.head.clone()],
            model.config.width,
            &targets,
            1.0,
            &mut work,
        );
        let bits = |xs: &[f32]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&log_probs), bits(&response.log_probs));
        assert_eq!(bits(&entropies), bits(&response.entropies));
    }
}

#[test]
fn large_models_decode_the_same_on_all_threads_at_once() {
    // Too large for the caches, so that one group of sequences is shared by all threads; and prompts of which
    // several are read together, but not all.
    let mut config = ModelConfig::gpt2(1009, 280, 456, 2, 6);
    config.attention = AttentionPattern::Alternating { window: 70 };
    let model = Transformer::new(config.clone(), Head::LanguageModel);
    let parameters = parameters(&model);
    let weights = DecodeWeights::new(&model, &parameters);
    assert!(weights.bytes() > CACHED);
    let prompts = sequences(&config, &[7, 149, 30, 275, 1, 140, 2, 60, 145]);
    assert!(prompts[0].len() + prompts[1].len() < PREFILL && prompts[3].len() > PREFILL);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 9, end_of_text: Some(3) };
    let draws: Vec<Draw> =
        (0..9).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
    let responses = with_threads(1, || generate(&weights, &prompts, &sampling, &draws, &|_| true));
    equals_the_trainer(&model, &parameters, &prompts, &responses);
    for threads in [2, 3] {
        let again = with_threads(threads, || generate(&weights, &prompts, &sampling, &draws, &|_| true));
        assert_eq!(again, responses, "{threads} threads");
        for i in 0..9 {
            let alone = with_threads(threads, || {
                generate(&weights, &prompts[i..i + 1], &sampling, &draws[i..i + 1], &|_| true)
            });
            assert_eq!(alone[0], responses[i], "{threads} threads");
        }
    }
    // As many calls of `progress` as there are steps: all threads took them together.
    let steps = AtomicUsize::new(0);
    let count = |_| steps.fetch_add(1, Ordering::Relaxed) < usize::MAX;
    with_threads(3, || generate(&weights, &prompts, &sampling, &draws, &count));
    assert_eq!(steps.into_inner(), 4 + 8);
}

#[test]
fn more_sequences_than_are_decoded_at_a_time_are_all_decoded() {
    // 32 at a time for each thread: three times on one, once in groups of 23 on three.
    let config = configurations().remove(0);
    let model = Transformer::new(config.clone(), Head::LanguageModel);
    let parameters = parameters(&model);
    let weights = DecodeWeights::new(&model, &parameters);
    let lengths: Vec<usize> = (0..69).map(|i| 1 + i % 7).collect();
    let prompts = sequences(&config, &lengths);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 4, end_of_text: Some(3) };
    let draws: Vec<Draw> =
        (0..69).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
    for threads in [1, 3] {
        let responses = with_threads(threads, || generate(&weights, &prompts, &sampling, &draws, &|_| true));
        equals_the_trainer(&model, &parameters, &prompts, &responses);
        for i in [0, 31, 32, 46, 68] {
            let alone = generate(&weights, &prompts[i..i + 1], &sampling, &draws[i..i + 1], &|_| true);
            assert_eq!(alone[0], responses[i], "{threads} threads, sequence {i}");
        }
    }
}

#[test]
fn bf16_differs_by_its_rounding() {
    let half = configurations().remove(2);
    let full = ModelConfig { precision: Precision::F32, ..half.clone() };
    let sequences = sequences(&half, &LENGTHS);
    let [half, full] = [half, full]
        .map(|config| pass(&Transformer::new(config, Head::LanguageModel), &sequences, 5, 64, false));
    for (half, full) in [(&half.log_probs, &full.log_probs), (&half.gradients, &full.gradients)] {
        let (mut error, mut size) = (0.0f64, 0.0f64);
        for (&half, &full) in half.iter().zip(full) {
            let (half, full) = (f32::from_bits(half), f32::from_bits(full));
            error += f64::from(half - full).powi(2);
            size += f64::from(full).powi(2);
        }
        // An operand is off by up to 2^-9; some products follow each other.
        let relative = (error / size).sqrt();
        assert!((1e-4..2e-2).contains(&relative), "{relative}");
    }
}

#[test]
fn decoding_equals_the_training_forward() {
    for config in configurations() {
        let model = Transformer::new(config.clone(), Head::LanguageModel);
        let parameters = parameters(&model);
        let lengths = [5, 1, 12, 3, 20, 8];
        let prompts = sequences(&config, &lengths);
        let prompts: Vec<&[u32]> = prompts.iter().map(|p| p.as_slice()).collect();
        let weights = DecodeWeights::new(&model, &parameters);
        let sampling =
            Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 25, end_of_text: Some(3) };
        let draws: Vec<Draw> =
            (0..6).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
        let responses = generate(&weights, &prompts, &sampling, &draws, &|_| true);
        assert!(responses.iter().any(|r| r.tokens.len() == 25) || responses.iter().any(|r| r.ended));

        equals_the_trainer(&model, &parameters, &prompts, &responses);
        // Neither threads nor company change a response.
        for threads in [1, 3] {
            let again = with_threads(threads, || generate(&weights, &prompts, &sampling, &draws, &|_| true));
            assert_eq!(again, responses);
        }
        let alone = generate(&weights, &prompts[2..3], &sampling, &draws[2..3], &|_| true);
        assert_eq!(alone[0], responses[2]);
        // Told to end, they sample nothing more.
        for calls in [1, 4] {
            let left = AtomicUsize::new(calls);
            let go_on = |_| left.fetch_sub(1, Ordering::Relaxed) > 1;
            let cut = with_threads(1, || generate(&weights, &prompts, &sampling, &draws, &go_on));
            assert_eq!(left.into_inner(), 0);
            for (cut, whole) in cut.iter().zip(&responses) {
                assert_eq!(cut.tokens, whole.tokens[..calls.min(whole.tokens.len())]);
            }
        }
        // One by itself hands on the same tokens as they come, and ends when it is told to.
        let mut seen = vec![];
        let one = generate_one(&weights, prompts[2], &sampling, draws[2], |token| {
            seen.push(token);
            true
        });
        assert!(one == responses[2] && seen == one.tokens);
        // Whether its weights were packed beforehand or are when they are needed.
        let plain = DecodeWeights::plain(&model, &parameters);
        assert_eq!(generate_one(&plain, prompts[2], &sampling, draws[2], |_| true), responses[2]);
        let cut = generate_one(&weights, prompts[2], &sampling, draws[2], |_| false);
        assert_eq!(cut.tokens, seen[..1]);
    }
}

#[test]
fn a_prompt_decodes_the_same_in_one_call_or_many() {
    configurations().into_iter().for_each(in_one_call_or_many);
}

fn in_one_call_or_many(config: ModelConfig) {
    let model = Transformer::new(config.clone(), Head::LanguageModel);
    let parameters = parameters(&model);
    let weights = DecodeWeights::new(&model, &parameters);
    let prompt = sequences(&config, &[30]).remove(0);
    let mut at_once = Decoder::new(&weights, 1, 30);
    let whole = at_once.extend(&[(0, &prompt)]).to_vec();
    let mut in_parts = Decoder::new(&weights, 1, 40);
    for part in [&prompt[..4], &prompt[4..5], &prompt[5..]] {
        in_parts.extend(&[(0, part)]);
    }
    in_parts.reset(0);
    in_parts.extend(&[(0, &prompt[..29])]);
    assert_eq!(in_parts.extend(&[(0, &prompt[29..])]).to_vec(), whole);
    // And with weights that are not packed, for few tokens after many and for many after few.
    let plain = DecodeWeights::plain(&model, &parameters);
    let mut in_parts = Decoder::new(&plain, 1, 30);
    for cut in [27, 3] {
        in_parts.reset(0);
        in_parts.extend(&[(0, &prompt[..cut])]);
        assert_eq!(in_parts.extend(&[(0, &prompt[cut..])]).to_vec(), whole);
    }
}

#[test]
fn sampling_follows_its_settings() {
    let config = configurations().remove(0);
    let model = Transformer::new(config.clone(), Head::LanguageModel);
    let parameters = parameters(&model);
    let weights = DecodeWeights::new(&model, &parameters);
    let prompt = sequences(&config, &[6]).remove(0);
    let sample = |temperature: f32, top_k: usize, top_p: f32, max_new_tokens: usize| {
        let sampling = Sampling { temperature, top_k, top_p, max_new_tokens, end_of_text: None };
        let draws: Vec<Draw> =
            (0..20).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 0, episode }).collect();
        generate(&weights, &[prompt.as_slice(); 20], &sampling, &draws, &|_| true)
    };
    let greedy = sample(0.0, 0, 1.0, 10);
    assert!(greedy.windows(2).all(|pair| pair[0].tokens == pair[1].tokens));
    // Top-1 and a vanishing top-p are greedy too; a full top-k and top-p change nothing.
    assert_eq!(sample(1.0, 1, 1.0, 10)[3].tokens, greedy[3].tokens);
    assert_eq!(sample(1.0, 0, 1e-6, 10)[3].tokens, greedy[3].tokens);
    assert_eq!(sample(1.0, 61, 1.0, 10), sample(1.0, 0, 1.0, 10));
    assert_ne!(sample(1.0, 0, 1.0, 10)[3], sample(1.0, 0, 1.0, 10)[4]);
    // The context bounds a response: prompt and response fit in it together.
    assert!(sample(1.0, 0, 1.0, 1000).iter().all(|r| r.tokens.len() == config.context - 6));
    assert!(sample(1.0, 0, 1.0, 0).iter().all(|r| r.tokens.is_empty()));
}
