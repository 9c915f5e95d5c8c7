//! `sft.safetensors`: prompts are read, responses are learnt, and the loss is a mean over all response tokens.

use instructgpt::loss::cross_entropy::CrossEntropy;
use instructgpt::model::{Loss, Sequence, singly};
use instructgpt::train::dataset::Example;

use crate::common::fixture::Fixture;
use crate::{check_each, cut, finished_gradient, learner};

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
    let batch: Vec<Sequence> = examples.iter().map(Example::continuation).collect();

    let response_tokens: usize = batch.iter().map(Sequence::outputs).sum();
    assert_eq!(vec![response_tokens], fixture.indices("response_tokens"));
    let (mut log_probs, mut loss) = (vec![], CrossEntropy::of(&batch, 1.0));
    let mut seen = |_: usize, found: &[f32], slopes: &mut [f32]| {
        log_probs.extend_from_slice(found);
        loss.slopes(0, found, slopes);
    };
    learner.accumulate(&batch, &singly(batch.len()), 1.0, None, &mut seen);
    fixture.check("response_log_probs", &log_probs);
    fixture.check("loss", &[loss.mean() as f32]);
    fixture.check("loss", &[learner.network.mean_loss(&batch).unwrap() as f32]);
    let gradient = finished_gradient(&mut learner);
    check_each(&fixture, "grad.", &learner.network.layout, &gradient);
    fixture.assert_all_read(|_| true);
}
