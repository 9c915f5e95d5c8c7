//! Pretraining: next-token prediction on random windows of the text. (The paper starts from GPT-3.)

use serde_json::json;

use super::dataset::Dataset;
use super::learner::{Learner, Optimizer, schedule};
use super::passes::Sequence;
use super::rollout::{consecutive, mean_loss};
use crate::checkpoint::Model;
use crate::error::{Error, Result};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::run::directory::{Finished, Run};

/// Name of the stage, its directory and its metrics.
pub const STAGE: &str = "pretrain";

/// Trains `model` as section `pretrain` says and returns it.
///
/// # Errors
/// [`Error::Usage`] without text; [`Error::Numeric`] if the loss or a gradient is not finite; those of
/// [`Run`].
pub fn train(run: &mut Run, data: &Dataset, model: Model) -> Result<Finished> {
    let s = &run.settings.pretrain;
    let text = &data.text.train;
    if s.steps > 0 && text.len() < 2 {
        let hint = "or set pretrain.steps = 0 and pretrain.init_from";
        return Err(Error::usage("data.pretraining", "text to pretrain on", "none", hint));
    }
    let optimizer = Optimizer::new(&run.settings.adam, None, s.weight_decay, s.gradient_clip);
    let mut learner = Learner::new(model, optimizer, run.settings.micro_batch_tokens, false);
    let schedule = schedule(s.schedule, s.final_fraction, s.warmup_steps, 0.0);
    let context = learner.model.config.context;

    let mut clock = run.begin(STAGE, s.steps);
    let mut first = 0;
    if let Some((step, mut state)) = run.resume(STAGE)? {
        learner.restore("model", &mut state, step, &run.origin(STAGE))?;
        first = step;
    }
    for step in first..s.steps {
        // 1. Random windows of the text.
        let windows: Vec<Sequence> = (0..s.batch as u64)
            .map(|i| window(text, context, run.settings.seed, Stage::Pretrain, step, i))
            .collect();

        // 2. The mean loss over their tokens, and its gradient.
        let mut loss = 0.0;
        let tokens = learner.cross_entropy_gradient(&windows, 1.0, None, &mut loss);
        loss /= tokens as f64;
        run.check_loss(STAGE, step + 1, &learner.pass, "the loss", loss)?;

        // 3. One update.
        let learning_rate = schedule.learning_rate(s.learning_rate, step, s.steps);
        let norm = learner.update(STAGE, learning_rate, 0.0)?;

        // 4. What happened.
        let done = step + 1;
        clock.count(tokens);
        let mut fields = vec![
            ("loss", loss.into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == s.steps {
            let loss = validate(&mut learner, &data.text.validation, s.eval_tokens);
            fields.extend(loss.map(|loss| ("validation_loss", loss.into())));
        }
        run.record(STAGE, done, &fields)?;
        run.progress.step(done, &format!("loss {loss:.3}"));
        run.after_step(STAGE, done, s.steps, &[], || buffers(&learner))?;
    }
    let loss = validate(&mut learner, &data.text.validation, s.eval_tokens);
    let parameters = learner.model.layout.len;
    let tokens = [text.len(), data.text.validation.len()];
    let results = json!({ "steps": s.steps, "parameters": parameters, "validation_loss": loss,
        "train_tokens": tokens[0], "validation_tokens": tokens[1] });
    Ok(Finished { model: learner.to_model(), stage: STAGE.into(), clock, results })
}

/// Window `i` of a step: `context` predictions from a random place of the text.
pub fn window(text: &[u32], context: usize, seed: u64, stage: Stage, step: u64, i: u64) -> Sequence<'_> {
    let length = (context + 1).min(text.len());
    let mut rng = Rng::at(seed, stage, Purpose::Pretraining, step, i, 0);
    let start = rng.below(text.len() - length + 1);
    Sequence { tokens: &text[start..start + length], from: 1 }
}

/// Mean loss on the first `limit` tokens of held-out text.
pub fn validate(learner: &mut Learner, text: &[u32], limit: usize) -> Option<f64> {
    let windows = consecutive(text, learner.model.config.context, limit);
    mean_loss(&mut learner.pass, &learner.model, &learner.parameters, &windows)
}

fn buffers(learner: &Learner) -> Vec<(String, &[f32])> {
    let mut buffers = Vec::new();
    learner.buffers("model", &mut buffers);
    buffers
}
