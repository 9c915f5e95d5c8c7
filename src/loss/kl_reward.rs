//! The reward of each token: the reward model's score once, and the KL penalty everywhere.
//!
//! ```text
//! r_t = -beta (ln p_old(y_t) - ln p_ref(y_t)) + [t is where the score goes] score        (paper, Eq. 2)
//! ```
//!
//! `p_old` is the policy that sampled the response and `p_ref` its start. The penalty is part of the reward,
//! computed once at sampling time; no gradient flows through it.

use serde::{Deserialize, Serialize};

/// What happens to the score of a response that did not end by itself. The paper says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingEos {
    /// `"keep"`: nothing; the score stands.
    #[default]
    Keep,
    /// `"replace"`: the score becomes `value` (`lm-human-preferences`: -1), which should lie below usual scores.
    Replace,
    /// `"subtract"`: `value`, a penalty from 0 up, is subtracted from the score (TRL).
    Subtract,
}

impl MissingEos {
    /// The value where the user gives none: -1 to replace by (`lm-human-preferences`), 1 to subtract (TRL's examples).
    pub fn usual_value(self) -> f32 {
        match self {
            MissingEos::Keep => 0.0,
            MissingEos::Replace => -1.0,
            MissingEos::Subtract => 1.0,
        }
    }

    /// The score to use; `ended` says whether the response has its end-of-text token.
    pub fn apply(self, value: f32, score: f32, ended: bool) -> f32 {
        match self {
            MissingEos::Replace if !ended => value,
            MissingEos::Subtract if !ended => score - value,
            _ => score,
        }
    }
}

/// Which entry of the rewards gets the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScorePlacement {
    /// That of the last token: the usual reading.
    #[default]
    LastToken,
    /// One entry more, after the last token, where the response did not fill its limit. So
    /// `summarize_from_feedback_details` and TRL do it. The extra entry has a value and a return, which the
    /// value loss learns from, but no token: only the first `T` advantages go on to whitening and policy.
    AfterEndOfText,
}

impl ScorePlacement {
    /// How many rewards and values a response of `tokens` tokens has when `limit` would have been allowed.
    pub fn positions(self, tokens: usize, limit: usize) -> usize {
        match self {
            ScorePlacement::AfterEndOfText if tokens < limit => tokens + 1,
            _ => tokens,
        }
    }
}

/// Writes the rewards of one response. Log-probs: (T); `rewards`: (T), or (T + 1) for
/// [`ScorePlacement::AfterEndOfText`]; the score is added to the last entry, whichever it is. A response
/// without tokens has no rewards, and its score is lost: nothing was chosen.
pub fn kl_shaped_rewards(
    rewards: &mut [f32],
    old_log_probs: &[f32],
    reference_log_probs: &[f32],
    kl_coef: f32,
    score: f32,
) {
    let tokens = old_log_probs.len();
    assert_eq!(reference_log_probs.len(), tokens, "kl_shaped_rewards: reference against old log-probs");
    let extra = rewards.len().checked_sub(tokens);
    assert!(matches!(extra, Some(0 | 1)), "kl_shaped_rewards: {} rewards, {tokens} tokens", rewards.len());
    rewards.fill(0.0);
    for ((r, old), reference) in rewards.iter_mut().zip(old_log_probs).zip(reference_log_probs) {
        *r = -kl_coef * (old - reference);
    }
    if let Some(last) = rewards.last_mut() {
        *last += score;
    }
}

/// Running sums of two KL estimates over sampled tokens. Divide by `tokens` or by responses to report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KlSums {
    /// `ln p - ln q`: unbiased, what the penalty uses; may be negative.
    pub k1: f64,
    /// `q/p - 1 - ln(q/p)`: unbiased, never negative, less noisy (Schulman's k3).
    pub k3: f64,
    /// Tokens summed.
    pub tokens: u64,
}

/// Adds the KL estimates of the tokens, in order, to `sums`. `log_probs` is of the policy that sampled
/// them; both (T).
pub fn kl_estimates(log_probs: &[f32], reference_log_probs: &[f32], sums: &mut KlSums) {
    assert_eq!(log_probs.len(), reference_log_probs.len(), "kl_estimates: log-probs against reference");
    for (&p, &q) in log_probs.iter().zip(reference_log_probs) {
        let k1 = p as f64 - q as f64;
        sums.k1 += k1;
        sums.k3 += libm::expm1(-k1) + k1;
    }
    sums.tokens += log_probs.len() as u64;
}

