//! PPO and PPO-ptx.

use super::section::{
    any, at_least_one, below_one, finite, fraction, nonzero_fraction, not_negative, positive, section,
};
use crate::loss::kl_reward::MissingEos;
use crate::optim::adamw::AdamStyle;

section! {
    /// PPO against the reward model, with pretraining gradients mixed in (section 3.5, C.4).
    PpoSettings = "ppo" {
        /// The policy's first weights; not set: the RLHF init.
        init_from: Option<String> = None, any;
        /// The value function's first weights; not set: the reward model (C.4).
        value_init_from: Option<String> = None, any;
        /// The reward model; not set: the run's own.
        reward_model_from: Option<String> = None, any;
        /// The KL reference; not set: the policy's first weights (C.4).
        reference_from: Option<String> = None, any;

        /// Episodes in all; one episode is one prompt and its response. Paper: 256000 (C.4). 0: no PPO. At least
        /// `batch`; what is left over after whole iterations is not run, and the run says how many that are.
        episodes: u64 = 256_000, any;
        /// Episodes per iteration. Paper: 512 (C.4).
        batch: usize = 512, at_least_one;
        /// Updates per pass over an iteration's episodes; divides `batch`. Paper: 8, of 64 (C.4).
        minibatches: usize = 8, at_least_one;
        /// Passes over an iteration's episodes. Paper: 1 (C.4).
        inner_epochs: usize = 1, at_least_one;
        /// Temperature of sampling, and of every log-prob. Paper: 1 (C.4).
        temperature: f32 = 1.0, positive;
        /// Longer prompts are left out, in tokens. Paper: 1000 (appendix C). A configuration that does not set
        /// it gets less where the policy's context is shorter: half of it, or what `max_response_tokens` leaves.
        max_prompt_tokens: usize = 1000, at_least_one;
        /// Longest response, in tokens. Paper: 1000 (appendix C). Not set: as above.
        max_response_tokens: usize = 1000, at_least_one;

        /// Beta: the weight of the per-token KL penalty. Paper: 0.02 (C.4).
        kl_coef: f32 = 0.02, not_negative;
        /// Gamma of equation 2: the weight of the pretraining loss (a mean per token).
        /// Paper: 27.8 (C.4). 0: plain PPO.
        ptx_coef: f32 = 27.8, not_negative;
        /// Pretraining sequences per episode. Paper: 8 (C.4).
        ptx_examples_per_episode: usize = 8, any;

        /// Also train a policy without the pretraining gradient, to compare with (figure 33's left end).
        also_without_ptx: bool = false, any;

        /// Policy's learning rate after warm-up. Not printed; the best of figure 38 for PPO-ptx at 1.3B,
        /// read off the plot, is 1.18e-5.
        learning_rate: f32 = 1.18e-5, not_negative;
        /// Value function's learning rate. Paper: 9e-6 (1.3B and 6B policies), 5e-6 (175B) (C.4).
        value_learning_rate: f32 = 9e-6, not_negative;
        /// Iterations of linear warm-up of the policy's learning rate; constant after it. Paper: 10 (C.4).
        warmup_iterations: u64 = 10, any;
        /// Learning rate at the start of the warm-up, as a share of the peak. Paper: 0.1 (C.4).
        warmup_start: f64 = 0.1, fraction;
        /// Warm up the value function's learning rate as well, in the same way. Paper: no, it is fixed (C.4). LHP, N+
        /// and TRL have one optimizer, and so one schedule, for both.
        value_warmup: bool = false, any;
        /// Decoupled weight decay of the matrices. Not printed; LHP: none.
        weight_decay: f64 = 0.0, not_negative;
        /// Largest norm of the gradient; 0: off. Not printed; LHP: off.
        gradient_clip: f32 = 0.0, not_negative;
        /// Adam's style for this stage, where it differs from section `adam`. LHP: "tensorflow".
        adam_style: Option<AdamStyle> = None, any;
        /// Decay of the average of the policy's weights, per update. Paper: 0.992 over 4000 updates (C.4; per update or
        /// per iteration is not said). Not set: so that the average reaches back over the same share of the run,
        /// 0.992^(4000 / updates), and never above 0.992. 0: the weights themselves.
        ema: Option<f32> = None, |ema: &Option<f32>| ema.as_ref().and_then(below_one);

        /// Discount per token. Paper: none, so 1 (C.4).
        gamma: f32 = 1.0, nonzero_fraction;
        /// Lambda of generalised advantage estimation. Not printed; LHP: 0.95.
        lambda: f32 = 0.95, fraction;
        /// Clip range of the probability ratio. Paper: 0.2 (C.4).
        clip: f32 = 0.2, positive;
        /// Clip range of the value's move. Not printed; LHP: 0.2.
        value_clip: f32 = 0.2, positive;
        /// Weight of the value loss; the value function is a separate network, so Adam all but cancels
        /// it. Not printed; LHP: 0.1.
        value_coef: f32 = 0.1, positive;
        /// Advantages to mean 0 and variance 1 over each minibatch. Not printed; LHP: yes.
        whiten_advantages: bool = true, any;

        /// Add the score one token after the last (N+, TRL) instead of at it.
        score_after_eos: bool = false, any;
        /// Score of a response that does not end by itself: "keep", "replace" (LHP, N+) or "subtract" (TRL).
        missing_eos: MissingEos = MissingEos::Keep, any;
        /// The score that "replace" puts, or the penalty, from 0 up, that "subtract" subtracts. Not set: -1 with
        /// "replace" (LHP, N+), 1 with "subtract" (TRL's examples).
        missing_eos_value: Option<f32> = None, |value: &Option<f32>| value.and_then(|value| finite(&value));
        /// Whiten with the variance over n-1 (TRL, VERL) instead of n (LHP).
        unbiased_whitening: bool = false, any;
        /// Divide rewards by their standard deviation, keeping the mean (LHP's default).
        whiten_rewards: bool = false, any;
        /// Move `kl_coef` so that the KL approaches `kl_target` (LHP).
        adaptive_kl: bool = false, any;
        /// Wanted KL, in nats per response. LHP: 6.
        kl_target: f32 = 6.0, positive;
        /// Episodes over which `kl_coef` adapts. LHP: 10000.
        kl_horizon: f32 = 10_000.0, positive;

        /// Iterations between two validations, of the averaged policy (`validation_*` in `metrics.jsonl`; the other
        /// figures are of the policy that samples); the last iteration has one in any case.
        eval_every: u64 = 25, any;
        /// Validation prompts in an evaluation.
        eval_prompts: usize = 256, at_least_one;
    }
}

