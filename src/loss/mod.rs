//! PPO's pure functions, in the order in which an iteration calls them.
//!
//! 1. [`kl_reward`]: the score, the per-token KL penalty, and the coefficient's control
//! 2. [`advantage`]: generalised advantage estimation and whitening
//! 3. [`clipped`]: the clipped policy and value losses and their gradients
//!
//! # What indexes what
//! A response of `T` tokens (its end-of-text token included, the prompt not) has `T` log-probs, values and
//! rewards: entry `t` of each belongs to the position *before* token `t`, where the token was chosen. There
//! is no padding and no mask. A batch is its responses back to back, and every sum runs in that order.
//!
//! Sources: the paper where it prints a value; otherwise `lm-human-preferences` (Ziegler et al., 2019),
//! OpenAI's own code for the method the paper builds on.

pub mod advantage;
pub mod clipped;
pub mod cross_entropy;
pub mod kl_reward;
pub mod reward_loss;

pub use advantage::{Whitening, gae, whiten};
pub use clipped::{PolicySums, ValueSums, policy_loss, value_loss};
pub use cross_entropy::CrossEntropy;
pub use kl_reward::{AdaptiveKl, KlSums, MissingEos, ScorePlacement, kl_estimates, kl_shaped_rewards};
