//! The arithmetic contract in miniature: a small computation whose bits must be the same in every build, on
//! every machine, with any number of threads. `doctor` compares the hash of each operation's results with the
//! reference build's. They stand in the order of the computation, so the first that differs names the operation
//! to blame: what went into it was still the same.

use crate::engine::{AdamState, Dropout, Engine, Name};
use crate::model::{
    Activation, AttentionPattern, Draw, Gradients, Head, ModelConfig, Network, Precision, Sampling, Sequence,
    generate_one, singly,
};
use crate::num::hash::{EMPTY, fnv1a};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::adamw::AdamW;

/// What is hashed, and the reference build's hash.
pub const REFERENCE: [(&str, u64); 14] = [
    ("random numbers", 0x43e9_221d_8686_32fd),
    ("embedding", 0x7808_c9b5_f3a9_6cca),
    ("layer_norm", 0xae1e_d673_5d6f_2f98),
    ("linear", 0xffd0_1899_8fe1_b293),
    ("attention", 0x75d8_0bcd_093b_60f0),
    ("dropout", 0xb5ed_a1e8_62b2_7baf),
    ("gelu", 0x5259_77e1_da36_a21a),
    ("attention in the second block", 0x542e_fe8e_f6d0_d800),
    ("the whole trunk", 0x7df4_ef93_98c4_3961),
    ("log_prob", 0x1ec5_5088_7f9f_4110),
    ("gradients", 0xf5b2_3b6c_f70f_1f33),
    ("adamw", 0xc27e_f59f_923b_a0f8),
    ("decoding", 0xf792_a9c0_7075_5f21),
    ("all of it in bf16", 0x327f_9b2f_6226_ed02),
];

/// The hashes of an engine's results, in the order of [`REFERENCE`].
pub fn hashes<E: Engine>(engine: E) -> [u64; 14] {
    let mut hashes = [Fnv::new(); 14];
    let [initial, of_training @ .., decoding, in_bf16] = &mut hashes;
    for config in configurations() {
        let mut network = Network::random(engine, config, Head::LanguageModel, 1);
        let mut parameters = network.parameters().into_owned();
        let in_f32 = network.config.precision == Precision::F32;
        if in_f32 {
            initial.add(&parameters);
        }
        // Far from the initialisation, so that every term matters.
        let mut noise = Rng::at(1, Stage::Test, Purpose::Noise, 0, 0, 0);
        parameters.iter_mut().for_each(|p| *p += 0.1 * noise.normal());
        network.set_parameters(parameters);
        if in_f32 {
            train(&network, of_training);
            decode(&network, decoding);
        } else {
            let mut parts = [Fnv::new(); 11];
            train(&network, &mut parts);
            let words = parts.iter().flat_map(|part| [part.0 as u32, (part.0 >> 32) as u32]);
            words.for_each(|word| in_bf16.word(word));
            decode(&network, in_bf16);
        }
    }
    hashes.map(|hash| hash.0)
}

/// An engine's operations that differ from the reference build's, in order, each with its hash.
pub fn differences<E: Engine>(engine: E) -> Vec<String> {
    from_reference(hashes(engine))
}

fn from_reference(found: [u64; 14]) -> Vec<String> {
    let parts = REFERENCE.into_iter().zip(found).filter(|((_, reference), found)| reference != found);
    parts.map(|((name, _), found)| format!("{name} ({found:#018x})")).collect()
}

/// Both activations, both attention patterns, both heads, both precisions; no size is a multiple of a tile, and in
/// bf16 none is one of a pair.
fn configurations() -> [ModelConfig; 3] {
    let tied = ModelConfig::gpt2(61, 40, 36, 2, 3);
    let mut banded = ModelConfig::gpt2(97, 40, 40, 2, 5);
    banded.attention = AttentionPattern::Alternating { window: 7 };
    banded.activation = Activation::Gelu;
    banded.tied_head = false;
    let in_bf16 =
        ModelConfig { inner: 71, precision: Precision::Bf16, ..ModelConfig::gpt2(61, 40, 35, 2, 5) };
    [tied, banded, in_bf16]
}

