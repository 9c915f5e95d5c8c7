//! Networks of every kind, with parameters and sequences that look random.

#![allow(dead_code, reason = "each test uses its part")]

use instructgpt::engine::Engine;
use instructgpt::model::{Activation, AttentionPattern, Family, Head, ModelConfig, Network, Precision};
use instructgpt::num::rng::{Purpose, Rng, Stage};

/// Dense and tied; banded with a head of its own, the other GELU and an odd inner width; bf16; a GPT-Neo, in f32 and bf16.
pub fn configurations() -> Vec<ModelConfig> {
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
    let mut neo = ModelConfig::gpt2(53, 40, 24, 3, 3);
    neo.family = Family::GptNeo;
    neo.attention = AttentionPattern::Alternating { window: 5 };
    let neo_bf16 = ModelConfig { precision: Precision::Bf16, ..neo.clone() };
    vec![dense, banded, bf16, neo, neo_bf16]
}

/// A network far from its initialisation, so that every term matters.
pub fn network<E: Engine>(e: E, config: &ModelConfig, head: Head) -> Network<E> {
    let mut network = Network::random(e, config.clone(), head, 5);
    let mut rng = Rng::at(7, Stage::Test, Purpose::Test, 0, 0, 0);
    network.set_parameters(network.parameters().iter().map(|x| x + 0.1 * rng.normal()).collect());
    network
}

/// Sequences of these lengths.
pub fn sequences(config: &ModelConfig, lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut rng = Rng::at(11, Stage::Test, Purpose::Test, 0, 0, 0);
    lengths.iter().map(|&t| (0..t).map(|_| rng.below(config.vocab_size) as u32).collect()).collect()
}

/// For comparisons without tolerance, in which NaN and the sign of 0 count.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}
