//! What a run is going to do: steps, tokens, memory and arithmetic of each stage, counted before the first. Nothing of
//! it reaches a result.

use super::stage::StageId;
use crate::engine::Device;
use crate::model::ModelConfig;

/// Floating-point operations, by how fast they go.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// In passes over many tokens at once: training, scoring, validation.
    pub passes: f64,
    /// In sampling, a token of each sequence at a time.
    pub sampling: f64,
}

impl Work {
    /// Passes alone.
    pub fn passes(flops: f64) -> Self {
        Work { passes: flops, sampling: 0.0 }
    }

    /// All of it, in floating-point operations.
    pub fn flops(self) -> f64 {
        self.passes + self.sampling
    }

    /// Seconds that it takes at a speed.
    pub fn seconds(self, speed: &Speed) -> f64 {
        self.passes / speed.passes + self.sampling / speed.sampling
    }
}

impl core::ops::Add for Work {
    type Output = Work;
    fn add(self, other: Work) -> Work {
        Work { passes: self.passes + other.passes, sampling: self.sampling + other.sampling }
    }
}

impl core::ops::Mul<f64> for Work {
    type Output = Work;
    fn mul(self, times: f64) -> Work {
        Work { passes: self.passes * times, sampling: self.sampling * times }
    }
}

impl core::iter::Sum for Work {
    fn sum<I: Iterator<Item = Work>>(works: I) -> Work {
        works.fold(Work::default(), core::ops::Add::add)
    }
}

/// How fast a machine does either kind of [`Work`], in floating-point operations per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Of passes.
    pub passes: f64,
    /// Of sampling.
    pub sampling: f64,
}

/// A stage to come.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// Which.
    pub id: StageId,
    /// Whether it is complete already.
    pub done: bool,
    /// Steps, as the stage counts them.
    pub steps: u64,
    /// Tokens of all steps, as the stage counts them; without validation.
    pub tokens: u64,
    /// Whether steps, tokens and work depend on what will be sampled, and are upper bounds.
    pub at_most: bool,
    /// Networks that are in memory together.
    pub networks: usize,
    /// Parameters of all of them.
    pub parameters: u128,
    /// Bytes that they and their working memory take.
    pub memory: u128,
    /// Arithmetic, validation included.
    pub work: Work,
}

/// All stages of a run, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The stages, complete ones included.
    pub stages: Vec<PlannedStage>,
    /// The shape of the model that pretraining trains, or the run starts from.
    pub model: ModelConfig,
    /// What computes.
    pub device: Device,
    /// Work that is left if a key is halved: those that shorten the run, by key.
    pub halved: Vec<(&'static str, Work)>,
}

impl Plan {
    /// The stages that are not complete.
    pub fn left(&self) -> impl Iterator<Item = &PlannedStage> {
        self.stages.iter().filter(|stage| !stage.done)
    }

    /// The work of all stages that are not complete.
    pub fn work_left(&self) -> Work {
        self.left().map(|stage| stage.work).sum()
    }

    /// The keys that shorten what is left most at that speed, with the seconds that halving each saves.
    pub fn shortest(&self, speed: &Speed) -> Vec<(&'static str, f64)> {
        let now = self.work_left().seconds(speed);
        let saved = |(key, work): &(&'static str, Work)| (*key, now - work.seconds(speed));
        let mut keys: Vec<_> = self.halved.iter().map(saved).collect();
        keys.sort_by(|a, b| b.1.total_cmp(&a.1));
        keys
    }
}