/// Log-probs of three sequences, the gradient of their mean with dropout, and an update.
fn train<E: Engine>(network: &Network<E>, hashes: &mut [Fnv; 11]) {
    let mut rng = Rng::at(1, Stage::Test, Purpose::Text, 0, 0, 0);
    // One token more than counts: all others are read, and all but the first of these are predicted.
    let mut text = |length: usize| {
        let mut tokens: Vec<u32> = (0..length).map(|_| rng.below(network.config.vocab_size) as u32).collect();
        tokens.push(0);
        tokens
    };
    let texts = [40, 9, 23].map(&mut text);
    let sequences = texts.each_ref().map(|tokens| Sequence { tokens, from: 0, to: tokens.len() - 2 });
    let dropout = Some(Dropout { rate: 0.2, seed: 1, stage: Stage::Test, step: 1 });
    let slope = -1.0 / sequences.iter().map(Sequence::outputs).sum::<usize>() as f32;
    let mut log_probs = Vec::new();
    let mut loss = |_: usize, outputs: &[f32], slopes: &mut [f32]| {
        log_probs.extend_from_slice(outputs);
        slopes.fill(slope);
    };
    let (engine, mut network) = (network.engine(), network.clone());
    network.plan(72, true);
    let mut gradients = Gradients::new(&network);
    network.add_gradient(&mut gradients, &sequences, &singly(3), 1.0, dropout, &mut loss);
    gradients.finish(engine, &network.layout);
    let gradient = gradients.flat;
    let entropies = network.entropies().to_vec();
    let mut kept = |layer: usize, name: Name| network.activation(layer, name);
    let results: [Vec<Vec<f32>>; 9] = [
        vec![kept(0, Name::X)],
        vec![kept(0, Name::Ln1)],
        vec![kept(0, Name::Q), kept(0, Name::K), kept(0, Name::V)],
        vec![kept(0, Name::Attention)],
        vec![kept(0, Name::XMiddle)],
        vec![kept(0, Name::Gelu)],
        vec![kept(1, Name::Attention)],
        vec![kept(1, Name::Hidden)],
        vec![log_probs, entropies],
    ];
    let adam = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let [mut first, mut second] = [(); 2].map(|()| engine.buffer(vec![0.0; network.layout.len]));
    let (parameters, layout) = network.parameters_and_layout();
    let state = AdamState { parameters, first_moment: &mut first, second_moment: &mut second, average: None };
    adam.step(engine, state, &gradient, layout, 1e-3, 1, 0.5, 1.0);
    let updated = network.parameters().into_owned();
    let results = results.into_iter().chain([vec![engine.values(&gradient).into_owned()], vec![updated]]);
    for (hash, buffers) in hashes.iter_mut().zip(results) {
        buffers.iter().for_each(|buffer| hash.add(buffer));
    }
}

/// Sixteen sampled tokens.
fn decode<E: Engine>(network: &Network<E>, hash: &mut Fnv) {
    let sampling =
        Sampling { temperature: 0.7, top_k: 40, top_p: 0.95, max_new_tokens: 16, end_of_text: None };
    let draw = Draw { seed: 1, stage: Stage::Test, step: 0, episode: 0 };
    let response = generate_one(network, &[1, 2, 3, 4, 5], &sampling, draw, |_| true);
    response.tokens.iter().for_each(|&token| hash.word(token));
    hash.add(&response.log_probs);
    hash.add(&response.entropies);
}

/// A hash of the bits of numbers.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(EMPTY)
    }

    fn word(&mut self, word: u32) {
        self.0 = fnv1a(self.0, word.to_le_bytes());
    }

    fn add(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.word(value.to_bits()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::num::par::with_threads;

    #[test]
    fn this_build_has_the_reference_bits() {
        for threads in [1, 3] {
            let found = with_threads(threads, || hashes(Cpu));
            assert_eq!(found, REFERENCE.map(|(_, hash)| hash), "{found:#x?}");
        }
    }

    #[test]
    fn the_first_difference_is_the_operation_to_blame() {
        let mut found = REFERENCE.map(|(_, hash)| hash);
        assert!(from_reference(found).is_empty());
        found[4..].iter_mut().for_each(|hash| *hash = 7);
        let differences = from_reference(found);
        assert_eq!((differences.len(), differences[0].as_str()), (10, "attention (0x0000000000000007)"));
    }

    #[test]
    fn a_single_bit_changes_the_hash() {
        let hash = |values: &[f32]| {
            let mut hash = Fnv::new();
            hash.add(values);
            hash.0
        };
        assert_ne!(hash(&[1.0, 0.0]), hash(&[1.0, -0.0]));
        // The published hash of "foob".
        assert_eq!(hash(&[f32::from_bits(u32::from_le_bytes(*b"foob"))]), 0xdd12_0e79_0c25_12af);
    }
}
