//! The clipped losses of policy and value function, with their gradients.
//!
//! ```text
//! rho = exp(ln p_new(y) - ln p_old(y))
//! policy = mean over tokens of max(-A rho, -A clip(rho, 1 - c, 1 + c))             (Schulman et al., 2017)
//! value  = value_coef mean over tokens of 1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2)
//! ```
//!
//! "Mean over tokens" is of the whole minibatch: the caller passes `weight = 1 / its tokens` with every
//! micro-batch. The sums are chains that the next call continues, so no split of a minibatch into
//! micro-batches, cut anywhere in its token order, shows in a bit of a gradient or a metric.
//!
//! The clip is 0.2 in the paper for the policy; for the value it is `lm-human-preferences`'. There is no
//! entropy bonus.

use crate::num::math::exp;

/// `f32::clamp` panics when a bound is NaN; here a NaN goes through, for the caller's check to find.
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Running sums over a minibatch's tokens. Divide by `tokens` to report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PolicySums {
    /// The losses, unweighted.
    pub loss: f64,
    /// `1/2 (ln p_new - ln p_old)^2`, as `lm-human-preferences` reports it.
    pub approx_kl: f64,
    /// The ratios.
    pub ratio: f64,
    /// The largest ratio; 0 before the first token.
    pub ratio_max: f32,
    /// Tokens on which clipping made the loss larger (and the gradient zero).
    pub clipped: u64,
    /// Tokens summed.
    pub tokens: u64,
}

/// The policy loss of some tokens of a minibatch, in order; all slices (N tokens). Writes `weight` times the
/// gradient to `dlog_probs` and adds to `sums`.
///
/// Where new and old log-probs are equal the ratio is exactly 1 and the gradient exactly
/// `-advantage * weight`. Of equal terms in `max` the unclipped one counts. (PyTorch gives half the
/// gradient to each; it comes to the same, as either the ratio is inside the clip and both have the same
/// gradient, or the advantage is 0.)
///
/// An infinite ratio is clipped when the advantage is positive; when it is negative the loss and the
/// gradient are infinite, for the caller to stop at.
pub fn policy_loss(
    dlog_probs: &mut [f32],
    new_log_probs: &[f32],
    old_log_probs: &[f32],
    advantages: &[f32],
    clip: f32,
    weight: f32,
    sums: &mut PolicySums,
) {
    let lengths = [new_log_probs.len(), old_log_probs.len(), advantages.len()];
    assert_eq!(lengths, [dlog_probs.len(); 3], "policy_loss: new, old, advantages against dlog_probs");
    for t in 0..dlog_probs.len() {
        let log_ratio = new_log_probs[t] - old_log_probs[t];
        let ratio = exp(log_ratio);
        let unclipped = -advantages[t] * ratio;
        let clipped = -advantages[t] * clamp(ratio, 1.0 - clip, 1.0 + clip);
        let is_clipped = clipped > unclipped;
        // d unclipped / d new = -A rho, as rho is its own derivative; where the clip decides, it is flat.
        dlog_probs[t] = if is_clipped { 0.0 } else { unclipped * weight };
        sums.loss += if is_clipped { clipped } else { unclipped } as f64;
        sums.approx_kl += 0.5 * log_ratio as f64 * log_ratio as f64;
        sums.ratio += ratio as f64;
        sums.ratio_max = if ratio > sums.ratio_max { ratio } else { sums.ratio_max };
        sums.clipped += is_clipped as u64;
        sums.tokens += 1;
    }
}

/// Running sums over a minibatch's positions. Divide by `tokens` to report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValueSums {
    /// `1/2 max(...)`, without coefficient or weight.
    pub loss: f64,
    /// Positions on which clipping made the loss larger (and the gradient zero).
    pub clipped: u64,
    /// Positions summed.
    pub tokens: u64,
}

