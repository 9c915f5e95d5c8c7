//! `transformer_dense.safetensors`, `transformer_banded.safetensors`: hidden states, logits, log-probs, loss
//! and every gradient of a whole model.

use instructgpt::model::{Activations, Batch, DecodeWeights, Decoder};
use instructgpt::train::learner::Learner;
use instructgpt::train::passes::Sequence;

use crate::common::fixture::Fixture;
use crate::{check_each, cut, learner};

fn transformer(name: &str) {
    let fixture = Fixture::load(name);
    let (tokens, offsets) = (fixture.tokens("tokens"), fixture.indices("offsets"));
    let sequences = cut(&tokens, &offsets);
    let mut learner = learner(&fixture, tokens.len());
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
    transformer("transformer_dense");
}

#[test]
fn banded() {
    transformer("transformer_banded");
}
