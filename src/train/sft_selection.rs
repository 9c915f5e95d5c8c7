//! The SFT model is the epoch whose responses to held-out prompts the reward model likes best (paper, C.1).

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::rollouts::Rollouts;
use super::sft::exported;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Draw, Network, Sampling};
use crate::num::statistics::mean;
use crate::run::{Finished, Stage, StageId, Step, Watch};

/// The stage. It is short, and keeps no state. Without prompts it has no steps, and takes the last epoch.
pub struct SftSelection<'a, E: Engine> {
    /// The data that the chosen network is measured on.
    pub inputs: Inputs<'a>,
    /// Held-out demonstrations that are looked at.
    pub demonstrations: usize,
    /// How many epochs there are to choose from.
    pub epochs: u64,
    /// Loads the network of an epoch (from 1).
    pub load: &'a dyn Fn(u64) -> Result<Network<E>>,
    /// Who likes them.
    pub reward: Network<E>,
    /// What they are asked.
    pub prompts: Vec<&'a [u32]>,
    /// How they answer.
    pub sampling: Sampling,
    /// The address of their first answer.
    pub draw: Draw,
    /// What SFT left in `results.json`, to be brought up to date.
    pub sft: Value,
    /// The mean reward of each epoch so far; nothing in the beginning.
    pub rewards: Vec<f64>,
    /// The best of them, its epoch and its network.
    pub best: Option<(f64, u64, Network<E>)>,
}

impl<E: Engine> Stage for SftSelection<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        if self.prompts.is_empty() { 0 } else { self.epochs }
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let epoch = step + 1;
        let network = (self.load)(epoch)?;
        let draws = self.draw.consecutive(self.prompts.len());
        let responses = network.generate(&self.prompts, &self.sampling, &draws, &|_| watch.go_on());
        watch.check_stop()?;
        let rollouts = Rollouts::new(&self.prompts, &responses);
        let scores = self.reward.scores(rollouts.iter());
        watch.scores(&scores, rollouts.len())?;
        let reward = mean(&scores).expect("without prompts there are no steps");
        self.rewards.push(reward);
        if self.best.as_ref().is_none_or(|(most, ..)| reward > *most) {
            self.best = Some((reward, epoch, network));
        }
        let fields = vec![("reward", reward.into())];
        Ok(Step { fields, line: format!("reward {reward:.3}"), tokens: rollouts.tokens.len() })
    }

    fn finish(mut self) -> Result<Finished<E>> {
        let (reward, epoch, mut network) = match self.best.take() {
            Some((reward, epoch, network)) => (Some(reward), epoch, network),
            None => (None, self.epochs, (self.load)(self.epochs)?),
        };
        let chosen_by = if reward.is_some() { "reward" } else { "last" };
        // The results of SFT are those of the model that is exported now.
        let mut sft = self.sft;
        sft["exported"] = exported(&self.inputs, &mut network, self.demonstrations, epoch, chosen_by);
        let results =
            json!({ "epoch": epoch, "reward": reward, "rewards": self.rewards, "chosen_by": chosen_by });
        let mut finished = Finished::network(network, results);
        finished.report.insert(StageId::Sft.name().into(), sft);
        if reward.is_none() {
            finished.notes.push(
                "no held-out prompts to choose an epoch by (sft.select = \"reward\"): the last one is the SFT model"
                    .into(),
            );
        }
        Ok(finished)
    }
}
