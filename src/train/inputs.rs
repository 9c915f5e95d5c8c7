//! What every training stage is given beside its own section of the configuration.

use super::dataset::Dataset;
use super::held_out;
use crate::data::Side;
use crate::engine::Engine;
use crate::model::Network;
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::AdamStyle;
use crate::optim::learner::{Learner, Optimizer};
use crate::optim::schedule::{Decay, Schedule};
use crate::settings::{AdamSettings, Settings};

/// The data of a run, and the values that all of its stages share.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// What there is to learn from.
    pub data: &'a Dataset,
    /// Every random number follows from it.
    pub seed: u64,
    /// Most tokens in one pass; shows in no bit.
    pub micro_batch_tokens: usize,
    /// Constants of Adam.
    pub adam: &'a AdamSettings,
    /// Tokens of held-out text that a validation looks at.
    pub eval_tokens: usize,
}

impl<'a> Inputs<'a> {
    /// From the configuration.
    pub fn new(settings: &'a Settings, data: &'a Dataset) -> Self {
        Inputs {
            data,
            seed: settings.seed,
            micro_batch_tokens: settings.micro_batch_tokens,
            adam: &settings.adam,
            eval_tokens: settings.pretrain.eval_tokens,
        }
    }

    /// An optimizer of a stage's own keys.
    pub fn optimizer(&self, style: Option<AdamStyle>, weight_decay: f64, gradient_clip: f32) -> Optimizer {
        let adam = AdamSettings { style: style.unwrap_or(self.adam.style), ..self.adam.clone() };
        Optimizer { adam: adam.adamw(weight_decay), gradient_clip }
    }

    /// A learner that starts from `network` and keeps no average.
    pub fn learner<E: Engine>(&self, network: Network<E>, optimizer: Optimizer) -> Learner<E> {
        Learner::new(network, optimizer, self.micro_batch_tokens, false)
    }

    /// The items of a step, `batch` of `n`, in an order that each epoch has of its own; an epoch's last step has what
    /// is left.
    pub fn shuffled(&self, stage: Stage, n: usize, batch: usize, step: u64) -> Vec<usize> {
        let steps = n.div_ceil(batch) as u64;
        let (epoch, place) = (step / steps, (step % steps) as usize);
        self.order(stage, n, epoch).into_iter().skip(place * batch).take(batch).collect()
    }

    /// The order of `n` items that an epoch has of its own.
    pub fn order(&self, stage: Stage, n: usize, epoch: u64) -> Vec<usize> {
        Rng::at(self.seed, stage, Purpose::Shuffle, epoch, 0, 0).permutation(n)
    }

    /// Mean loss on the text of a side, in nats per token; `None` without any.
    pub fn text_loss<E: Engine>(&self, network: &mut Network<E>, side: Side) -> Option<f64> {
        held_out::text_loss(network, self.data.text.of(side), self.eval_tokens).mean
    }

    /// Mean loss on the first `limit` demonstrations of a side, in nats per response token; `None` without any.
    pub fn demonstration_loss<E: Engine>(
        &self,
        network: &mut Network<E>,
        side: Side,
        limit: usize,
    ) -> Option<f64> {
        held_out::demonstration_loss(network, self.data.demonstrations.of(side), limit)
    }
}

/// A stage's schedule, from its keys: the warm-up begins at 0.
pub fn schedule(decay: Decay, final_fraction: f64, warmup_steps: u64) -> Schedule {
    Schedule { decay, final_fraction, warmup_steps, warmup_start_fraction: 0.0 }
}
