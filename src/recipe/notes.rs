//! What can be said of a run before it starts: stages that will do nothing, or less than they seem to. None of it is
//! wrong, so it is noted and not refused.

use super::compatible::{Shape, Shapes};
use super::named::wanted;
use crate::run::{StageId, hints};
use crate::settings::Settings;
use crate::train::dataset::Dataset;

/// A stage that passes over data in batches.
struct Passes {
    section: &'static str,
    batch: usize,
    items: usize,
    what: &'static str,
    rate: f32,
    warmup: u64,
    updates: u64,
    known: hints::Known,
}

/// One sentence for each.
pub(super) fn before(s: &Settings, data: &Dataset, shapes: &Shapes) -> Vec<String> {
    let stages = passes(s, data);
    let mut notes = Vec::new();
    if !s.precision.is_exact() {
        notes.push(format!(
            "precision = \"{}\" has bits of its own: the same from run to run on this device, others than the processor's",
            s.precision.name()
        ));
    }
    if s.pretrain.steps == 0 && s.pretrain.init_from.is_none() {
        notes.push(
            "pretrain.steps = 0 without pretrain.init_from: what is not named begins with random weights"
                .into(),
        );
    }
    for stage in &stages {
        let Passes { section, batch, items, what, rate, warmup, updates, .. } = *stage;
        if items < batch {
            notes.push(format!(
                "{section}.batch = {batch} is more than the {items} {what} there are: each update sees all of them"
            ));
        }
        if rate == 0.0 {
            notes.push(format!("{section}.learning_rate = 0: the stage trains nothing"));
        }
        if warmup > 0 && warmup >= updates {
            notes.push(format!(
                "the last of the {updates} updates is within {section}.warmup_steps = {warmup}: the stage never reaches its \
                 learning rate"
            ));
        }
    }
    let longest = stages.iter().map(|stage| stage.updates).max().unwrap_or(0).max(s.ppo.updates());
    if s.limits.loss_spike > 0.0 && longest <= 20 {
        notes.push(format!(
            "limits.loss_spike binds from the 21st update on, and no stage has more than {longest}"
        ));
    }
    if wanted(s, StageId::SftSelection) && s.sft.epochs == 1 {
        notes.push("sft.select = \"reward\" has nothing to choose: sft.epochs = 1".into());
    }
    if wanted(s, StageId::RewardModel) {
        if s.reward_model.center_on_demonstrations && data.demonstrations.train.is_empty() {
            let shift = "the rewards are not shifted";
            notes.push(format!(
                "reward_model.center_on_demonstrations has no demonstrations to go by: {shift}"
            ));
        }
        let chooses = wanted(s, StageId::SftSelection) && s.sft.reward_model_from.is_none();
        if s.ppo.reward_model_from.is_some() && !chooses {
            notes.push(
                "the run trains a reward model that nothing asks, since ppo.reward_model_from is set".into(),
            );
        }
    }
    notes.extend(
        s.ppo.init_from.iter().filter(|_| wanted(s, StageId::RlhfInit) && s.rlhf_init.epochs > 0).map(|_| {
            "PPO does not start from the RLHF init that the run trains, since ppo.init_from is set"
                .to_string()
        }),
    );
    if s.ppo.episodes > 0 {
        notes.extend(ppo(s, data));
    }
    notes.extend(failing(s, &stages, shapes));
    notes
}

