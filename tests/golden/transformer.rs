//! `transformer_dense.safetensors`, `transformer_banded.safetensors`, `transformer_bf16.safetensors`,
//! `gpt_neo.safetensors`: hidden states, logits, log-probs, loss and every gradient of a whole model.

use instructgpt::checkpoint::tensors::{stored_tensors, to_stored};
use instructgpt::loss::CrossEntropy;
use instructgpt::model::{Decoder, Head, Precision, Sequence, singly};

use crate::accumulation::Accumulation;
use crate::common::fixture::Fixture;
use crate::{cut, model};

/// All that check numbers.
pub const TESTS: [fn(); 4] = [dense, banded, gpt_neo, bf16];

fn transformer(name: &str, precision: Precision) {
    let fixture = Fixture::load(name);
    let (tokens, offsets) = (fixture.tokens("tokens"), fixture.indices("offsets"));
    let sequences = cut(&tokens, &offsets);
    let mut network = model(&fixture, fixture.config(), Head::LanguageModel, "");
    network.config.precision = precision;
    network.plan(tokens.len(), true);
    fixture.check("hidden", &network.hidden_states(&sequences));

    // Logits: what decoding gives after each token.
    let weights = network.packed_weights();
    let mut decoder = Decoder::new(&network, &weights, sequences.len(), network.config.context);
    let mut logits = vec![];
    for (slot, sequence) in sequences.iter().enumerate() {
        for token in *sequence {
            logits.extend_from_slice(decoder.extend(&[(slot, &[*token])]));
        }
    }
    fixture.check("logits", &logits);

    // As training does it: all but the last token in, all but the first as targets.
    let batch: Vec<Sequence> = sequences.iter().map(|tokens| Sequence::text(tokens)).collect();
    let mut loss = CrossEntropy::of(&batch, 1.0);
    let mut accumulation = Accumulation::new(&mut network);
    accumulation.add(&batch, &singly(batch.len()), 1.0, None, &mut loss);
    let (log_probs, gradient) = accumulation.finish();
    fixture.check("log_probs", &log_probs);
    fixture.check("loss", &[loss.mean() as f32]);
    let gradient = to_stored(gradient.into(), &network.layout, network.config.family);
    for tensor in stored_tensors(&network.layout, network.config.family) {
        fixture.check(&format!("grad.{}", tensor.name), &gradient[tensor.range]);
    }
    fixture.assert_all_read(|_| true);
}

#[test]
fn dense() {
    transformer("transformer_dense", Precision::F32);
}

#[test]
fn banded() {
    transformer("transformer_banded", Precision::F32);
}

#[test]
fn gpt_neo() {
    transformer("gpt_neo", Precision::F32);
}

/// Within float32's noise, like the others, although one operand that became the other of two bf16 numbers would
/// be off by 2^-8: the fixture's numbers are chosen so that none is within 8 roundings of float32 of a middle
/// (`reference/self_check.py`). So a single product that leaves one operand unrounded is noticed.
#[test]
fn bf16() {
    transformer("transformer_bf16", Precision::Bf16);
}
