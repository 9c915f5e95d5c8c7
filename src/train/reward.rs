//! What PPO maximises: a reward model's scores, or a function of the user's own.

use super::rollouts::Rollouts;
use crate::engine::Engine;
use crate::model::{Head, Network};
use crate::ranks::{Ranks, to_numbers, to_words};

/// Anything that scores responses.
pub trait RewardFunction {
    /// One finite score for each rollout, in their order; the response ends with the end-of-text token if it ended by
    /// itself. Higher is better; 0 should be about as good as a demonstration. Any other number of scores, or one that
    /// is not finite, stops the run.
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32>;

    /// Whether all ranks of a run must ask it, as it shares its work out. If not, the first one does, and tells the others
    /// the scores: what the function is may be only there, and need not give the same twice.
    fn is_shared_out(&self) -> bool {
        false
    }
}

/// [`RewardFunction::scores`], on all ranks of a run. All must call it.
pub fn scores(ranks: &dyn Ranks, reward: &mut dyn RewardFunction, rollouts: &Rollouts) -> Vec<f32> {
    if ranks.size() == 1 || reward.is_shared_out() {
        return reward.scores(rollouts);
    }
    let mine = if ranks.is_first() { reward.scores(rollouts) } else { Vec::new() };
    to_numbers(ranks.broadcast(to_words(mine)))
}

impl<E: Engine> RewardFunction for Network<E> {
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32> {
        assert_eq!(self.head, Head::Scalar, "a language model is no reward model");
        Network::scores(self, rollouts.iter())
    }

    fn is_shared_out(&self) -> bool {
        self.ranks().size() > 1
    }
}

/// A function of prompt and response.
impl<F: FnMut(&[u32], &[u32]) -> f32> RewardFunction for F {
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32> {
        (0..rollouts.len()).map(|i| self(rollouts.prompt(i), rollouts.response(i))).collect()
    }
}