fn passes(s: &Settings, data: &Dataset) -> Vec<Passes> {
    let demonstrations = data.demonstrations.train.len();
    let updates = |epochs: usize, items: usize, batch: usize| (epochs * items.div_ceil(batch)) as u64;
    // In the miniature the rankings are still to be collected, one for each prompt.
    let rankings =
        if data.world.is_some() { data.ranking_prompts.train.len() } else { data.rankings.train.len() };
    let all = [
        (
            StageId::Pretrain,
            Passes {
                section: "pretrain",
                batch: s.pretrain.batch,
                // Windows are drawn at random, as many as are asked for.
                items: usize::MAX,
                what: "windows",
                rate: s.pretrain.learning_rate,
                warmup: s.pretrain.warmup_steps,
                updates: s.pretrain.steps,
                known: hints::PRETRAINING,
            },
        ),
        (
            StageId::Sft,
            Passes {
                section: "sft",
                batch: s.sft.batch,
                items: demonstrations,
                what: "demonstrations",
                rate: s.sft.learning_rate,
                warmup: s.sft.warmup_steps,
                updates: updates(s.sft.epochs, demonstrations, s.sft.batch),
                known: hints::SFT,
            },
        ),
        (
            StageId::RewardModel,
            Passes {
                section: "reward_model",
                batch: s.reward_model.batch,
                items: rankings,
                what: "comparisons",
                rate: s.reward_model.learning_rate,
                warmup: s.reward_model.warmup_steps,
                updates: updates(s.reward_model.epochs, rankings, s.reward_model.batch),
                known: hints::REWARD_MODEL,
            },
        ),
        (
            StageId::RlhfInit,
            Passes {
                section: "rlhf_init",
                batch: s.rlhf_init.batch,
                items: demonstrations,
                what: "demonstrations",
                rate: s.rlhf_init.learning_rate,
                warmup: s.rlhf_init.warmup_steps,
                updates: updates(s.rlhf_init.epochs, demonstrations, s.rlhf_init.batch),
                known: hints::RLHF_INIT,
            },
        ),
    ];
    let stages = all.into_iter().filter(|(id, stage)| wanted(s, *id) && stage.updates > 0);
    stages.map(|(_, stage)| stage).collect()
}

fn ppo(s: &Settings, data: &Dataset) -> Vec<String> {
    let (ppo, mut notes) = (&s.ppo, Vec::new());
    if ppo.episodes_left_over() > 0 {
        notes.push(format!(
            "whole iterations of ppo.batch = {} use {} of ppo.episodes = {}; the {} left over are not run",
            ppo.batch,
            ppo.episodes - ppo.episodes_left_over(),
            ppo.episodes,
            ppo.episodes_left_over()
        ));
    }
    let prompts = data.prompts.train.len();
    if prompts < ppo.batch {
        notes.push(format!(
            "ppo.batch = {} is more than the {prompts} prompts there are: an iteration asks some of them more than once",
            ppo.batch
        ));
    }
    if data.prompts.validation.is_empty() {
        notes.push("no prompts are held out: PPO has no validation reward".into());
    }
    for (key, rate) in
        [("learning_rate", ppo.learning_rate), ("value_learning_rate", ppo.value_learning_rate)]
    {
        if rate == 0.0 {
            notes.push(format!("ppo.{key} = 0: that network is not trained"));
        }
    }
    if ppo.warmup_iterations > 0 && ppo.warmup_iterations >= ppo.iterations() {
        notes.push(format!(
            "the last iteration, number {}, is within ppo.warmup_iterations = {}: the policy never reaches its learning rate",
            ppo.iterations(),
            ppo.warmup_iterations
        ));
    }
    notes.extend(ppo.average_note());
    let mixes = s.rlhf_init.epochs > 0 && s.rlhf_init.pretrain_fraction > 0.0;
    if mixes && data.text.train.predictions() == 0 {
        notes.push(
            "rlhf_init.pretrain_fraction has no pretraining text to mix in: the stage is plain SFT".into(),
        );
    }
    notes
}

/// What is known in advance to fail; each stage says it again among its results.
fn failing(s: &Settings, stages: &[Passes], shapes: &Shapes) -> Vec<String> {
    let width = |shape: &Option<Shape>| shape.as_ref().map(|shape| shape.config.width);
    let mut found = Vec::new();
    for stage in stages {
        let shape = match stage.section {
            "pretrain" => &shapes.pretrain,
            "sft" => &shapes.sft,
            "reward_model" => &shapes.reward_model,
            _ => &shapes.rlhf_init,
        };
        let key = format!("{}.learning_rate", stage.section);
        let slow = width(shape).and_then(|width| hints::slow(&key, stage.rate, width, stage.known));
        found.extend(slow.map(|hint| format!("{}: {hint}", stage.section)));
    }
    if s.ppo.episodes > 0 {
        let id = if s.ppo.has_ptx() { StageId::PpoPtx } else { StageId::Ppo };
        let rate = s.ppo.learning_rate;
        let slow = width(&shapes.policy)
            .and_then(|width| hints::slow("ppo.learning_rate", rate, width, hints::POLICY));
        let hints = hints::some([slow, hints::holds_start(s.ppo.average_decay(), s.ppo.updates())]);
        found.extend(hints.into_iter().map(|hint| format!("{}: {hint}", id.name())));
    }
    found
}
