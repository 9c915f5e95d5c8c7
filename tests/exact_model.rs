//! The arithmetic contract at the level of the model: not one bit depends on threads, on the other
//! sequences of a batch, on how a batch is cut, or on decoding instead of training.

#[path = "common/accumulation.rs"]
mod accumulation;
#[path = "common/networks.rs"]
mod networks;

use std::sync::atomic::{AtomicUsize, Ordering};

use accumulation::Accumulation;
use instructgpt::engine::{Cpu, Dropout, Name};
use instructgpt::loss::CrossEntropy;
use instructgpt::model::sampling::{CACHED, PREFILL};
use instructgpt::model::{
    AttentionPattern, Decoder, Draw, Head, ModelConfig, Network, Precision, Response, Sampling, Sequence,
    generate, generate_one, generate_with, singly,
};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::Stage;
use networks::{bits, configurations, sequences};

fn network(config: &ModelConfig) -> Network {
    networks::network(Cpu, config, Head::LanguageModel)
}

struct Pass {
    /// Of the last micro-batch.
    hidden: Vec<u32>,
    log_probs: Vec<u32>,
    gradient: Vec<u32>,
}

/// A forward and backward of the mean next-token loss, in micro-batches of up to `tokens` token rows. The head's
/// chunks are as long, or 1024.
fn pass(config: &ModelConfig, sequences: &[Vec<u32>], tokens: usize, dropout: bool) -> Pass {
    let mut network = network(config);
    network.plan(tokens, true);
    let dropout = dropout.then_some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 9 });
    let batch: Vec<Sequence> = sequences.iter().map(|tokens| Sequence::text(tokens)).collect();
    let mut accumulation = Accumulation::new(&mut network);
    accumulation.add(&batch, &singly(batch.len()), 1.0, dropout, &mut CrossEntropy::of(&batch, 1.0));
    let (log_probs, gradient) = accumulation.finish();
    let hidden = network.activation(config.layers, Name::Hidden);
    Pass { hidden: bits(&hidden), log_probs: bits(&log_probs), gradient: bits(&gradient) }
}

const LENGTHS: [usize; 5] = [9, 1, 23, 40, 17];

/// Room for all of fifteen times [`LENGTHS`].
const ALL: usize = 1350;

#[test]
fn threads_do_not_show() {
    for config in configurations() {
        // Enough for a region of sequences per thread, and too little for a second region.
        for sequences in [sequences(&config, &LENGTHS.repeat(15)), sequences(&config, &LENGTHS)] {
            let one = with_threads(1, || pass(&config, &sequences, ALL, true));
            for threads in [2, 3, 7] {
                let many = with_threads(threads, || pass(&config, &sequences, ALL, true));
                assert!(one.hidden == many.hidden && one.log_probs == many.log_probs);
                assert!(one.gradient == many.gradient, "{threads} threads");
            }
        }
    }
}

#[test]
fn micro_batches_and_head_chunks_do_not_show() {
    for config in configurations() {
        // Two chunks of the head in one micro-batch, and one.
        for sequences in [sequences(&config, &LENGTHS.repeat(15)), sequences(&config, &LENGTHS)] {
            let whole = pass(&config, &sequences, ALL, true);
            for tokens in [0, 61, 73, 333, 1100] {
                let cut = pass(&config, &sequences, tokens, true);
                assert!(whole.log_probs == cut.log_probs, "{tokens} tokens");
                assert!(whole.hidden.ends_with(&cut.hidden), "{tokens} tokens");
                assert!(whole.gradient == cut.gradient, "{tokens} tokens");
            }
            assert!(pass(&config, &sequences, 0, true).hidden.len() < whole.hidden.len(), "it was cut");
        }
    }
}

