//! What an iteration of PPO adds up to, for `metrics.jsonl`.

use super::episodes::Episodes;
use super::monitors::monitors;
use crate::loss::clipped::{PolicySums, ValueSums};
use crate::loss::kl_reward::KlSums;
use crate::run::metrics::Value;

/// Sums over an iteration's updates.
#[derive(Debug, Default)]
pub struct Sums {
    /// Of the clipped policy loss.
    pub policy: PolicySums,
    /// Of the clipped value loss.
    pub value: ValueSums,
    /// Of the pretraining loss, in nats, without its coefficient.
    pub ptx: f64,
    /// Tokens in that sum.
    pub ptx_tokens: usize,
    /// The largest ratio on the first minibatch: 1, as the sampler's log-probs are the policy's own.
    pub first_ratio_max: Option<f32>,
    /// The policy's largest gradient norm.
    pub gradient_norm: f32,
    /// The policy's latest learning rate.
    pub learning_rate: f32,
    /// The value function's latest learning rate.
    pub value_learning_rate: f32,
}

/// What the rollouts of an iteration say by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Sampled {
    /// Mean score of the reward function, before anything is taken off.
    pub reward: f64,
    /// The world's own judgement of the episodes, from 1 to 7 on average, in the miniature: nothing is trained on it.
    pub gold: Option<f64>,
    /// Mean entropy of the policy, in nats per token.
    pub entropy: f64,
    /// How far it is from its reference.
    pub kl: KlSums,
    /// The coefficient of the penalty for that.
    pub kl_coef: f32,
}

/// A line's fields.
pub fn fields(
    episodes: &Episodes,
    end_of_text: u32,
    sampled: Sampled,
    sums: &Sums,
) -> Vec<(&'static str, Value)> {
    let responses: Vec<&[u32]> = episodes.rollouts.responses().collect();
    let watched = monitors(&responses, end_of_text);
    let count = episodes.len() as f64;
    let (policy, value) = (&sums.policy, &sums.value);
    let (tokens, positions) = (policy.tokens.max(1) as f64, value.tokens.max(1) as f64);
    let mut fields = vec![("reward", sampled.reward.into())];
    fields.extend(sampled.gold.map(|gold| ("gold", gold.into())));
    fields.extend([
        ("kl", (sampled.kl.k1 / count).into()),
        ("kl_k3", (sampled.kl.k3 / count).into()),
        ("kl_coef", sampled.kl_coef.into()),
        ("entropy", sampled.entropy.into()),
    ]);
    // Where there is nothing to take a share of, the field is left out.
    for (name, value) in [
        ("response_length", watched.mean_length),
        ("ended", watched.ended),
        ("repetition", watched.repetition),
    ] {
        fields.extend(value.map(|value| (name, value.into())));
    }
    fields.extend([
        ("policy_loss", (policy.loss / tokens).into()),
        ("approx_kl", (policy.approx_kl / tokens).into()),
        ("clip_fraction", (policy.clipped as f64 / tokens).into()),
        ("ratio_max", policy.ratio_max.into()),
        ("first_ratio_max", sums.first_ratio_max.unwrap_or(0.0).into()),
        ("value_loss", (value.loss / positions).into()),
        ("value_clip_fraction", (value.clipped as f64 / positions).into()),
        ("gradient_norm", sums.gradient_norm.into()),
        ("learning_rate", sums.learning_rate.into()),
        ("value_learning_rate", sums.value_learning_rate.into()),
    ]);
    if sums.ptx_tokens > 0 {
        fields.push(("ptx_loss", (sums.ptx / sums.ptx_tokens as f64).into()));
    }
    fields
}
