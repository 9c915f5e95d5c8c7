//! The SFT model is the epoch whose responses to held-out prompts the reward model likes best (paper, C.1).

use serde_json::json;

use super::rollouts::Rollouts;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Draw, Network, Sampling};
use crate::num::statistics::mean;
use crate::run::{Finished, Stage, Step, Watch};

/// The stage. It is short, and keeps no state.
pub struct SftSelection<'a, E: Engine> {
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
    /// The best mean reward so far, its epoch and its network; nothing in the beginning.
    pub best: Option<(f64, u64, Network<E>)>,
}

impl<E: Engine> Stage for SftSelection<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.epochs
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let epoch = step + 1;
        let network = (self.load)(epoch)?;
        let draws = self.draw.consecutive(self.prompts.len());
        let responses = network.generate(&self.prompts, &self.sampling, &draws, &|_| watch.go_on());
        watch.check_stop()?;
        let rollouts = Rollouts::new(&self.prompts, &responses);
        let reward = mean(&self.reward.scores(rollouts.iter()));
        if self.best.as_ref().is_none_or(|(most, ..)| reward > *most) {
            self.best = Some((reward, epoch, network));
        }
        let fields = vec![("reward", reward.into())];
        Ok(Step { fields, line: format!("reward {reward:.3}"), tokens: rollouts.tokens.len() })
    }

    fn finish(self) -> Result<Finished<E>> {
        let (reward, epoch, network) = self.best.expect("at least one epoch");
        Ok(Finished::network(network, json!({ "epoch": epoch, "reward": reward })))
    }
}