/// Proportional control of the KL coefficient (Ziegler et al., 2019, section 2.2). The paper's coefficient
/// is fixed (0.02), and so is ours by default.
///
/// ```text
/// e = clip(KL / target - 1, -0.2, 0.2);   beta <- beta (1 + e n / horizon)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveKl {
    /// The KL to hold, in nats per response.
    pub target: f32,
    /// Episodes over which a full error of 0.2 changes the coefficient by 20 %.
    pub horizon: f32,
}

impl Default for AdaptiveKl {
    /// `lm-human-preferences`: 6 nats, 10,000 episodes.
    fn default() -> Self {
        AdaptiveKl { target: 6.0, horizon: 10_000.0 }
    }
}

impl AdaptiveKl {
    /// The coefficient after a batch of `episodes` with `mean_kl` nats per response (k1, response tokens
    /// only). Call it once per iteration.
    pub fn next(&self, kl_coef: f32, mean_kl: f64, episodes: usize) -> f32 {
        let error = (mean_kl / self.target as f64 - 1.0).clamp(-0.2, 0.2);
        (kl_coef as f64 * (1.0 + error * episodes as f64 / self.horizon as f64)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_by_hand() {
        let (old, reference) = ([-1.0, -2.0, -0.5], [-1.5, -1.0, -0.5]);
        let mut rewards = [f32::NAN; 3];
        kl_shaped_rewards(&mut rewards, &old, &reference, 0.5, 4.0);
        assert_eq!(rewards, [-0.25, 0.5, 4.0]);
        let mut rewards = [f32::NAN; 4];
        kl_shaped_rewards(&mut rewards, &old, &reference, 0.5, 4.0);
        assert_eq!(rewards, [-0.25, 0.5, 0.0, 4.0]);
    }

    #[test]
    fn short_and_full_responses_are_defined() {
        let mut one = [f32::NAN];
        kl_shaped_rewards(&mut one, &[-1.0], &[-3.0], 0.25, 4.0);
        assert_eq!(one, [3.5]);
        kl_shaped_rewards(&mut [], &[], &[], 0.25, 4.0);
        let positions = |placement: ScorePlacement| [0, 1, 7, 8].map(|tokens| placement.positions(tokens, 8));
        assert_eq!(positions(ScorePlacement::LastToken), [0, 1, 7, 8]);
        assert_eq!(positions(ScorePlacement::AfterEndOfText), [1, 2, 8, 8]);
    }

    #[test]
    #[should_panic(expected = "5 rewards, 3 tokens")]
    fn two_extra_rewards_are_a_mistake() {
        kl_shaped_rewards(&mut [0.0; 5], &[0.0; 3], &[0.0; 3], 0.1, 1.0);
    }

    #[test]
    fn missing_end_of_text() {
        for missing in [MissingEos::Keep, MissingEos::Replace, MissingEos::Subtract] {
            assert_eq!(missing.apply(-1.0, 3.0, true), 3.0);
        }
        assert_eq!(MissingEos::default().apply(-1.0, 3.0, false), 3.0);
        assert_eq!(MissingEos::Replace.apply(-1.0, 3.0, false), -1.0);
        assert_eq!(MissingEos::Subtract.apply(1.0, 3.0, false), 2.0);
    }

    #[test]
    fn kl_estimates_by_hand() {
        // p = 1/2 against q = 1/4: k1 = ln 2, k3 = 1/2 - 1 + ln 2. The other way: -ln 2 and 2 - 1 - ln 2.
        let l = core::f32::consts::LN_2;
        let mut sums = KlSums::default();
        kl_estimates(&[-l, -2.0 * l], &[-2.0 * l, -l], &mut sums);
        assert_eq!((sums.k1, sums.tokens), (0.0, 2));
        assert!((sums.k3 - 0.5).abs() < 1e-7);
        kl_estimates(&[-1.0], &[-1.0], &mut sums);
        assert_eq!((sums.k1, sums.tokens), (0.0, 3));
    }

    #[test]
    fn adaptive_control_by_hand() {
        let control = AdaptiveKl::default();
        assert_eq!(control.next(0.15, 6.0, 512), 0.15);
        assert_eq!(control.next(0.5, 600.0, 5000), 0.55); // error clipped to 0.2, half a horizon
        assert_eq!(control.next(0.5, 0.0, 5000), 0.45);
        assert!((control.next(0.5, 6.6, 5000) - 0.525).abs() < 1e-6); // error 0.1
    }
}
