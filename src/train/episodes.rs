//! Episodes: rollouts, and everything that PPO computes from them, packed one after another.

use core::ops::Range;

use super::rollouts::Rollouts;
use crate::engine::Engine;
use crate::loss::advantage::{Whitening, gae, whiten};
use crate::loss::kl_reward::{KlSums, ScorePlacement, kl_estimates, kl_shaped_rewards};
use crate::model::{Network, Sequence};
use crate::settings::PpoSettings;

/// `B` episodes with `R` response tokens in all. What the value function is asked has `P` entries: as many, and
/// where the score is placed after the end of a response, one more for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Episodes {
    /// Prompts and responses.
    pub rollouts: Rollouts,
    /// Of each response, with what it lost for not ending; higher is better, (B).
    pub scores: Vec<f32>,

    /// Where each episode begins in the next three, (B + 1).
    pub response_offsets: Vec<usize>,
    /// The sampler's log-probs, (R).
    pub old_log_probs: Vec<f32>,
    /// The reference policy's log-probs of the same tokens, (R).
    pub reference_log_probs: Vec<f32>,
    /// How much better each token was than expected, (R).
    pub advantages: Vec<f32>,

    /// Where each episode begins in the next three, (B + 1).
    pub value_offsets: Vec<usize>,
    /// KL penalties and the score, (P).
    pub rewards: Vec<f32>,
    /// What was expected before each token, (P).
    pub values: Vec<f32>,
    /// What should have been expected, (P).
    pub returns: Vec<f32>,
}

impl Default for Episodes {
    fn default() -> Self {
        Episodes {
            rollouts: Rollouts::default(),
            scores: Vec::new(),
            response_offsets: vec![0],
            old_log_probs: Vec::new(),
            reference_log_probs: Vec::new(),
            advantages: Vec::new(),
            value_offsets: vec![0],
            rewards: Vec::new(),
            values: Vec::new(),
            returns: Vec::new(),
        }
    }
}

impl Episodes {
    /// What sampler and reward model say; the rest is zero, for [`estimate`] to fill in.
    pub fn new(rollouts: Rollouts, old_log_probs: Vec<f32>, scores: Vec<f32>, s: &PpoSettings) -> Self {
        let placement = match s.score_after_eos {
            true => ScorePlacement::AfterEndOfText,
            false => ScorePlacement::LastToken,
        };
        let (mut response_offsets, mut value_offsets) = (vec![0], vec![0]);
        for response in rollouts.responses() {
            let positions = placement.positions(response.len(), s.max_response_tokens);
            response_offsets.push(response_offsets[response_offsets.len() - 1] + response.len());
            value_offsets.push(value_offsets[value_offsets.len() - 1] + positions);
        }
        let (r, p) = (response_offsets[rollouts.len()], value_offsets[rollouts.len()]);
        assert_eq!((old_log_probs.len(), scores.len()), (r, rollouts.len()), "log-probs and scores");
        Episodes {
            rollouts,
            scores,
            response_offsets,
            old_log_probs,
            reference_log_probs: vec![0.0; r],
            advantages: vec![0.0; r],
            value_offsets,
            rewards: vec![0.0; p],
            values: vec![0.0; p],
            returns: vec![0.0; p],
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rollouts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rollouts.is_empty()
    }

    /// Where an episode's log-probs and advantages lie.
    pub fn response(&self, episode: usize) -> Range<usize> {
        self.response_offsets[episode]..self.response_offsets[episode + 1]
    }

    /// Where an episode's rewards, values and returns lie.
    pub fn positions(&self, episode: usize) -> Range<usize> {
        self.value_offsets[episode]..self.value_offsets[episode + 1]
    }

    /// Each as the value function is asked: before each token of the response, and after the last if the score goes
    /// there.
    pub fn value_sequences(&self) -> Vec<Sequence<'_>> {
        let sequence = |episode| {
            let from = self.rollouts.prompts[episode] - 1;
            let to = from + self.positions(episode).len();
            Sequence { tokens: self.rollouts.whole(episode), from, to }
        };
        (0..self.len()).map(sequence).collect()
    }

    /// Becomes the chosen of `all` episodes, in that order, in the memory that it has.
    pub fn gather(&mut self, all: &Episodes, chosen: &[usize]) {
        self.clear();
        for &episode in chosen {
            let (response, positions) = (all.response(episode), all.positions(episode));
            self.rollouts.push(all.rollouts.prompt(episode), all.rollouts.response(episode));
            self.scores.push(all.scores[episode]);
            self.old_log_probs.extend_from_slice(&all.old_log_probs[response.clone()]);
            self.reference_log_probs.extend_from_slice(&all.reference_log_probs[response.clone()]);
            self.advantages.extend_from_slice(&all.advantages[response]);
            self.response_offsets.push(self.advantages.len());
            self.rewards.extend_from_slice(&all.rewards[positions.clone()]);
            self.values.extend_from_slice(&all.values[positions.clone()]);
            self.returns.extend_from_slice(&all.returns[positions]);
            self.value_offsets.push(self.returns.len());
        }
    }

