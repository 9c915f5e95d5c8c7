//! The model directories that the configuration names, and which stages of a run read each.

use std::path::Path;

use super::benchmarks;
use crate::checkpoint::load_tokenizer;
use crate::error::{Error, Result};
use crate::run::fingerprints::Fingerprints;
use crate::run::{Run, StageId};
use crate::settings::{Select, Settings};
use crate::text::Tokenizer;

/// The models that a run makes.
const MODELS: [&str; 6] = ["pretrain", "sft", "reward_model", "rlhf_init", "policy_without_ptx", "policy"];

/// A key that names a model directory.
pub(super) struct Named<'a> {
    /// `section.key`.
    pub key: &'static str,
    /// The directory, relative to the root.
    pub from: &'a str,
    /// Who reads it.
    pub readers: &'static [StageId],
}

/// All of them.
pub(super) fn named(settings: &Settings) -> Vec<Named<'_>> {
    use StageId::{Collect, Evaluation, Ppo, PpoPtx, Pretrain, RewardModel, RlhfInit, Sft, SftSelection};
    let Settings { tokenizer, pretrain, sft, reward_model, rlhf_init, ppo, collect, .. } = settings;
    let keys: [(&str, &Option<String>, &[StageId]); 10] = [
        ("tokenizer.from", &tokenizer.from, &[]),
        ("pretrain.init_from", &pretrain.init_from, &[Pretrain]),
        ("sft.init_from", &sft.init_from, &[Sft]),
        ("sft.reward_model_from", &sft.reward_model_from, &[SftSelection]),
        ("reward_model.init_from", &reward_model.init_from, &[RewardModel]),
        ("rlhf_init.init_from", &rlhf_init.init_from, &[RlhfInit]),
        ("ppo.init_from", &ppo.init_from, &[Ppo, PpoPtx]),
        ("ppo.reference_from", &ppo.reference_from, &[Ppo, PpoPtx]),
        ("ppo.value_init_from", &ppo.value_init_from, &[Ppo, PpoPtx]),
        ("ppo.reward_model_from", &ppo.reward_model_from, &[Ppo, PpoPtx, Evaluation]),
    ];
    let writers = collect.models.iter().map(|from| ("collect.models", from.as_str(), &[Collect] as &[_]));
    let set = keys.into_iter().filter_map(|(key, from, readers)| Some((key, from.as_deref()?, readers)));
    let all = set.chain(writers);
    all.map(|(key, from, readers)| Named { key, from, readers }).collect()
}

/// Whether the configuration wants a stage at all.
pub(super) fn wanted(settings: &Settings, stage: StageId) -> bool {
    let Settings { sft, reward_model, ppo, data, evaluation, .. } = settings;
    match stage {
        StageId::Pretrain | StageId::Evaluation => true,
        StageId::Sft => sft.epochs > 0,
        StageId::Collect => reward_model.epochs > 0 && data.world,
        StageId::RewardModel => reward_model.epochs > 0,
        StageId::SftSelection => sft.epochs > 0 && sft.select == Select::Reward,
        StageId::RlhfInit => ppo.episodes > 0,
        StageId::Ppo => ppo.episodes > 0 && !ppo.has_ptx(),
        StageId::PpoToCompare => ppo.episodes > 0 && ppo.has_ptx() && ppo.also_without_ptx,
        StageId::PpoPtx => ppo.episodes > 0 && ppo.has_ptx(),
        StageId::Benchmarks => !evaluation.tasks.is_empty(),
    }
}

/// Whether a stage is still to be run.
pub(super) fn to_do(settings: &Settings, run: &Run, stage: StageId) -> bool {
    let done = match stage {
        StageId::Evaluation => run.is_last_done(stage),
        // Once its reward model is there, nobody reads the comparisons again.
        StageId::Collect => run.is_done(stage) || run.is_done(StageId::RewardModel),
        _ => run.is_done(stage),
    };
    wanted(settings, stage) && !done
}

/// Whether a name in `collect.models` is that of a model of the run itself, which is there or will be by then.
pub(super) fn is_own(settings: &Settings, run: &Run, name: &str) -> bool {
    let to_come = name == "pretrain" || (name == "sft" && settings.sft.epochs > 0);
    // A path, though it may lead into the run directory, is what it says.
    to_come || (MODELS.contains(&name) && has(run, name))
}

/// Whether the run directory holds that model.
pub(super) fn has(run: &Run, name: &str) -> bool {
    run.directory.path.join(name).join("config.json").exists()
}

/// The tokenizer that the models of a run have; `None` before its first stage is complete.
///
/// # Errors
/// Those of its files.
pub(super) fn own_tokenizer(run: &Run) -> Result<Option<Tokenizer>> {
    // What the first stage was killed in while writing it is no model yet.
    if run.directory.completed.stages.is_empty() {
        return Ok(None);
    }
    for name in MODELS.iter().filter(|name| has(run, name)) {
        if let Some(tokenizer) = load_tokenizer(&run.directory.path.join(name))? {
            return Ok(Some(tokenizer));
        }
    }
    Ok(None)
}

/// Takes the fingerprints of all data files and of all model directories that are there, and compares them with those
/// the run began with.
///
/// # Errors
/// Those of [`Run::take_inputs`]; [`Error::Usage`] if the directory of the tokenizer is not there.
pub(super) fn take_inputs(
    settings: &Settings,
    root: &Path,
    run: &mut Run,
    tokenizer_needed: bool,
) -> Result<()> {
    let (mut found, named, data) = (Fingerprints::default(), named(settings), &settings.data);
    if !data.world {
        for name in
            [&data.pretraining, &data.demonstrations, &data.comparisons, &data.prompts].into_iter().flatten()
        {
            found.add_file(root, name)?;
        }
    }
    for file in benchmarks::files(settings, root)? {
        // Under its name below the root, which may lie elsewhere another time.
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        found.add_file(root, &name)?;
    }
    let tokenizer = settings.tokenizer.from.as_ref().or(settings.pretrain.init_from.as_ref());
    let tokenizer = tokenizer.filter(|_| tokenizer_needed).map(String::as_str);
    let mut needed = Vec::new();
    for Named { key, from, readers } in named {
        if key == "collect.models" && is_own(settings, run, from) {
            continue;
        }
        found.add_model(root, from)?;
        if tokenizer == Some(from) || readers.iter().any(|&stage| to_do(settings, run, stage)) {
            needed.push((key, from));
        }
    }
    run.take_inputs(found, |name| needed.iter().any(|(_, from)| *from == name))?;
    match needed.iter().find(|(_, from)| tokenizer == Some(from)) {
        Some((key, from)) => check_there(key, root, from),
        None => Ok(()),
    }
}

/// Checks that a key names a directory.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn check_there(key: &str, root: &Path, from: &str) -> Result<()> {
    let path = root.join(from);
    if path.is_dir() {
        return Ok(());
    }
    let hint = "relative paths begin at --data, or else at the configuration's own folder";
    Err(Error::usage(key, "a model directory", format!("none at {}", path.display()), hint))
}