#[test]
fn other_sequences_of_the_batch_do_not_show() {
    for config in configurations() {
        let owned = sequences(&config, &LENGTHS);
        let sequences: Vec<&[u32]> = owned.iter().map(Vec::as_slice).collect();
        let mut network = network(&config);
        network.plan(ALL, false);
        let mut read = |sequences: &[&[u32]]| {
            let texts: Vec<Sequence> = sequences.iter().map(|tokens| Sequence::text(tokens)).collect();
            let (log_probs, entropies) = network.log_probs_and_entropies(&texts, 1.0);
            (bits(&network.hidden_states(sequences)), bits(&log_probs), bits(&entropies))
        };
        let (hidden, log_probs, entropies) = read(&sequences);
        let (mut row, mut target) = (0, 0);
        for sequence in &sequences {
            let alone = read(&[sequence]);
            let (rows, targets) = (sequence.len() * config.width, sequence.len() - 1);
            assert_eq!(alone.0, hidden[row..row + rows]);
            assert_eq!(alone.1, log_probs[target..target + targets]);
            assert_eq!(alone.2, entropies[target..target + targets]);
            (row, target) = (row + rows, target + targets);
        }
        assert_eq!(log_probs, pass(&config, &owned, ALL, false).log_probs);
    }
}

#[test]
fn dropout_is_not_ignored() {
    let config = configurations().remove(0);
    let sequences = sequences(&config, &LENGTHS);
    let (with, without) = (pass(&config, &sequences, ALL, true), pass(&config, &sequences, ALL, false));
    assert!(with.hidden != without.hidden && with.gradient != without.gradient);
}

/// The trainer's log-probs and entropies of sampled tokens are the sampler's.
fn equals_the_trainer(network: &Network, prompts: &[&[u32]], responses: &[Response]) {
    let mut trainer = network.clone();
    for (prompt, response) in prompts.iter().zip(responses) {
        let whole = [prompt, response.tokens.as_slice()].concat();
        let sequence = Sequence::continuation(&whole, prompt.len());
        let (log_probs, entropies) = trainer.log_probs_and_entropies(&[sequence], 1.0);
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
    let network = network(&config);
    assert!(network.matrix_bytes() > CACHED);
    let weights = network.packed_weights();
    let prompts = sequences(&config, &[7, 149, 30, 275, 1, 140, 2, 60, 145]);
    assert!(prompts[0].len() + prompts[1].len() < PREFILL && prompts[3].len() > PREFILL);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 9, end_of_text: Some(3) };
    let draws: Vec<Draw> =
        (0..9).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
    let responses =
        with_threads(1, || generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true));
    equals_the_trainer(&network, &prompts, &responses);
    for threads in [2, 3] {
        let again = with_threads(threads, || {
            generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true)
        });
        assert_eq!(again, responses, "{threads} threads");
        for i in 0..9 {
            let alone = with_threads(threads, || {
                generate_with(&network, &weights, &prompts[i..i + 1], &sampling, &draws[i..i + 1], &|_| true)
            });
            assert_eq!(alone[0], responses[i], "{threads} threads");
        }
    }
    // As many calls of `progress` as there are steps: all threads took them together.
    let steps = AtomicUsize::new(0);
    let count = |_| steps.fetch_add(1, Ordering::Relaxed) < usize::MAX;
    with_threads(3, || generate_with(&network, &weights, &prompts, &sampling, &draws, &count));
    assert_eq!(steps.into_inner(), 4 + 8);
}

#[test]
fn more_sequences_than_are_decoded_at_a_time_are_all_decoded() {
    // 32 at a time for each thread: three times on one, once in groups of 23 on three.
    let config = configurations().remove(0);
    let network = network(&config);
    let weights = network.packed_weights();
    let lengths: Vec<usize> = (0..69).map(|i| 1 + i % 7).collect();
    let prompts = sequences(&config, &lengths);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 4, end_of_text: Some(3) };
    let draws: Vec<Draw> =
        (0..69).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
    for threads in [1, 3] {
        let responses = with_threads(threads, || {
            generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true)
        });
        equals_the_trainer(&network, &prompts, &responses);
        for i in [0, 31, 32, 46, 68] {
            let alone =
                generate_with(&network, &weights, &prompts[i..i + 1], &sampling, &draws[i..i + 1], &|_| true);
            assert_eq!(alone[0], responses[i], "{threads} threads, sequence {i}");
        }
    }
}

