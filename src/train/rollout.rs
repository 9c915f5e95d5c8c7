//! Frozen networks, and what is asked of them: responses to prompts, rewards, losses on held-out data.

use super::dataset::Example;
use super::passes::{Pass, Sequence};
use crate::checkpoint::Model;
use crate::model::{DecodeWeights, Draw, Head, Response, Sampling, Transformer, generate};
use crate::num::rng::Stage;

/// A network that is only read.
pub struct Frozen {
    /// Shape and layout.
    pub model: Transformer,
    /// The weights.
    pub parameters: Vec<f32>,
    /// Memory of its forwards.
    pub pass: Pass,
}

impl Frozen {
    /// Freezes `model`, with memory for forwards of `micro_batch_tokens`.
    pub fn new(model: Model, micro_batch_tokens: usize) -> Self {
        let Model { config, head, parameters, .. } = model;
        let model = Transformer::new(config, head);
        let pass = Pass::new(&model.config, micro_batch_tokens, false);
        Frozen { model, parameters, pass }
    }

    /// A reward model's scores: the head at the last token of each sequence, the end-of-text token where a
    /// response ended by itself.
    pub fn scores<'a>(&mut self, sequences: impl IntoIterator<Item = &'a [u32]>) -> Vec<f32> {
        let sequences: Vec<Sequence> =
            sequences.into_iter().map(|tokens| Sequence { tokens, from: tokens.len() - 1 }).collect();
        let mut scores = Vec::with_capacity(sequences.len());
        let last = |s: &Sequence| s.from..s.tokens.len();
        self.pass.values(&self.model, &self.parameters, &sequences, last, |_, score| scores.push(score));
        scores
    }

    /// Mean loss per response token of demonstrations, in nats; `None` without any.
    pub fn demonstration_loss(&mut self, examples: &[Example]) -> Option<f64> {
        mean_loss(&mut self.pass, &self.model, &self.parameters, &sequences(examples))
    }

    /// Mean loss per token over the first `limit` tokens of a text, in nats; `None` for an empty one.
    pub fn text_loss(&mut self, text: &[u32], limit: usize) -> Option<f64> {
        mean_loss(
            &mut self.pass,
            &self.model,
            &self.parameters,
            &consecutive(text, self.model.config.context, limit),
        )
    }

    /// Samples a response to each prompt.
    pub fn respond(&self, prompts: &[&[u32]], how: &Rollout) -> Vec<Response> {
        respond(&self.model, &self.parameters, prompts, how, &|_| true)
    }
}

/// How responses are sampled, and where their draws come from.
#[derive(Debug, Clone, Copy)]
pub struct Rollout {
    /// Divides the logits.
    pub temperature: f32,
    /// Longest response in tokens.
    pub max_response_tokens: usize,
    /// Ends a response.
    pub end_of_text: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Stage of the draws.
    pub stage: Stage,
    /// Step of the draws.
    pub step: u64,
}

/// Samples a response to each prompt; the i-th draws as episode i. For `progress` see [`generate`].
pub fn respond(
    model: &Transformer,
    parameters: &[f32],
    prompts: &[&[u32]],
    how: &Rollout,
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Vec<Response> {
    assert_eq!(model.head, Head::LanguageModel, "only a language model responds");
    let weights = DecodeWeights::new(model, parameters);
    let sampling = Sampling {
        temperature: how.temperature,
        top_k: 0,
        top_p: 1.0,
        max_new_tokens: how.max_response_tokens,
        end_of_text: Some(how.end_of_text),
    };
    let draws: Vec<Draw> = (0..prompts.len() as u64)
        .map(|episode| Draw { seed: how.seed, stage: how.stage, step: how.step, episode })
        .collect();
    generate(&weights, prompts, &sampling, &draws, progress)
}

/// Demonstrations as sequences whose responses are the targets.
pub fn sequences(examples: &[Example]) -> Vec<Sequence<'_>> {
    examples.iter().map(|example| Sequence { tokens: &example.tokens, from: example.prompt }).collect()
}

/// A text cut into consecutive windows of `context` predictions, up to `limit` of them in all.
pub fn consecutive(text: &[u32], context: usize, limit: usize) -> Vec<Sequence<'_>> {
    let text = &text[..text.len().min(limit.saturating_add(1))];
    let starts = (0..text.len().saturating_sub(1)).step_by(context);
    starts
        .map(|start| Sequence { tokens: &text[start..text.len().min(start + context + 1)], from: 1 })
        .collect()
}

/// Mean negative log-prob of all targets, in nats, added in order in f64; `None` without targets.
pub fn mean_loss(
    pass: &mut Pass,
    model: &Transformer,
    parameters: &[f32],
    sequences: &[Sequence],
) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    pass.log_probs(model, parameters, sequences, 1.0, |_, log_prob, _| {
        sum -= f64::from(log_prob);
        count += 1;
    });
    (count > 0).then(|| sum / count as f64)
}