/// The value loss of some positions of a minibatch, in order; all slices (N). Writes
/// `value_coef * weight` times the gradient to `dvalues` and adds to `sums`. An infinite `clip` is none.
/// Of equal squares the unclipped one counts.
pub fn value_loss(
    dvalues: &mut [f32],
    values: &[f32],
    old_values: &[f32],
    returns: &[f32],
    clip: f32,
    value_coef: f32,
    weight: f32,
    sums: &mut ValueSums,
) {
    let lengths = [values.len(), old_values.len(), returns.len()];
    assert_eq!(lengths, [dvalues.len(); 3], "value_loss: values, old values, returns against dvalues");
    let scale = value_coef * weight;
    for t in 0..dvalues.len() {
        let error = values[t] - returns[t];
        let clipped_error = clamp(values[t], old_values[t] - clip, old_values[t] + clip) - returns[t];
        let is_clipped = clipped_error * clipped_error > error * error;
        // Where the clip decides, the value is outside its range and the loss flat.
        dvalues[t] = if is_clipped { 0.0 } else { error * scale };
        let counted = if is_clipped { clipped_error } else { error };
        sums.loss += (0.5 * counted * counted) as f64;
        sums.clipped += is_clipped as u64;
        sums.tokens += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn policy(new: &[f32], old: &[f32], advantages: &[f32], weight: f32) -> (Vec<f32>, PolicySums) {
        let (mut gradient, mut sums) = (vec![f32::NAN; new.len()], PolicySums::default());
        policy_loss(&mut gradient, new, old, advantages, 0.2, weight, &mut sums);
        (gradient, sums)
    }

    fn value(values: &[f32], old: &[f32], returns: &[f32], weight: f32) -> (Vec<f32>, ValueSums) {
        let (mut gradient, mut sums) = (vec![f32::NAN; values.len()], ValueSums::default());
        value_loss(&mut gradient, values, old, returns, 0.2, 0.5, weight, &mut sums);
        (gradient, sums)
    }

    #[test]
    fn policy_by_hand() {
        // Ratios 2, 2, 1/2, 1/2 (up to rounding), advantages 1, -1, 1, -1. Larger term: -1.2 (clipped),
        // 2 (not), -0.5 (not), 0.8 (clipped); the gradient is the unclipped term or nothing.
        let l = core::f32::consts::LN_2;
        let (gradient, sums) = policy(&[l, l, -l, -l], &[0.0; 4], &[1.0, -1.0, 1.0, -1.0], 0.25);
        for (found, expected) in gradient.iter().zip([0.0, 0.5, -0.125, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
        assert!((sums.loss - 1.1).abs() < 1e-6 && (sums.ratio - 5.0).abs() < 1e-6);
        assert!((sums.approx_kl - 2.0 * (l * l) as f64).abs() < 1e-6);
        assert!((sums.ratio_max - 2.0).abs() < 1e-6 && sums.clipped == 2 && sums.tokens == 4);
    }

    #[test]
    fn value_by_hand() {
        // Old value 0, clip 0.2. V 1, R 2: the clipped error -1.8 is larger: flat. V 1, R -1: error 2.
        // V 0.1, R 0: inside. V 0.5, R 0.5: the clipped error -0.3 is larger.
        let (gradient, sums) = value(&[1.0, 1.0, 0.125, 0.5], &[0.0; 4], &[2.0, -1.0, 0.0, 0.5], 0.25);
        assert_eq!(gradient, [0.0, 0.25, 0.015625, 0.0]);
        assert!((sums.loss - 0.5 * (3.24 + 4.0 + 0.015625 + 0.09)).abs() < 1e-6);
        assert_eq!((sums.clipped, sums.tokens), (2, 4));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(policy(&[], &[], &[], 1.0).1, PolicySums::default());
        assert_eq!(value(&[], &[], &[], 1.0).1, ValueSums::default());
    }

    #[test]
    fn an_infinite_clip_is_none() {
        let (mut gradient, mut sums) = ([0.0], ValueSums::default());
        value_loss(&mut gradient, &[5.0], &[0.0], &[4.0], f32::INFINITY, 1.0, 1.0, &mut sums);
        assert_eq!((gradient, sums.loss, sums.clipped), ([1.0], 0.5, 0));
    }

    #[test]
    fn an_overflowing_ratio_is_clipped_or_seen() {
        let (gradient, sums) = policy(&[0.0; 2], &[-200.0; 2], &[1.0, 0.0], 1.0);
        assert!(gradient[0] == 0.0 && sums.ratio_max == f32::INFINITY);
        let (gradient, sums) = policy(&[0.0], &[-200.0], &[-1.0], 1.0);
        assert!(gradient[0] == f32::INFINITY && sums.loss == f64::INFINITY);
    }

    #[test]
    fn a_nan_reaches_the_gradient() {
        let (gradient, _) = policy(&[f32::NAN, 0.0], &[0.0; 2], &[1.0; 2], 1.0);
        assert!(gradient[0].is_nan() && gradient[1] == -1.0);
        for (v, old, target) in [(f32::NAN, 0.0, 0.0), (0.0, 0.0, f32::NAN)] {
            assert!(value(&[v], &[old], &[target], 1.0).0[0].is_nan());
        }
        value(&[0.0], &[f32::NAN], &[0.0], 1.0);
    }

    /// (new, old, advantage) per token.
    fn tokens() -> impl Strategy<Value = Vec<(f32, f32, f32)>> {
        prop::collection::vec((-3.0f32..0.0, -3.0f32..0.0, -2.0f32..2.0), 1..30)
    }

    fn unzip(tokens: &[(f32, f32, f32)]) -> [Vec<f32>; 3] {
        [
            tokens.iter().map(|t| t.0).collect(),
            tokens.iter().map(|t| t.1).collect(),
            tokens.iter().map(|t| t.2).collect(),
        ]
    }

    proptest! {
        /// Same log-probs: the ratio is 1, nothing is clipped, and the gradient is -A weight, to the bit.
        #[test]
        fn equal_log_probs_give_ratio_one(tokens in tokens()) {
            let [new, _, advantages] = unzip(&tokens);
            let weight = 1.0 / new.len() as f32;
            let (gradient, sums) = policy(&new, &new, &advantages, weight);
            prop_assert_eq!((sums.ratio, sums.ratio_max, sums.approx_kl), (new.len() as f64, 1.0, 0.0));
            prop_assert_eq!(sums.clipped, 0);
            for (g, a) in gradient.iter().zip(&advantages) {
                prop_assert_eq!(g.to_bits(), (-a * weight).to_bits());
            }
        }

        #[test]
        fn no_micro_batch_shows(tokens in tokens(), cut in 0usize..30) {
            let [a, b, c] = unzip(&tokens);
            let cut = cut.min(a.len());
            let (whole, sums) = policy(&a, &b, &c, 0.1);
            let (mut parts, mut chain) = (vec![0.0; a.len()], PolicySums::default());
            let (whole_values, value_sums) = value(&a, &b, &c, 0.1);
            let (mut value_parts, mut value_chain) = (vec![0.0; a.len()], ValueSums::default());
            for r in [0..cut, cut..a.len()] {
                let (a, b, c) = (&a[r.clone()], &b[r.clone()], &c[r.clone()]);
                policy_loss(&mut parts[r.clone()], a, b, c, 0.2, 0.1, &mut chain);
                value_loss(&mut value_parts[r], a, b, c, 0.2, 0.5, 0.1, &mut value_chain);
            }
            prop_assert_eq!((whole, sums), (parts, chain));
            prop_assert_eq!((whole_values, value_sums), (value_parts, value_chain));
        }

        /// Central differences of the equations in f64, away from the kinks.
        #[test]
        fn gradients_are_those_of_the_equations(tokens in tokens()) {
            let [new, old, third] = unzip(&tokens);
            let (policy_gradient, policy_sums) = policy(&new, &old, &third, 0.5);
            let (value_gradient, value_sums) = value(&new, &old, &third, 0.5);
            let (mut policy_total, mut value_total) = (0.0, 0.0);
            for (t, &(new, old, third)) in tokens.iter().enumerate() {
                let (new, old, third) = (new as f64, old as f64, third as f64);
                let policy = |new: f64| {
                    let ratio = (new - old).exp();
                    (-third * ratio).max(-third * ratio.clamp(0.8, 1.2))
                };
                let value = |new: f64| {
                    let clipped = new.clamp(old - 0.2, old + 0.2);
                    0.5 * (new - third).powi(2).max((clipped - third).powi(2))
                };
                policy_total += policy(new);
                value_total += value(new);
                let slope = |f: &dyn Fn(f64) -> f64| (f(new + 1e-6) - f(new - 1e-6)) / 2e-6;
                let ratio = (new - old).exp();
                if (ratio - 0.8).abs() > 1e-4 && (ratio - 1.2).abs() > 1e-4 {
                    let expected = 0.5 * slope(&policy);
                    prop_assert!((policy_gradient[t] as f64 - expected).abs() < 1e-5);
                }
                let clipped = new.clamp(old - 0.2, old + 0.2);
                let tie = ((new - third).abs() - (clipped - third).abs()).abs() < 1e-4 && clipped != new;
                if !tie && ((new - old).abs() - 0.2).abs() > 1e-4 {
                    let expected = 0.25 * slope(&value);
                    prop_assert!((value_gradient[t] as f64 - expected).abs() < 1e-5);
                }
            }
            prop_assert!((policy_sums.loss - policy_total).abs() < 1e-4);
            prop_assert!((value_sums.loss - value_total).abs() < 1e-4);
        }
    }
}