#[test]
fn bf16_differs_by_its_rounding() {
    let half = configurations().remove(2);
    let full = ModelConfig { precision: Precision::F32, ..half.clone() };
    let sequences = sequences(&half, &LENGTHS);
    let [half, full] = [half, full].map(|config| pass(&config, &sequences, ALL, false));
    for (half, full) in [(&half.log_probs, &full.log_probs), (&half.gradient, &full.gradient)] {
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
        let network = network(&config);
        let lengths = [5, 1, 12, 3, 20, 8];
        let prompts = sequences(&config, &lengths);
        let prompts: Vec<&[u32]> = prompts.iter().map(|p| p.as_slice()).collect();
        let weights = network.packed_weights();
        let sampling =
            Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 25, end_of_text: Some(3) };
        let draws: Vec<Draw> =
            (0..6).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 2, episode }).collect();
        let responses = generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true);
        assert!(responses.iter().any(|r| r.tokens.len() == 25) || responses.iter().any(|r| r.ended));

        equals_the_trainer(&network, &prompts, &responses);
        // Neither threads nor company change a response.
        for threads in [1, 3] {
            let again = with_threads(threads, || {
                generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true)
            });
            assert_eq!(again, responses);
        }
        // With weights that are packed for one prompt only, too.
        let alone = generate(&network, &prompts[2..3], &sampling, &draws[2..3], &|_| true);
        assert_eq!(alone[0], responses[2]);
        // Told to end, they sample nothing more.
        for calls in [1, 4] {
            let left = AtomicUsize::new(calls);
            let go_on = |_| left.fetch_sub(1, Ordering::Relaxed) > 1;
            let cut =
                with_threads(1, || generate_with(&network, &weights, &prompts, &sampling, &draws, &go_on));
            assert_eq!(left.into_inner(), 0);
            for (cut, whole) in cut.iter().zip(&responses) {
                assert_eq!(cut.tokens, whole.tokens[..calls.min(whole.tokens.len())]);
            }
        }
        // One by itself hands on the same tokens as they come, and ends when it is told to.
        let mut seen = vec![];
        let one = generate_one(&network, prompts[2], &sampling, draws[2], |token| {
            seen.push(token);
            true
        });
        assert!(one == responses[2] && seen == one.tokens);
        let cut = generate_one(&network, prompts[2], &sampling, draws[2], |_| false);
        assert_eq!(cut.tokens, seen[..1]);
    }
}

#[test]
fn a_prompt_decodes_the_same_in_one_call_or_many() {
    configurations().into_iter().for_each(in_one_call_or_many);
}

fn in_one_call_or_many(config: ModelConfig) {
    let network = network(&config);
    let weights = network.packed_weights();
    let prompt = sequences(&config, &[30]).remove(0);
    let mut at_once = Decoder::new(&network, &weights, 1, 30);
    let whole = at_once.extend(&[(0, &prompt)]).to_vec();
    let mut in_parts = Decoder::new(&network, &weights, 1, 40);
    for part in [&prompt[..4], &prompt[4..5], &prompt[5..]] {
        in_parts.extend(&[(0, part)]);
    }
    in_parts.truncate(0, 0);
    in_parts.extend(&[(0, &prompt[..29])]);
    assert_eq!(in_parts.extend(&[(0, &prompt[29..])]).to_vec(), whole);
    // And with weights that are not packed, for few tokens after many and for many after few.
    let plain = network.weights();
    let mut in_parts = Decoder::new(&network, &plain, 1, 30);
    for cut in [27, 3] {
        in_parts.truncate(0, 0);
        in_parts.extend(&[(0, &prompt[..cut])]);
        assert_eq!(in_parts.extend(&[(0, &prompt[cut..])]).to_vec(), whole);
    }
}

#[test]
fn sampling_follows_its_settings() {
    let config = configurations().remove(0);
    let network = network(&config);
    let weights = network.packed_weights();
    let prompt = sequences(&config, &[6]).remove(0);
    let sample = |temperature: f32, top_k: usize, top_p: f32, max_new_tokens: usize| {
        let sampling = Sampling { temperature, top_k, top_p, max_new_tokens, end_of_text: None };
        let draws: Vec<Draw> =
            (0..20).map(|episode| Draw { seed: 1, stage: Stage::Test, step: 0, episode }).collect();
        generate_with(&network, &weights, &[prompt.as_slice(); 20], &sampling, &draws, &|_| true)
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
