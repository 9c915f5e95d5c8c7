//! The watch over a step: a number that is not finite, or a measure beyond the bound that section `limits` sets, stops
//! the run before anything is learnt from it; and so does the user.

use std::sync::atomic::{AtomicBool, Ordering};

use super::recent_losses::RecentLosses;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::optim::learner::NotFinite;
use crate::settings::LimitsSettings;

/// What a step is watched by.
pub struct Watch<'a> {
    pub(super) stage: &'static str,
    /// From 1.
    pub(super) step: u64,
    pub(super) limits: &'a LimitsSettings,
    pub(super) losses: &'a mut RecentLosses,
    pub(super) stop: &'a AtomicBool,
}

/// What to do where training has left the numbers.
const LOWER_RATE: &str = "nothing of this step was saved: start again with a lower learning rate or a gradient_clip \
    (finished stages can be given as init_from)";
const LOSS: &str = "nothing of this step was saved: start again with a lower learning rate (finished stages can be \
    given as init_from), or see section limits";
const POLICY: &str = "the last saved state stands: lower ppo.learning_rate or raise ppo.kl_coef";

impl Watch<'_> {
    /// A loss that an update is to be made from. `what` tells the losses of a stage apart; `network` made it.
    ///
    /// # Errors
    /// [`Error::Numeric`] if it is not finite, or has jumped past `limits.loss_spike`.
    pub fn loss<E: Engine>(&mut self, what: &str, network: &Network<E>, loss: f64) -> Result<()> {
        let added = self.losses.add(what, loss, self.limits.loss_spike);
        added.map_err(|found| self.numeric(&network.blame(what), found, LOSS))
    }

    /// An update that was made or refused; `of` is said behind what was found: "", " (policy)".
    ///
    /// # Errors
    /// [`Error::Numeric`].
    pub fn update(&self, update: core::result::Result<f32, NotFinite>, of: &str) -> Result<f32> {
        let numeric =
            |fault: NotFinite| self.numeric(&format!("{}{of}", fault.what), fault.found, LOWER_RATE);
        update.map_err(numeric)
    }

    /// Scores of so many responses.
    ///
    /// # Errors
    /// [`Error::Numeric`] if there are more or fewer, or if one is not finite.
    pub fn scores(&self, scores: &[f32], responses: usize) -> Result<()> {
        let hint = "a reward is a finite number for every response";
        if scores.len() != responses {
            let found = format!("{}, for {responses} responses", scores.len());
            return Err(self.numeric("the number of scores that the reward function gave", found, hint));
        }
        match scores.iter().find(|score| !score.is_finite()) {
            None => Ok(()),
            Some(score) => Err(self.numeric("a response's score", score, hint)),
        }
    }

    /// What a value function says.
    ///
    /// # Errors
    /// [`Error::Numeric`] if it is not finite somewhere.
    pub fn values<E: Engine>(&self, network: &Network<E>, values: &[f32]) -> Result<()> {
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(value) => Err(self.numeric(&network.blame("a value of the value function"), value, POLICY)),
        }
    }

    /// The mean KL to the reference policy, in nats per response.
    ///
    /// # Errors
    /// [`Error::Numeric`] if it is not finite, or above `limits.kl`.
    pub fn kl(&self, kl: f64) -> Result<()> {
        self.bound("the mean KL to the reference", kl, self.limits.kl, kl > f64::from(self.limits.kl))
    }

    /// The policy's mean entropy, in nats per token.
    ///
    /// # Errors
    /// [`Error::Numeric`] if it is not finite, or below `limits.min_entropy`.
    pub fn entropy(&self, entropy: f64) -> Result<()> {
        let least = self.limits.min_entropy;
        self.bound("the mean entropy", entropy, least, entropy < f64::from(least))
    }

    /// The largest probability ratio.
    ///
    /// # Errors
    /// [`Error::Numeric`] if it is not finite, or above `limits.ratio`.
    pub fn ratio(&self, ratio: f32) -> Result<()> {
        self.bound("the largest ratio", ratio.into(), self.limits.ratio, ratio > self.limits.ratio)
    }

    /// A bound of 0 is none.
    fn bound(&self, what: &str, value: f64, limit: f32, beyond: bool) -> Result<()> {
        match limit > 0.0 && beyond {
            true => {
                let found = format!("{value:.4}, past the bound {limit} of section limits");
                Err(self.numeric(what, found, POLICY))
            }
            false if !value.is_finite() => Err(self.numeric(what, value, POLICY)),
            false => Ok(()),
        }
    }

    fn numeric(&self, what: &str, found: impl ToString, hint: &str) -> Error {
        let (stage, step) = (self.stage.into(), self.step);
        Error::Numeric { stage, step, what: what.into(), found: found.to_string(), hint: hint.into() }
    }

    /// Whether to go on; a long step asks now and then.
    pub fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Stops a step that is not worth finishing.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_stop(&self) -> Result<()> {
        check_stop(!self.go_on())
    }
}

/// [`Error::Interrupted`] where the user has asked to stop.
pub(super) fn check_stop(stop: bool) -> Result<()> {
    if stop {
        let hint = "the same command with --resume goes on from there".into();
        return Err(Error::Interrupted { hint });
    }
    Ok(())
}
