//! The reward model's loss over the K ranked responses of one prompt (paper, Eq. 1).
//!
//! ```text
//! loss = -1/P sum over pairs (w, l) with rank_w < rank_l of ln sigmoid(r_w - r_l)
//! d loss / d r_w = -1/P sum sigmoid(r_l - r_w),      d loss / d r_l = +1/P sum sigmoid(r_l - r_w)
//! ```
//!
//! All C(K,2) pairs of a prompt form one batch element, so a response takes one forward pass and one
//! update. The paper drops ties; whether they stay in the denominator it does not say. Here `P` counts the
//! pairs that are left.
//!
//! The terms are added in a canonical order of the responses: by rank, then by reward. So no order in
//! which a file lists them shows in a bit of the loss or of any gradient.
//!
//! Not here: the mean over prompts (the caller's `weight`) and the bias that makes demonstrations average
//! 0 (the stage's last act).

use crate::num::math::{log_sigmoid, sigmoid};

/// The responses' indices by (rank, reward), without scratch memory: each is found as the least after the
/// one before. Quadratic in K, which is 4 to 9 in the paper.
fn canonical_order(rewards: &[f32], ranks: &[u32]) -> impl Iterator<Item = usize> {
    // Responses with equal rank and reward are interchangeable; the index only keeps them apart.
    let before = |&a: &usize, &b: &usize| {
        ranks[a].cmp(&ranks[b]).then(rewards[a].total_cmp(&rewards[b])).then(a.cmp(&b))
    };
    let first = (0..rewards.len()).min_by(before);
    core::iter::successors(first, move |last| {
        (0..rewards.len()).filter(|i| before(last, i).is_lt()).min_by(before)
    })
}

/// The pairs (winner, loser) that are not ties, in canonical order.
fn pairs(rewards: &[f32], ranks: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    canonical_order(rewards, ranks).flat_map(move |winner| {
        let losers = canonical_order(rewards, ranks).filter(move |&loser| ranks[winner] < ranks[loser]);
        losers.map(move |loser| (winner, loser))
    })
}

/// The mean loss over the pairs of one prompt, in nats, or `None` if all responses are tied (or fewer than
/// two). `rewards`, `ranks` (1 is best; equal numbers are ties) and `drewards`: (K). Writes `weight` times
/// the gradient to `drewards`: zeros with `None`.
pub fn reward_loss(rewards: &[f32], ranks: &[u32], drewards: &mut [f32], weight: f32) -> Option<f32> {
    assert_eq!([ranks.len(), drewards.len()], [rewards.len(); 2], "reward_loss: ranks, drewards against K");
    drewards.fill(0.0);
    let count = pairs(rewards, ranks).count();
    if count == 0 {
        return None;
    }
    let mut sum = 0.0;
    let share = weight / count as f32;
    for (winner, loser) in pairs(rewards, ranks) {
        let margin = rewards[winner] - rewards[loser];
        sum -= log_sigmoid(margin);
        let pull = share * sigmoid(-margin);
        drewards[winner] -= pull;
        drewards[loser] += pull;
    }
    Some(sum / count as f32)
}

/// How often the reward model agrees with the labeler.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PairAccuracy {
    /// Pairs whose winner has the higher reward; equal rewards count half.
    pub correct: f64,
    /// Pairs that are not ties.
    pub pairs: u64,
}

impl PairAccuracy {
    /// Adds another prompt's pairs (exact: the sums are multiples of a half).
    pub fn add(&mut self, other: PairAccuracy) {
        self.correct += other.correct;
        self.pairs += other.pairs;
    }

    /// The share of correct pairs, or `None` without pairs.
    pub fn share(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.correct / self.pairs as f64)
    }
}

