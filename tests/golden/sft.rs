//! `sft.safetensors`: prompts are read, responses are learnt, and the loss is a mean over all response tokens.

use instructgpt::loss::CrossEntropy;
use instructgpt::model::{Head, Sequence, singly};

use crate::accumulation::Accumulation;
use crate::common::fixture::Fixture;
use crate::{check_each, cut, model};

/// All that check numbers.
pub const TESTS: [fn(); 1] = [supervised_fine_tuning];

#[test]
fn supervised_fine_tuning() {
    let fixture = Fixture::load("sft");
    let tokens = fixture.tokens("tokens");
    let mut network = model(&fixture, fixture.config(), Head::LanguageModel, "");
    network.plan(tokens.len(), true);
    let batch: Vec<Sequence> = cut(&tokens, &fixture.indices("offsets"))
        .into_iter()
        .zip(fixture.indices("prompt_lengths"))
        .map(|(tokens, prompt)| Sequence::continuation(tokens, prompt))
        .collect();

    let mut loss = CrossEntropy::of(&batch, 1.0);
    assert_eq!(vec![loss.tokens], fixture.indices("response_tokens"));
    let mut accumulation = Accumulation::new(&mut network);
    accumulation.add(&batch, &singly(batch.len()), 1.0, None, &mut loss);
    let (log_probs, gradient) = accumulation.finish();
    fixture.check("response_log_probs", &log_probs);
    fixture.check("loss", &[loss.mean() as f32]);
    assert_eq!(network.mean_loss(&batch), Some(loss.mean()));
    check_each(&fixture, "grad.", &network.layout, &gradient);
    fixture.assert_all_read(|_| true);
}
