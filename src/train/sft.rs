//! Supervised fine-tuning on demonstrations (paper, section 3.5 and C.1), and the RLHF init (C.3), which
//! is the same with pretraining text mixed in. Only responses are learnt; prompts are read.

use std::path::PathBuf;

use serde_json::json;

use super::dataset::{Dataset, Example};
use super::learner::{Learner, Optimizer, schedule};
use super::passes::Sequence;
use super::pretrain::{validate, window};
use super::rollout::{mean_loss, sequences};
use crate::checkpoint::{Model, save_model_directory};
use crate::engine::cpu::dropout::Dropout;
use crate::error::{Error, Result};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::schedule::Decay;
use crate::run::directory::{Finished, Run};
use crate::settings::{RlhfInitSettings, Select, SftSettings};

/// What differs between the two stages.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Name of the stage, its directory and its metrics.
    pub stage: &'static str,
    address: Stage,
    epochs: usize,
    batch: usize,
    text_share: f32,
    learning_rate: f32,
    schedule: Decay,
    final_fraction: f64,
    warmup_steps: u64,
    dropout: f32,
    weight_decay: f64,
    gradient_clip: f32,
    select: Select,
    eval_examples: usize,
}

impl Recipe {
    /// The SFT model (C.1).
    pub fn sft(s: &SftSettings) -> Self {
        Recipe {
            stage: "sft",
            address: Stage::Sft,
            epochs: s.epochs,
            batch: s.batch,
            text_share: 0.0,
            learning_rate: s.learning_rate,
            schedule: s.schedule,
            final_fraction: s.final_fraction,
            warmup_steps: s.warmup_steps,
            dropout: s.dropout,
            weight_decay: s.weight_decay,
            gradient_clip: s.gradient_clip,
            select: s.select,
            eval_examples: s.eval_examples,
        }
    }

    /// The model that PPO starts from (C.3).
    pub fn rlhf_init(s: &RlhfInitSettings) -> Self {
        Recipe {
            stage: "rlhf_init",
            address: Stage::RlhfInit,
            epochs: s.epochs,
            batch: s.batch,
            text_share: s.pretrain_fraction,
            learning_rate: s.learning_rate,
            schedule: s.schedule,
            final_fraction: s.final_fraction,
            warmup_steps: s.warmup_steps,
            dropout: s.dropout,
            weight_decay: s.weight_decay,
            gradient_clip: s.gradient_clip,
            select: Select::Last,
            eval_examples: s.eval_examples,
        }
    }
}

