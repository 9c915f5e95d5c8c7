//! The public benchmarks of a run: which files they read, what they will take, and which models they ask.

use std::path::{Path, PathBuf};

use super::named::wanted;
use super::planner::Planner;
use crate::error::{Error, Result};
use crate::eval::loglikelihood::HELD;
use crate::eval::run_tasks::{Asking, Length, Prepared, ROOM};
use crate::eval::task_files;
use crate::eval::tasks::Instruction;
use crate::model::{Head, ModelConfig};
use crate::run::{PlannedStage, StageId, Work};
use crate::settings::{EvaluationSettings, Settings};
use crate::text::Tokenizer;

/// The models that are asked, of those in the run directory: names in tables, and directories. (Table 14 has no other.)
pub(super) const MODELS: [(&str, &str); 4] =
    [("pretrained", "pretrain"), ("sft", "sft"), ("ppo", "policy_without_ptx"), ("policy", "policy")];

/// How the models are asked.
pub(super) fn asking(settings: &Settings) -> Asking {
    let EvaluationSettings { style, shots, limit, .. } = settings.evaluation;
    Asking { style, shots, seed: settings.seed, limit, instruction: Instruction::None }
}

/// The file of each task, none without tasks; relative paths begin at `root`.
///
/// # Errors
/// Those of [`task_files::files`], by the keys of the configuration.
pub(super) fn files(settings: &Settings, root: &Path) -> Result<Vec<PathBuf>> {
    let EvaluationSettings { tasks, .. } = &settings.evaluation;
    match tasks.is_empty() {
        true => Ok(Vec::new()),
        false => task_files::files(tasks, &data(settings, root)).map_err(by_key),
    }
}

/// The tasks, read and found good.
///
/// # Errors
/// Those of [`task_files::prepare`], by the keys of the configuration.
pub(super) fn prepare(settings: &Settings, root: &Path) -> Result<Vec<(Prepared, PathBuf)>> {
    task_files::prepare(&settings.evaluation.tasks, &data(settings, root), asking(settings)).map_err(by_key)
}

fn data(settings: &Settings, root: &Path) -> Vec<PathBuf> {
    settings.evaluation.data.iter().map(|name| root.join(name)).collect()
}

/// An error about a flag of `instructgpt evaluate` as one about the key of the same meaning.
fn by_key(error: Error) -> Error {
    match error {
        Error::Usage { field, expected, found, hint } => {
            let field = match field.strip_prefix("--") {
                Some("task") => "evaluation.tasks".into(),
                Some(name) => format!("evaluation.{name}"),
                None => field,
            };
            Error::Usage { field, expected, found, hint }
        }
        other => other,
    }
}

/// What the stage reads and writes for one model, prompt by prompt; nothing where it is not wanted.
///
/// # Errors
/// Those of [`prepare`].
pub(super) fn lengths(settings: &Settings, root: &Path, tokenizer: &Tokenizer) -> Result<Vec<Length>> {
    if !wanted(settings, StageId::Benchmarks) {
        return Ok(Vec::new());
    }
    let prepared = prepare(settings, root)?;
    Ok(prepared.iter().flat_map(|(task, _)| task.lengths(tokenizer)).collect())
}

impl Planner<'_> {
    pub(super) fn benchmarks(&self, stage: &mut PlannedStage) -> Result<()> {
        let s = self.s;
        let models = self.language_models()?;
        let mut largest = 0;
        for model in &models {
            for length in self.lengths {
                let (tokens, flops) = take(model, *length);
                stage.tokens += tokens as u64;
                stage.work = stage.work
                    + match length.written {
                        true => Work { passes: 0.0, sampling: flops },
                        false => Work::passes(flops),
                    };
            }
            let together = s.device.decoded_together();
            let memory = model.reader_bytes(Head::LanguageModel, s.micro_batch_tokens, s.device)
                + model.sampling_bytes(ROOM.div_ceil(model.context), model.context, together)
                + model.cache_bytes(HELD.max(model.context) as u128);
            largest = largest.max(memory);
        }
        // One after the other is in memory.
        stage.networks += 1;
        stage.parameters +=
            models.iter().map(|model| model.parameters(Head::LanguageModel)).max().unwrap_or(0);
        stage.memory += largest;
        (stage.steps, stage.at_most) = ((models.len() * s.evaluation.tasks.len()) as u64, true);
        Ok(())
    }
}

/// The tokens of a prompt and of what follows, as far as the context holds them, and the arithmetic of reading both.
fn take(model: &ModelConfig, Length { prompt, following, .. }: Length) -> (usize, f64) {
    let following = following.min(model.context);
    let tokens = (prompt + following).min(model.context + 1);
    (tokens, model.forward_flops(Head::LanguageModel, tokens - 1, following))
}