/// Counts one prompt's pairs; shapes as in [`reward_loss`].
pub fn pair_accuracy(rewards: &[f32], ranks: &[u32]) -> PairAccuracy {
    assert_eq!(ranks.len(), rewards.len(), "pair_accuracy: ranks against rewards");
    let mut accuracy = PairAccuracy::default();
    for (winner, loser) in pairs(rewards, ranks) {
        accuracy.pairs += 1;
        accuracy.correct += match rewards[winner].partial_cmp(&rewards[loser]) {
            Some(core::cmp::Ordering::Greater) => 1.0,
            Some(core::cmp::Ordering::Equal) => 0.5,
            _ => 0.0,
        };
    }
    accuracy
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn loss_and_gradient(rewards: &[f32], ranks: &[u32], weight: f32) -> (Option<f32>, Vec<f32>) {
        let mut gradient = vec![f32::NAN; rewards.len()];
        (reward_loss(rewards, ranks, &mut gradient, weight), gradient)
    }

    #[test]
    fn three_responses_by_hand() {
        // Margins ln 3, ln 3 and 2 ln 3: sigmoids 3/4, 3/4 and 9/10.
        let l = 3f32.ln();
        let (loss, gradient) = loss_and_gradient(&[0.0, 2.0 * l, l], &[3, 1, 2], 6.0);
        let expected = -(0.75f32.ln() * 2.0 + 0.9f32.ln()) / 3.0;
        assert!((loss.unwrap() - expected).abs() < 1e-7);
        // Shares 1/4, 1/4, 1/10 times weight/3 = 2: the best loses 0.7, the middle 0, the worst gains 0.7.
        for (found, expected) in gradient.iter().zip([0.7, -0.7, 0.0]) {
            assert!((found - expected).abs() < 5e-7, "{gradient:?}");
        }
        assert_eq!(pair_accuracy(&[0.0, 2.0, 1.0], &[3, 1, 2]), PairAccuracy { correct: 3.0, pairs: 3 });
    }

    #[test]
    fn ties_leave_the_pairs_and_the_denominator() {
        // 1 and 2 tie: the two remaining margins are 0, each worth ln 2 and a gradient of 1/2 over 2 pairs.
        let (loss, gradient) = loss_and_gradient(&[5.0, 5.0, 5.0], &[1, 1, 2], 1.0);
        assert_eq!(loss, Some(core::f32::consts::LN_2));
        assert_eq!(gradient, [-0.25, -0.25, 0.5]);
        assert_eq!(pair_accuracy(&[5.0, 5.0, 5.0], &[1, 1, 2]), PairAccuracy { correct: 1.0, pairs: 2 });
        for (rewards, ranks) in [(&[1.0, 2.0][..], &[4, 4][..]), (&[1.0], &[1]), (&[], &[])] {
            let (loss, gradient) = loss_and_gradient(rewards, ranks, 1.0);
            assert!(loss.is_none() && gradient.iter().all(|&g| g == 0.0));
            assert_eq!(pair_accuracy(rewards, ranks).share(), None);
        }
    }

    #[test]
    fn extreme_margins_stay_finite() {
        let (loss, gradient) = loss_and_gradient(&[-1e30, 1e30], &[1, 2], 1.0);
        assert_eq!((loss, gradient), (Some(2e30), vec![-1.0, 1.0]));
        let (loss, gradient) = loss_and_gradient(&[1e30, -1e30], &[1, 2], 1.0);
        assert_eq!((loss, gradient), (Some(0.0), vec![0.0, 0.0]));
    }

    /// A ranking of 2 to 9 responses (few distinct values, so that ties and equal rewards occur) and a
    /// permutation of it.
    fn ranking() -> impl Strategy<Value = (Vec<f32>, Vec<u32>, Vec<usize>)> {
        let reward = prop_oneof![(-4i32..5).prop_map(|r| r as f32 / 2.0), -20.0f32..20.0, Just(-0.0f32)];
        (2usize..10).prop_flat_map(move |k| {
            let rewards = prop::collection::vec(reward.clone(), k);
            let order = Just((0..k).collect::<Vec<_>>()).prop_shuffle();
            (rewards, prop::collection::vec(1u32..6, k), order)
        })
    }

    proptest! {
        #[test]
        fn no_listing_order_shows_in_a_bit((rewards, ranks, order) in ranking(), weight in 0.01f32..2.0) {
            let (loss, gradient) = loss_and_gradient(&rewards, &ranks, weight);
            let other_rewards: Vec<f32> = order.iter().map(|&i| rewards[i]).collect();
            let other_ranks: Vec<u32> = order.iter().map(|&i| ranks[i]).collect();
            let (other_loss, other) = loss_and_gradient(&other_rewards, &other_ranks, weight);
            prop_assert_eq!(loss.map(f32::to_bits), other_loss.map(f32::to_bits));
            for (place, &i) in order.iter().enumerate() {
                prop_assert_eq!(gradient[i].to_bits(), other[place].to_bits());
            }
            prop_assert_eq!(pair_accuracy(&rewards, &ranks), pair_accuracy(&other_rewards, &other_ranks));
        }

        #[test]
        fn two_responses_are_the_pairwise_loss(chosen in -20.0f32..20.0, rejected in -20.0f32..20.0,
                                               weight in 0.01f32..2.0) {
            let (loss, gradient) = loss_and_gradient(&[rejected, chosen], &[2, 1], weight);
            prop_assert_eq!(loss.unwrap().to_bits(), (-log_sigmoid(chosen - rejected)).to_bits());
            let pull = weight * sigmoid(rejected - chosen);
            prop_assert_eq!(gradient[1].to_bits(), (-pull).to_bits());
            prop_assert_eq!(gradient[0].to_bits(), pull.to_bits());
        }

        /// The definition in f64, its central differences, and the pairwise expansion.
        #[test]
        fn follows_the_equation((rewards, ranks, _) in ranking()) {
            let exact = |rewards: &[f64]| {
                let (mut sum, mut count) = (0.0, 0);
                for w in 0..rewards.len() {
                    for l in 0..rewards.len() {
                        if ranks[w] < ranks[l] {
                            sum += (1.0 + (rewards[l] - rewards[w]).exp()).ln();
                            count += 1;
                        }
                    }
                }
                (count > 0).then(|| sum / count as f64)
            };
            let (loss, gradient) = loss_and_gradient(&rewards, &ranks, 1.0);
            let inputs: Vec<f64> = rewards.iter().map(|&r| r as f64).collect();
            let Some(expected) = exact(&inputs) else {
                prop_assert!(loss.is_none());
                return Ok(());
            };
            prop_assert!((loss.unwrap() as f64 - expected).abs() <= 2e-6 * expected.max(1.0));
            for i in 0..inputs.len() {
                let at = |shift: f64| {
                    let mut moved = inputs.clone();
                    moved[i] += shift;
                    exact(&moved).unwrap()
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                prop_assert!((gradient[i] as f64 - slope).abs() < 1e-6, "{} {}", gradient[i], slope);
            }
            prop_assert!(gradient.iter().sum::<f32>().abs() < 1e-6);
            // Adding a constant to all rewards changes nothing but their rounding.
            let shifted: Vec<f32> = rewards.iter().map(|r| r + 3.0).collect();
            let (other, _) = loss_and_gradient(&shifted, &ranks, 1.0);
            prop_assert!((other.unwrap() - loss.unwrap()).abs() < 1e-5);
        }
    }
}
