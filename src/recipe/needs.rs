//! What the stages of a run will need, asked for before hours of training instead of after them.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::run::{Plan, PlannedStage};
use crate::settings::{Select, Settings};
use crate::train::dataset::Dataset;

/// Stages that need each other.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_settings(settings: &Settings) -> Result<()> {
    let Settings { sft, reward_model: own, .. } = settings;
    let selects = sft.epochs > 0 && sft.select == Select::Reward;
    if selects && sft.reward_model_from.is_none() && own.epochs == 0 {
        return Err(reward_model());
    }
    Ok(())
}

/// The reward model that is to choose SFT's epoch is missing.
pub fn reward_model() -> Error {
    let hint = "train one (reward_model.epochs), or set sft.select = \"validation_loss\"";
    Error::usage("sft.select", "a reward model to select by", "none", hint)
}

/// Comparisons are collected from the miniature's people; others come in files.
pub fn world() -> Error {
    Error::usage("--stage collect", "the miniature, data.world = true", "data from files", "")
}

/// Memory for every stage that is to run: what is plainly too large is said before the first.
///
/// # Errors
/// [`Error::Usage`] if the system does not have as much as a stage plans.
pub fn check_memory(plan: &Plan) -> Result<()> {
    let device = plan.device;
    let free = device.free_memory()?;
    let there = |bytes: u128| match free {
        Some(free) => bytes <= free as u128,
        // Asked for and given back untouched: only the system knows what it has.
        None => isize::try_from(bytes).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n as usize).is_ok()),
    };
    let Some(PlannedStage { id, parameters, memory, .. }) = plan.left().find(|stage| !there(stage.memory))
    else {
        return Ok(());
    };
    let of = match free {
        Some(free) => format!(" of {} MiB that {device} has free", free >> 20),
        None => String::new(),
    };
    let found = format!("{} with {parameters} parameters in memory: {} MiB{of}", id.name(), memory >> 20);
    let hint = "lower model.width, model.layers, model.context or micro_batch_tokens";
    Err(Error::usage("model", "a size that fits into memory", found, hint))
}

/// Data for every stage that is to run.
///
/// # Errors
/// [`Error::Usage`] for each kind of data that is missing, all of them at once.
pub fn check_data(settings: &Settings, data: &Dataset) -> Result<()> {
    let Settings { pretrain, sft, reward_model, rlhf_init, ppo, .. } = settings;
    let policy = ppo.episodes > 0;
    let demonstrations = sft.epochs > 0 || (policy && rlhf_init.epochs > 0);
    // The miniature's rankings are made on the way.
    let rankings = reward_model.epochs > 0 && data.world.is_none();
    let needs = [
        (
            pretrain.steps > 0,
            data.text.train.is_empty(),
            "documents",
            "data.pretraining",
            "text to pretrain on",
        ),
        (
            demonstrations,
            data.demonstrations.train.is_empty(),
            "demonstrations",
            "data.demonstrations",
            "demonstrations to learn from",
        ),
        (
            rankings,
            data.rankings.train.is_empty(),
            "comparisons",
            "data.comparisons",
            "rankings to learn from",
        ),
        (
            policy && ppo.has_ptx(),
            data.text.train.predictions() == 0,
            "documents",
            "data.pretraining",
            "text for PPO's pretraining gradient (or ppo.ptx_coef = 0)",
        ),
        (policy, data.prompts.train.is_empty(), "prompts", "data.prompts", "prompts to answer"),
    ];
    let mut faults: Vec<Error> = Vec::new();
    let mut said = BTreeSet::new();
    for (_, _, kind, field, what) in needs.into_iter().filter(|(needed, missing, ..)| *needed && *missing) {
        // Text that pretraining misses is missing for PPO as well.
        if said.insert(field) {
            let hint = "name files that hold some, or turn the stage off (steps, epochs or episodes = 0)";
            let found =
                data.account(kind).map_or("none".to_string(), |account| format!("none of the {account}"));
            faults.push(Error::usage(field, what, found, hint));
        }
    }
    Error::all(faults)
}
