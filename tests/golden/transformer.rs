//! `transformer_dense.safetensors`, `transformer_banded.safetensors`, `transformer_bf16.safetensors`: hidden
//! states, logits, log-probs, loss and every gradient of a whole model.

use instructgpt::model::{Activations, Batch, DecodeWeights, Decoder, Precision};
use instructgpt::train::learner::Learner;
use instructgpt::train::passes::Sequence;

use crate::common::fixture::Fixture;
use crate::{check_each, cut, learner};

fn transformer(name: &str, precision: Precision) {
    let fixture = Fixture::load(name);
    let (tokens, offsets) = (fixture.tokens("tokens"), fixture.indices("offsets"));
    let sequences = cut(&tokens, &offsets);
    let mut learner = learner(&fixture, tokens.len());
    learner.model.config.precision = precision;
    let Learner { model, parameters, .. } = &learner;

    let batch = Batch::of(&sequences);
    let mut activations = Activations::for_inference(&model.config, batch.len());
    model.forward(parameters, &batch, &mut activations, None);
    fixture.check("hidden", &activations.hidden);

    // Logits: what decoding gives after each token.
    let weights = DecodeWeights::new(model, parameters);
    let mut decoder = Decoder::new(&weights, sequences.len(), model.config.context);
    let mut logits = vec![];
    for (slot, sequence) in sequences.iter().enumerate() {
        for token in *sequence {
            logits.extend_from_slice(decoder.extend(&[(slot, &[*token])]));
        }
    }
    fixture.check("logits", &logits);

    // As training does it: all but the last token in, all but the first as targets.
    let sequences: Vec<Sequence> = sequences.iter().map(|tokens| Sequence { tokens, from: 1 }).collect();
    let targets: usize = sequences.iter().map(Sequence::targets).sum();
    let (mut log_probs, slope) = (vec![], -1.0 / targets as f32);
    learner.log_probs_gradient(
        &sequences,
        1.0,
        None,
        |_, _| slope,
        |_, log_prob, _| log_probs.push(log_prob),
    );
    let Learner { model, gradients, .. } = &mut learner;
    gradients.finish(&model.layout);
    fixture.check("log_probs", &log_probs);
    fixture.check("loss", &[-log_probs.iter().sum::<f32>() / targets as f32]);
    check_each(&fixture, "grad.", &model.layout, &gradients.flat);
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

/// Within float32's noise, like the others, although one operand that became the other of two bf16 numbers would
/// be off by 2^-8: the fixture's numbers are chosen so that none is within 8 roundings of float32 of a middle
/// (`reference/self_check.py`). So a single product that leaves one operand unrounded is noticed.
#[test]
fn bf16() {
    transformer("transformer_bf16", Precision::Bf16);
}