/// Fine-tunes `model`. With `select = "validation_loss"` the best epoch is returned; with `"reward"` the
/// last, and every epoch's model is left in [`epoch_directory`] for the reward model to choose from.
///
/// # Errors
/// [`Error::Usage`] without demonstrations; [`Error::Numeric`] if the loss or a gradient is not finite; those
/// of [`Run`].
pub fn train(run: &mut Run, data: &Dataset, model: Model, recipe: Recipe) -> Result<Finished> {
    let Recipe { stage, batch, .. } = recipe;
    let examples = &data.demonstrations.train;
    if examples.is_empty() && recipe.epochs > 0 {
        return Err(Error::usage("data.demonstrations", "demonstrations to learn from", "none", ""));
    }
    let optimizer = Optimizer::new(&run.settings.adam, None, recipe.weight_decay, recipe.gradient_clip);
    let mut learner = Learner::new(model, optimizer, run.settings.micro_batch_tokens, false);
    let schedule = schedule(recipe.schedule, recipe.final_fraction, recipe.warmup_steps, 0.0);
    let context = learner.model.config.context;
    check_lengths(examples, context)?;

    // A batch holds `batch` sequences, of which `texts` are windows of pretraining text.
    let texts =
        if data.text.train.len() < 2 { 0 } else { (batch as f32 * recipe.text_share).round() as usize };
    let demonstrations = (batch - texts.min(batch - 1)).max(1);
    let steps_per_epoch = examples.len().div_ceil(demonstrations) as u64;
    let total = recipe.epochs as u64 * steps_per_epoch;

    let mut clock = run.begin(stage, total);
    let before = demonstration_loss(&mut learner, data, recipe.eval_examples);
    let mut first = 0;
    let mut best: Option<(f64, Vec<f32>)> = None;
    if let Some((step, mut state)) = run.resume(stage)? {
        if let Some(parameters) = state.buffers.remove("best") {
            let loss = state.strings.get("best_loss").and_then(|text| text.parse().ok());
            best = loss.map(|loss| (loss, parameters));
        }
        learner.restore("model", &mut state, step, &run.origin(stage))?;
        first = step;
    }
    for step in first..total {
        // 1. The epoch's next demonstrations, in an order of its own, and some text.
        let (epoch, place) = (step / steps_per_epoch, (step % steps_per_epoch) as usize);
        let order = Rng::at(run.settings.seed, recipe.address, Purpose::Shuffle, epoch, 0, 0)
            .permutation(examples.len());
        let chosen = order[place * demonstrations..].iter().take(demonstrations);
        let mut batch: Vec<Sequence> =
            chosen.map(|&i| Sequence { tokens: &examples[i].tokens, from: examples[i].prompt }).collect();
        let seed = run.settings.seed;
        batch.extend(
            (0..texts as u64).map(|i| window(&data.text.train, context, seed, recipe.address, step, i)),
        );

        // 2. The mean loss over response tokens (and tokens of text), and its gradient.
        let dropout = (recipe.dropout > 0.0).then_some(Dropout {
            rate: recipe.dropout,
            seed,
            stage: recipe.address,
            step,
        });
        let mut loss = 0.0;
        let targets = learner.cross_entropy_gradient(&batch, 1.0, dropout, &mut loss);
        loss /= targets as f64;
        run.check_loss(stage, step + 1, &learner.pass, "the loss", loss)?;

        // 3. One update.
        let learning_rate = schedule.learning_rate(recipe.learning_rate, step, total);
        let norm = learner.update(stage, learning_rate, 0.0)?;

        // 4. What happened; after an epoch, how it does on demonstrations it has not seen.
        let done = step + 1;
        clock.count(batch.iter().map(|sequence| sequence.tokens.len()).sum());
        let mut fields = vec![
            ("loss", loss.into()),
            ("learning_rate", learning_rate.into()),
            ("gradient_norm", norm.into()),
        ];
        if done.is_multiple_of(steps_per_epoch) {
            fields.push(("epoch", (epoch + 1).into()));
            if let Some(loss) = demonstration_loss(&mut learner, data, recipe.eval_examples) {
                fields.push(("validation_loss", loss.into()));
                let better = best.as_ref().is_none_or(|(least, _)| loss < *least);
                if recipe.select == Select::ValidationLoss && better {
                    best = Some((loss, learner.parameters.clone()));
                }
            }
            if recipe.select == Select::Reward {
                let directory = epoch_directory(run, stage, epoch + 1);
                save_model_directory(&directory, &learner.to_model(), None, &[])?;
            }
        }
        run.record(stage, done, &fields)?;
        run.progress.step(done, &format!("loss {loss:.3}"));
        let best_loss = best.as_ref().map(|(loss, _)| ("best_loss", loss.to_string()));
        run.after_step(stage, done, total, best_loss.as_slice(), || {
            let mut buffers = Vec::new();
            learner.buffers("model", &mut buffers);
            if let Some((_, parameters)) = &best {
                buffers.push(("best".to_string(), parameters));
            }
            buffers
        })?;
    }
    if let Some((_, parameters)) = best {
        learner.parameters = parameters;
    }
    let after = demonstration_loss(&mut learner, data, recipe.eval_examples);
    let text_loss = validate(&mut learner, &data.text.validation, run.settings.pretrain.eval_tokens);
    let results = json!({ "steps": total, "demonstrations": examples.len(),
        "demonstration_loss_before": before, "demonstration_loss_after": after, "text_loss": text_loss });
    Ok(Finished { model: learner.to_model(), stage: stage.into(), clock, results })
}

/// Where an epoch's model waits for the reward model's choice.
pub fn epoch_directory(run: &Run, stage: &str, epoch: u64) -> PathBuf {
    run.directory.join(format!("{stage}_epochs")).join(format!("epoch-{epoch:02}"))
}

fn demonstration_loss(learner: &mut Learner, data: &Dataset, limit: usize) -> Option<f64> {
    let examples = &data.demonstrations.validation;
    let examples = sequences(&examples[..examples.len().min(limit)]);
    mean_loss(&mut learner.pass, &learner.model, &learner.parameters, &examples)
}

fn check_lengths(examples: &[Example], context: usize) -> Result<()> {
    match examples.iter().find(|example| example.tokens.len() > context) {
        None => Ok(()),
        Some(example) => Err(Error::usage(
            "data.max_response_tokens",
            format!("demonstrations of at most {} tokens, as the model's context is {context}", context),
            format!("one of {}", example.tokens.len()),
            "lower data.max_prompt_tokens or data.max_response_tokens: longer ones are then left out",
        )),
    }
}