    fn clear(&mut self) {
        self.rollouts.clear();
        self.response_offsets.truncate(1);
        self.value_offsets.truncate(1);
        let of_responses = [&mut self.old_log_probs, &mut self.reference_log_probs, &mut self.advantages];
        let of_positions = [&mut self.rewards, &mut self.values, &mut self.returns];
        self.scores.clear();
        of_responses.into_iter().chain(of_positions).for_each(Vec::clear);
    }
}

/// Fills in what the rollouts are worth: reference log-probs, values, rewards, advantages (not yet whitened)
/// and returns. Returns how far the policy is from its reference.
pub fn estimate<E: Engine>(
    episodes: &mut Episodes,
    reference: &mut Network<E>,
    value: &mut Network<E>,
    s: &PpoSettings,
    kl_coef: f32,
) -> KlSums {
    // 1. The reference's log-probs of the same tokens.
    episodes.reference_log_probs = reference.log_probs(&episodes.rollouts.sequences(), s.temperature);

    // 2. Values: what is expected before each token is emitted.
    episodes.values = value.values(&episodes.value_sequences());

    // 3. Rewards with the KL penalty.
    let mut kl = KlSums::default();
    for episode in 0..episodes.len() {
        let (response, positions) = (episodes.response(episode), episodes.positions(episode));
        let old = &episodes.old_log_probs[response.clone()];
        let reference = &episodes.reference_log_probs[response];
        let rewards = &mut episodes.rewards[positions];
        kl_shaped_rewards(rewards, old, reference, kl_coef, episodes.scores[episode]);
        kl_estimates(old, reference, &mut kl);
    }
    if s.whiten_rewards {
        whiten(&mut episodes.rewards, Whitening { shift_mean: false, unbiased: s.unbiased_whitening });
    }

    // 4. Advantages and returns. With the score after the end, the last advantage is no token's.
    let mut advantages = Vec::new();
    for episode in 0..episodes.len() {
        let (response, positions) = (episodes.response(episode), episodes.positions(episode));
        advantages.clear();
        advantages.resize(positions.len(), 0.0);
        let returns = &mut episodes.returns[positions.clone()];
        let (rewards, values) = (&episodes.rewards[positions.clone()], &episodes.values[positions]);
        gae(&mut advantages, returns, rewards, values, s.gamma, s.lambda);
        advantages.truncate(response.len());
        episodes.advantages[response].copy_from_slice(&advantages);
    }
    kl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minibatch_holds_the_chosen_episodes_and_nothing_else() {
        let s = PpoSettings { score_after_eos: true, max_response_tokens: 3, ..PpoSettings::default() };
        let mut rollouts = Rollouts::default();
        rollouts.push(&[1, 2], &[3]);
        rollouts.push(&[4], &[5, 6, 7]);
        rollouts.push(&[8, 9], &[10, 11]);
        let mut all = Episodes::new(rollouts, (0..6).map(|x| x as f32).collect(), vec![-1.0, -2.0, -3.0], &s);
        // The full response has no room for a score behind it.
        assert_eq!((&all.response_offsets, &all.value_offsets), (&vec![0, 1, 4, 6], &vec![0, 2, 5, 8]));
        all.values = (0..8).map(|x| x as f32).collect();
        let mut minibatch = Episodes::default();
        for _ in 0..2 {
            minibatch.gather(&all, &[2, 0]);
        }
        assert_eq!(
            (minibatch.rollouts.whole(0), minibatch.rollouts.prompt(1)),
            (&[8, 9, 10, 11][..], &[1, 2][..])
        );
        assert_eq!(
            (minibatch.scores.as_slice(), minibatch.old_log_probs.as_slice()),
            (&[-3.0, -1.0][..], &[4.0, 5.0, 0.0][..])
        );
        assert_eq!(
            (minibatch.values.as_slice(), minibatch.value_offsets),
            (&[5.0, 6.0, 7.0, 0.0, 1.0][..], vec![0, 3, 5])
        );
        let asked: Vec<_> = all.value_sequences().iter().map(|s| (s.from, s.to, s.tokens.len())).collect();
        assert_eq!(asked, [(1, 3, 3), (0, 3, 4), (1, 4, 4)]);
    }
}
