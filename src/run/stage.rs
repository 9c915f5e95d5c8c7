//! The stages of a run: what each is called, and what a stage is to the driver.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::metrics::Value;
use super::watch::Watch;
use crate::checkpoint::State;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::num::rng;

/// A stage, by all its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageId {
    /// Language modelling on text.
    Pretrain,
    /// Supervised fine-tuning on demonstrations.
    Sft,
    /// Sampled responses, ranked by labelers.
    Collect,
    /// The reward model, from rankings.
    RewardModel,
    /// The choice among SFT's epochs.
    SftSelection,
    /// The model PPO starts from: SFT mixed with pretraining text.
    RlhfInit,
    /// PPO.
    Ppo,
    /// PPO where PPO-ptx is trained as well: the same stage, and its model is not the run's policy.
    PpoToCompare,
    /// PPO-ptx.
    PpoPtx,
    /// Public benchmarks, asked of the models that are there.
    Benchmarks,
    /// Held-out comparison of the models that are there.
    Evaluation,
}

impl StageId {
    /// All of them, in the order of a run.
    pub const ALL: [StageId; 11] = [
        StageId::Pretrain,
        StageId::Sft,
        StageId::Collect,
        StageId::RewardModel,
        StageId::SftSelection,
        StageId::RlhfInit,
        StageId::Ppo,
        StageId::PpoToCompare,
        StageId::PpoPtx,
        StageId::Benchmarks,
        StageId::Evaluation,
    ];

    /// Its name on the command line, in `metrics.jsonl`, `results.json`, `run.json`, and of its states.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The model directory that it leaves.
    pub fn directory(self) -> Option<&'static str> {
        self.names().1
    }

    /// Where its random draws come from.
    pub fn draws(self) -> rng::Stage {
        self.names().2
    }

    /// Who trained the network that it leaves, for the network's own file.
    pub fn trainer(self) -> StageId {
        if self == StageId::SftSelection { StageId::Sft } else { self }
    }

    fn names(self) -> (&'static str, Option<&'static str>, rng::Stage) {
        match self {
            StageId::Pretrain => ("pretrain", Some("pretrain"), rng::Stage::Pretrain),
            StageId::Sft => ("sft", Some("sft"), rng::Stage::Sft),
            StageId::Collect => ("collect", None, rng::Stage::RewardModel),
            StageId::RewardModel => ("reward_model", Some("reward_model"), rng::Stage::RewardModel),
            StageId::SftSelection => ("sft_selection", Some("sft"), rng::Stage::Sft),
            StageId::RlhfInit => ("rlhf_init", Some("rlhf_init"), rng::Stage::RlhfInit),
            StageId::Ppo => ("ppo", Some("policy"), rng::Stage::Ppo),
            StageId::PpoToCompare => ("ppo", Some("policy_without_ptx"), rng::Stage::Ppo),
            StageId::PpoPtx => ("ppo_ptx", Some("policy"), rng::Stage::Ppo),
            StageId::Benchmarks => ("benchmarks", None, rng::Stage::Eval),
            StageId::Evaluation => ("evaluation", None, rng::Stage::Eval),
        }
    }
}

/// What a stage is: its steps, and what it must have back to go on after any of them. The driver,
/// [`super::driver::Run::drive`], does the rest.
pub trait Stage {
    /// What computes.
    type Engine: Engine;

    /// How many steps it has: updates, iterations, models.
    fn steps(&self) -> u64;

    /// Makes step `step` (from 0).
    ///
    /// # Errors
    /// [`Error::Numeric`] if a number is not finite or leaves its bounds, [`Error::Interrupted`] if it looks for that.
    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step>;

    /// What [`Stage::restore`] needs. A stage without a state is short: if it is stopped, it starts over.
    fn state(&self) -> Option<StageState<'_>> {
        None
    }

    /// Takes back what [`Stage::state`] gave.
    ///
    /// # Errors
    /// [`Error::Format`] if it is of another configuration.
    fn restore(&mut self, _saved: &mut Saved) -> Result<()> {
        Ok(())
    }

    /// What it leaves behind, after its last step.
    ///
    /// # Errors
    /// Its own.
    fn finish(self) -> Result<Finished<Self::Engine>>;
}

/// What a step tells.
#[derive(Debug, Default)]
pub struct Step {
    /// Its line of `metrics.jsonl`, in order; nothing: no line.
    pub fields: Vec<(&'static str, Value)>,
    /// How it went, for the progress display.
    pub line: String,
    /// Tokens that it read or wrote, for the rate in `timings.jsonl`.
    pub tokens: usize,
}

/// What a stage goes on from, by name.
#[derive(Debug, Default)]
pub struct StageState<'a> {
    /// Numbers: weights, moments.
    pub buffers: Vec<(String, Cow<'a, [f32]>)>,
    /// Whatever else, as text.
    pub strings: Vec<(&'static str, String)>,
}

/// A state that was read back.
#[derive(Debug)]
pub struct Saved {
    /// Steps made.
    pub step: u64,
    /// What was saved.
    pub state: State,
    /// Where it was, for messages.
    pub origin: String,
}

impl Saved {
    /// A buffer of that length.
    ///
    /// # Errors
    /// [`Error::Format`] if there is none, or one of another length.
    pub fn take(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        match self.state.buffers.remove(name) {
            Some(buffer) if buffer.len() == length => Ok(buffer),
            other => Err(Error::format(
                &self.origin,
                format!("buffer {name:?}"),
                format!("{length} numbers"),
                other.map_or("nothing".into(), |buffer| format!("{} numbers", buffer.len())),
                "the state belongs to another configuration: start in a new directory",
            )),
        }
    }

    /// A string that holds a `T` as JSON.
    ///
    /// # Errors
    /// [`Error::Format`] if there is none, or it holds something else.
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text = self.state.strings.get(name).map_or("", String::as_str);
        serde_json::from_str(text).map_err(|error| {
            let hint = "the state belongs to another version: start in a new directory";
            Error::format(&self.origin, format!("string {name:?}"), "what the stage had counted", error, hint)
        })
    }

    /// A string that can be read as a `T`.
    pub fn parse<T: core::str::FromStr>(&self, name: &str) -> Option<T> {
        self.state.strings.get(name)?.parse().ok()
    }
}

/// What a stage leaves behind.
pub struct Finished<E: Engine> {
    /// Its entry in `results.json`, an object.
    pub results: Json,
    /// What a reader of the results must know, in sentences; they are told at once, and stand in the entry as `notes`.
    pub notes: Vec<String>,
    /// To be saved in its model directory.
    pub network: Option<Network<E>>,
    /// Files of the run directory: name and text.
    pub files: Vec<(&'static str, String)>,
    /// Other entries of `results.json`: those that are no stage's (`tables`, `notes`), or another stage's anew.
    pub report: Map<String, Json>,
}

impl<E: Engine> Finished<E> {
    /// A network, and what training it found.
    pub fn network(network: Network<E>, results: Json) -> Self {
        let (notes, files, report) = (Vec::new(), Vec::new(), Map::new());
        Finished { results, notes, network: Some(network), files, report }
    }

    /// A file, and what was found on the way.
    pub fn file(name: &'static str, text: String, results: Json) -> Self {
        let (notes, report) = (Vec::new(), Map::new());
        Finished { results, notes, network: None, files: vec![(name, text)], report }
    }
}
