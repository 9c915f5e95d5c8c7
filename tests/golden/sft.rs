//! `sft.safetensors`: prompts are read, responses are learnt, and the loss is a mean over all response tokens.

use instructgpt::model::{Gradients, Head, Transformer};
use instructgpt::train::dataset::Example;
use instructgpt::train::passes::{Pass, Sequence};
use instructgpt::train::rollout::{mean_loss, sequences};

use crate::common::fixture::Fixture;
use crate::{check_each, cut, model};

#[test]
fn supervised_fine_tuning() {
    let fixture = Fixture::load("sft");
    let model = model(&fixture, fixture.config(), Head::LanguageModel, "");
    let (parameters, model) = (model.parameters, Transformer::new(model.config, model.head));
    let tokens = fixture.tokens("tokens");
    let examples: Vec<Example> = cut(&tokens, &fixture.indices("offsets"))
        .into_iter()
        .zip(fixture.indices("prompt_lengths"))
        .map(|(tokens, prompt)| Example { tokens: tokens.to_vec(), prompt })
        .collect();
    let batch = sequences(&examples);

    let response_tokens: usize = batch.iter().map(Sequence::targets).sum();
    assert_eq!(vec![response_tokens], fixture.indices("response_tokens"));
    let (mut pass, mut gradients) = (Pass::new(&model.config, tokens.len(), true), Gradients::new(&model));
    let (mut log_probs, slope) = (vec![], -1.0 / response_tokens as f32);
    pass.log_probs_gradient(
        &model,
        &parameters,
        &mut gradients,
        &batch,
        1.0,
        None,
        |_, _| slope,
        |_, log_prob, _| log_probs.push(log_prob),
    );
    gradients.finish(&model.layout);
    fixture.check("response_log_probs", &log_probs);
    fixture.check("loss", &[mean_loss(&mut pass, &model, &parameters, &batch).unwrap() as f32]);
    check_each(&fixture, "grad.", &model.layout, &gradients.flat);
    fixture.assert_all_read(|_| true);
}
