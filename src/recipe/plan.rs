//! The plan of a run: which stages it has, what each will take ([`planner`](super::planner)), and which keys of the
//! configuration would shorten it.

use std::path::Path;

use super::benchmarks;
use super::named::wanted;
use super::planner::Planner;
use crate::error::Result;
use crate::run::completed::Completed;
use crate::run::{Plan, PlannedStage, StageId};
use crate::settings::{Model, Settings};
use crate::train::dataset::Dataset;

/// The plan of a run. `root` is that of the configuration's relative paths, `own` the run's directory, if it has one;
/// `completed` says which stages are, and `only` asks for one stage with what belongs to it.
///
/// # Errors
/// Those of the model directories that the configuration names, and of the files of public benchmarks.
pub fn plan(
    settings: &Settings,
    root: &Path,
    own: Option<&Path>,
    data: &Dataset,
    completed: &Completed,
    only: Option<StageId>,
) -> Result<Plan> {
    let lengths = match asked_for(only).contains(&StageId::Benchmarks) {
        true => benchmarks::lengths(settings, root, &data.tokenizer)?,
        false => Vec::new(),
    };
    let lengths = &lengths[..];
    let planned = |settings: &Settings| -> Result<Vec<PlannedStage>> {
        let planner = Planner { s: settings, root, own, data, lengths };
        let ids = asked_for(only).into_iter().filter(|&id| wanted(settings, id));
        ids.map(|id| planner.stage(id, completed.covers(id))).collect()
    };
    let mut halved = Vec::new();
    for (key, value) in KEYS {
        let mut shorter = settings.clone();
        let value = value(&mut shorter);
        if value.get() >= 2 {
            value.halve();
            let left = planned(&shorter)?.into_iter().filter(|stage| !stage.done);
            halved.push((key, left.map(|stage| stage.work).sum()));
        }
    }
    let model = Planner { s: settings, root, own, data, lengths }.shape(Model::Pretrained)?;
    Ok(Plan { stages: planned(settings)?, model, device: settings.device, halved })
}

/// All stages in the order of figure 2, or those that are run where `only` is asked for.
pub(super) fn asked_for(only: Option<StageId>) -> Vec<StageId> {
    StageId::ALL.into_iter().filter(|&id| only.is_none_or(|only| belongs(id, only))).collect()
}

/// Whether a stage is run where `only` is asked for.
fn belongs(id: StageId, only: StageId) -> bool {
    use StageId::*;
    match only {
        RewardModel => matches!(id, Collect | RewardModel),
        RlhfInit => matches!(id, SftSelection | RlhfInit),
        Ppo | PpoToCompare | PpoPtx => matches!(id, Ppo | PpoToCompare | PpoPtx),
        _ => id == only,
    }
}

/// A number of the configuration that decides how long a run takes.
enum Value<'a> {
    U64(&'a mut u64),
    Usize(&'a mut usize),
}

impl Value<'_> {
    fn get(&self) -> u64 {
        match self {
            Value::U64(value) => **value,
            Value::Usize(value) => **value as u64,
        }
    }

    fn halve(self) {
        match self {
            Value::U64(value) => *value /= 2,
            Value::Usize(value) => *value /= 2,
        }
    }
}

/// The keys that a run can be shortened by.
type Key = (&'static str, for<'a> fn(&'a mut Settings) -> Value<'a>);
const KEYS: [Key; 12] = [
    ("pretrain.steps", |s| Value::U64(&mut s.pretrain.steps)),
    ("pretrain.batch", |s| Value::Usize(&mut s.pretrain.batch)),
    ("sft.epochs", |s| Value::Usize(&mut s.sft.epochs)),
    ("reward_model.epochs", |s| Value::Usize(&mut s.reward_model.epochs)),
    ("rlhf_init.epochs", |s| Value::Usize(&mut s.rlhf_init.epochs)),
    ("ppo.episodes", |s| Value::U64(&mut s.ppo.episodes)),
    ("ppo.inner_epochs", |s| Value::Usize(&mut s.ppo.inner_epochs)),
    ("ppo.ptx_examples_per_episode", |s| Value::Usize(&mut s.ppo.ptx_examples_per_episode)),
    ("ppo.max_response_tokens", |s| Value::Usize(&mut s.ppo.max_response_tokens)),
    ("model.context", |s| Value::Usize(&mut s.model.context)),
    ("model.width", |s| Value::Usize(&mut s.model.width)),
    ("model.layers", |s| Value::Usize(&mut s.model.layers)),
];
