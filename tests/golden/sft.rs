//! `sft.safetensors`: prompts are read, responses are learnt, and the loss is a mean over all response tokens.

use instructgpt::train::dataset::Example;
use instructgpt::train::learner::Learner;
use instructgpt::train::passes::Sequence;
use instructgpt::train::rollout::{mean_loss, sequences};

use crate::common::fixture::Fixture;
use crate::{check_each, cut, learner};

#[test]
fn supervised_fine_tuning() {
    let fixture = Fixture::load("sft");
    let tokens = fixture.tokens("tokens");
    let mut learner = learner(&fixture, tokens.len());
    let examples: Vec<Example> = cut(&tokens, &fixture.indices("offsets"))
        .into_iter()
        .zip(fixture.indices("prompt_lengths"))
        .map(|(tokens, prompt)| Example { tokens: tokens.to_vec(), prompt })
        .collect();
    let batch = sequences(&examples);

    let response_tokens: usize = batch.iter().map(Sequence::targets).sum();
    assert_eq!(vec![response_tokens], fixture.indices("response_tokens"));
    let (mut log_probs, slope) = (vec![], -1.0 / response_tokens as f32);
    learner.log_probs_gradient(&batch, 1.0, None, |_, _| slope, |_, log_prob, _| log_probs.push(log_prob));
    let Learner { model, parameters, gradients, pass, .. } = &mut learner;
    gradients.finish(&model.layout);
    fixture.check("response_log_probs", &log_probs);
    fixture.check("loss", &[mean_loss(pass, model, parameters, &batch).unwrap() as f32]);
    check_each(&fixture, "grad.", &model.layout, &gradients.flat);
    fixture.assert_all_read(|_| true);
}