impl PpoSettings {
    /// Whether the pretraining term is there: PPO-ptx.
    pub fn has_ptx(&self) -> bool {
        self.ptx_coef > 0.0 && self.ptx_examples_per_episode > 0
    }

    /// Whole iterations that the episodes make.
    pub fn iterations(&self) -> u64 {
        self.episodes / self.batch as u64
    }

    /// Episodes that are too few for another iteration, and so are not run.
    pub fn episodes_left_over(&self) -> u64 {
        self.episodes % self.batch as u64
    }

    /// Updates of the policy, and of the value function.
    pub fn updates(&self) -> u64 {
        self.iterations() * (self.minibatches * self.inner_epochs) as u64
    }

    /// Decay of the average of the policy's weights, per update: `ema`, or what it is where that is not set. With fewer
    /// updates than the paper's, its 0.992 would leave much of the start in the average.
    pub fn average_decay(&self) -> f32 {
        const PAPER: f64 = 0.992;
        const UPDATES: f64 = 4000.0;
        let of_run = || libm::pow(PAPER, UPDATES / self.updates() as f64).min(PAPER) as f32;
        self.ema.unwrap_or_else(of_run)
    }

    /// What is to be said where the decay follows from the number of updates.
    pub fn average_note(&self) -> Option<String> {
        let (decay, updates) = (self.average_decay(), self.updates());
        let follows = decay == (PpoSettings { ema: None, ..self.clone() }).average_decay();
        (updates > 0 && follows && decay < 0.992).then(|| {
            format!(
                "ppo.ema = {decay}: over {updates} updates the policy's average reaches back over as large a share of \
                 the run as the paper's 0.992 over 4000"
            )
        })
    }

    /// The score of a response that is scored `score`, and which ended by itself or did not.
    pub fn score(&self, score: f32, ended: bool) -> f32 {
        let value = self.missing_eos_value.unwrap_or(self.missing_eos.usual_value());
        self.missing_eos.apply(value, score, ended)
    }
}
