//! Which tokens top-k and top-p leave, for distributions whose probabilities are known exactly.

use std::collections::BTreeMap;

use instructgpt::engine::Cpu;
use instructgpt::model::{Draw, Head, ModelConfig, Network, Sampling};
use instructgpt::num::rng::Stage;

/// A network that gives these probabilities whatever it reads: the hidden state is (1, 0), and the embedding of a token
/// has its logit there.
fn network(probabilities: &[f32]) -> Network {
    let config = ModelConfig::gpt2(probabilities.len(), 4, 2, 1, 1);
    let mut network = Network::random(Cpu, config, Head::LanguageModel, 1);
    let layout = network.layout.clone();
    let mut parameters = vec![0.0; layout.len];
    parameters[layout.ln_f.bias.start] = 1.0;
    for (token, p) in probabilities.iter().enumerate() {
        parameters[layout.wte.start + 2 * token] = p.ln();
    }
    network.set_parameters(parameters);
    network
}

/// How often each token is drawn in 4000 draws.
fn drawn(probabilities: &[f32], top_k: usize, top_p: f32) -> BTreeMap<u32, usize> {
    let sampling = Sampling { temperature: 1.0, top_k, top_p, max_new_tokens: 1, end_of_text: None };
    let draw = |episode| Draw { seed: 1, stage: Stage::Test, step: 0, episode };
    let draws: Vec<Draw> = (0..4000).map(draw).collect();
    let responses = network(probabilities).generate(&[&[0][..]; 4000], &sampling, &draws, &|_| true);
    let mut counts = BTreeMap::new();
    responses.iter().for_each(|response| *counts.entry(response.tokens[0]).or_default() += 1);
    counts
}

/// Top-p keeps the fewest tokens whose probabilities reach p: the one that crosses is kept, one that comes after an
/// exact reach is not. Equal ones rank by token.
#[test]
fn top_p_keeps_the_token_that_reaches_it_and_none_behind() {
    let kept =
        |probabilities: &[f32], top_p| -> Vec<u32> { drawn(probabilities, 0, top_p).into_keys().collect() };
    // Four tokens of exactly a quarter.
    let even = [0.25; 4];
    assert_eq!(kept(&even, 0.25), [0]);
    assert_eq!(kept(&even, 0.5), [0, 1]);
    assert_eq!(kept(&even, 0.51), [0, 1, 2]);
    assert_eq!(kept(&even, 0.75), [0, 1, 2]);
    assert_eq!(kept(&even, 1.0), [0, 1, 2, 3]);
    let uneven = [0.1, 0.5, 0.15, 0.25];
    assert_eq!(kept(&uneven, 0.49), [1]);
    assert_eq!(kept(&uneven, 0.51), [1, 3]);
    assert_eq!(kept(&uneven, 0.76), [1, 2, 3]);
    assert_eq!(kept(&uneven, 0.91), [0, 1, 2, 3]);
}

/// What is left keeps its proportions: within five standard deviations of 4000 draws.
#[test]
fn what_is_left_keeps_its_proportions() {
    let uneven = [0.1, 0.5, 0.15, 0.25];
    for (top_k, top_p, shares) in [
        (0, 1.0, &[0.1, 0.5, 0.15, 0.25][..]),
        (2, 1.0, &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]),
        (3, 1.0, &[0.0, 5.0 / 9.0, 1.5 / 9.0, 2.5 / 9.0]),
        (0, 0.7, &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]),
    ] {
        let counts = drawn(&uneven, top_k, top_p);
        for (token, share) in (0..).zip(shares) {
            let (found, share): (f64, f64) = (*counts.get(&token).unwrap_or(&0) as f64 / 4000.0, *share);
            let deviation = (share * (1.0 - share) / 4000.0).sqrt();
            assert!((found - share).abs() <= 5.0 * deviation, "{top_k} {top_p}: {token} {found} for {share}");
        }
    }
}
