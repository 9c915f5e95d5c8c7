//! What PPO maximises: a reward model's scores, or a function of the user's own.

use super::rollouts::Rollouts;
use crate::engine::Engine;
use crate::model::{Head, Network};

/// Anything that scores responses.
pub trait RewardFunction {
    /// One finite score for each rollout, in their order; the response ends with the end-of-text token if it ended by
    /// itself. Higher is better; 0 should be about as good as a demonstration. Any other number of scores, or one that
    /// is not finite, stops the run.
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32>;
}

impl<E: Engine> RewardFunction for Network<E> {
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32> {
        assert_eq!(self.head, Head::Scalar, "a language model is no reward model");
        Network::scores(self, rollouts.iter())
    }
}

/// A function of prompt and response.
impl<F: FnMut(&[u32], &[u32]) -> f32> RewardFunction for F {
    fn scores(&mut self, rollouts: &Rollouts) -> Vec<f32> {
        (0..rollouts.len()).map(|i| self(rollouts.prompt(i), rollouts.response(i))).collect()
    }
}
