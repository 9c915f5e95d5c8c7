//! How much better each token did than the value function expected.
//!
//! ```text
//! delta_t = r_t + gamma V_{t+1} - V_t,   V_T = 0          (Schulman et al., 2016)
//! A_t = delta_t + gamma lambda A_{t+1},  A_T = 0
//! R_t = A_t + V_t
//! ```
//!
//! The paper: "no discount" (gamma 1); lambda is not printed, 0.95 is from `lm-human-preferences`.

use crate::num::math::fma;

/// Advantages and returns of one response; all slices (T), or (T + 1) with the score after the end of the
/// text (then the last advantage belongs to no token). The value past the end is 0. No tokens, no work.
/// The returns are what the value function should have said; take them before whitening the advantages.
pub fn gae(
    advantages: &mut [f32],
    returns: &mut [f32],
    rewards: &[f32],
    values: &[f32],
    gamma: f32,
    lambda: f32,
) {
    let lengths = [advantages.len(), returns.len(), values.len()];
    assert_eq!(lengths, [rewards.len(); 3], "gae: advantages, returns and values against rewards");
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    let discount = gamma * lambda;
    for t in (0..rewards.len()).rev() {
        let delta = fma(gamma, next_value, rewards[t]) - values[t];
        advantages[t] = fma(discount, next_advantage, delta);
        returns[t] = advantages[t] + values[t];
        (next_value, next_advantage) = (values[t], advantages[t]);
    }
}

/// How to whiten; see [`whiten`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whitening {
    /// Whether the mean goes to 0; otherwise it stays what it was.
    pub shift_mean: bool,
    /// Whether the variance divides by `n - 1` (TRL, VERL) or by `n` (`lm-human-preferences`).
    pub unbiased: bool,
}

impl Whitening {
    /// For advantages: mean 0, population variance 1.
    pub const ADVANTAGES: Whitening = Whitening { shift_mean: true, unbiased: false };
    /// For rewards (off by default): the mean stays, as it says what is good.
    pub const REWARDS: Whitening = Whitening { shift_mean: false, unbiased: false };
}

/// Added to the variance.
const EPSILON: f64 = 1e-8;

/// Whitens all values of a batch in place: `(x - mean) / sqrt(variance + 1e-8)`, plus the mean again
/// without `shift_mean`.
///
/// Mean and variance are f64 sums in the order of the values. Values that are all equal (one value, say)
/// have variance 0 under either divisor and become exactly 0, or stay as they are without `shift_mean`. No
/// values, no work.
pub fn whiten(values: &mut [f32], whitening: Whitening) {
    let n = values.len();
    if n == 0 {
        return;
    }
    let mean = values.iter().fold(0.0, |sum: f64, &x| sum + x as f64) / n as f64;
    let squares = values.iter().fold(0.0, |sum: f64, &x| sum + (x as f64 - mean) * (x as f64 - mean));
    let divisor = if whitening.unbiased { (n - 1).max(1) } else { n };
    let deviation = libm::sqrt(squares / divisor as f64 + EPSILON);
    let shift = if whitening.shift_mean { 0.0 } else { mean };
    for x in values {
        *x = ((*x as f64 - mean) / deviation + shift) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn advantages_and_returns(rewards: &[f32], values: &[f32], gamma: f32, lambda: f32) -> [Vec<f32>; 2] {
        let [mut advantages, mut returns] = [vec![f32::NAN; rewards.len()], vec![f32::NAN; rewards.len()]];
        gae(&mut advantages, &mut returns, rewards, values, gamma, lambda);
        [advantages, returns]
    }

    #[test]
    fn three_tokens_by_hand() {
        // gamma 1, lambda 1/2: deltas 1+3-2 = 2, 0+1-3 = -2, 4+0-1 = 3; A = 3, -2+3/2, 2-1/4.
        let [advantages, returns] = advantages_and_returns(&[1.0, 0.0, 4.0], &[2.0, 3.0, 1.0], 1.0, 0.5);
        assert_eq!(advantages, [1.75, -0.5, 3.0]);
        assert_eq!(returns, [3.75, 2.5, 4.0]);
        // gamma 1/2, lambda 1/2: deltas 1/2, -5/2, 3; A = 3, -5/2+3/4, 1/2-7/16.
        let [advantages, _] = advantages_and_returns(&[1.0, 0.0, 4.0], &[2.0, 3.0, 1.0], 0.5, 0.5);
        assert_eq!(advantages, [0.0625, -1.75, 3.0]);
    }

    #[test]
    fn short_responses_are_defined() {
        assert_eq!(advantages_and_returns(&[], &[], 1.0, 0.95), [const { Vec::<f32>::new() }; 2]);
        assert_eq!(advantages_and_returns(&[4.0], &[1.5], 1.0, 0.95), [vec![2.5], vec![4.0]]);
    }

    proptest! {
        /// lambda 1: the return is the sum of the rewards to come; lambda 0: one step ahead.
        #[test]
        fn the_two_ends_of_lambda(pairs in prop::collection::vec((-64i32..64, -64i32..64), 1..40)) {
            let rewards: Vec<f32> = pairs.iter().map(|p| p.0 as f32 / 8.0).collect();
            let values: Vec<f32> = pairs.iter().map(|p| p.1 as f32 / 8.0).collect();
            let [_, full] = advantages_and_returns(&rewards, &values, 1.0, 1.0);
            let [_, one_step] = advantages_and_returns(&rewards, &values, 1.0, 0.0);
            for t in 0..rewards.len() {
                prop_assert_eq!(full[t], rewards[t..].iter().sum::<f32>());
                prop_assert_eq!(one_step[t], rewards[t] + values.get(t + 1).unwrap_or(&0.0));
            }
        }

        #[test]
        fn whitened_values_have_their_moments(values in prop::collection::vec(-50.0f32..50.0, 2..200)) {
            let mut white = values.clone();
            whiten(&mut white, Whitening::ADVANTAGES);
            let n = values.len() as f64;
            let mean = white.iter().map(|&x| x as f64).sum::<f64>() / n;
            let variance = white.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / n;
            prop_assert!(mean.abs() < 1e-6);
            prop_assert!((variance - 1.0).abs() < 1e-3 || values.iter().all(|x| (x - values[0]).abs() < 0.01));
        }
    }

    /// `lm-human-preferences`' own test values.
    #[test]
    fn whitening_golden() {
        let mut values = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0];
        whiten(&mut values, Whitening::REWARDS);
        let golden = [
            0.05080712, 0.4381051, 0.8254035, 1.2127019, 1.6000004, 1.9872988, 2.3745968, 2.7618952,
            3.1491938,
        ];
        for (found, expected) in values.iter().zip(golden) {
            assert!((found - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn whitening_by_hand() {
        // Mean 2, squares 4 + 0 + 4: variance 8/3, or 4 unbiased.
        let mut values = [0.0, 2.0, 4.0];
        whiten(&mut values, Whitening { shift_mean: true, unbiased: true });
        assert_eq!(values, [-1.0, 0.0, 1.0]);
        let mut values = [0.0, 2.0, 4.0];
        whiten(&mut values, Whitening { shift_mean: false, unbiased: true });
        assert_eq!(values, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn equal_values_are_safe() {
        for unbiased in [false, true] {
            for n in [0, 1, 3, 1000] {
                let mut values = vec![0.3f32; n];
                whiten(&mut values, Whitening { shift_mean: false, unbiased });
                assert_eq!(values, vec![0.3; n]);
                whiten(&mut values, Whitening { shift_mean: true, unbiased });
                assert_eq!(values, vec![0.0; n]);
            }
        }
    }
}
