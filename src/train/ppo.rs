//! PPO and PPO-ptx (paper, section 3.5 and C.4): maximise
//! `E[ r(x, y) - beta ln(pi(y|x) / pi_ref(y|x)) ] + gamma E_pretrain[ ln pi(x) ]` (equation 2).
//!
//! An episode is a prompt and a sampled response. Each iteration samples a batch of episodes, scores them,
//! and makes one update per minibatch on the clipped objective, with the gradient of the pretraining loss
//! added into the same buffers. The value function is a network of its own that starts as the reward model.
//!
//! The sampler's log-probs are the old log-probs: decoding gives the trainer's bits, so the ratio on the first
//! minibatch is exactly 1.

use core::ops::Range;

use serde_json::json;

use super::dataset::Dataset;
use super::learner::{Learner, Optimizer, schedule};
use super::monitors::monitors;
use super::passes::Sequence;
use super::pretrain::{validate, window};
use super::rollout::{Frozen, Rollout, respond};
use crate::checkpoint::Model;
use crate::error::{Error, Result};
use crate::loss::advantage::{Whitening, gae, whiten};
use crate::loss::clipped::{PolicySums, ValueSums, policy_loss, value_loss};
use crate::loss::kl_reward::{AdaptiveKl, KlSums, ScorePlacement, kl_estimates, kl_shaped_rewards};
use crate::model::Head;
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::schedule::Decay;
use crate::run::directory::{Finished, Run};
use crate::run::metrics::Value;
use crate::settings::PpoSettings;

/// Anything that scores responses: a reward model, or a function of the user's own.
pub trait RewardFunction {
    /// One score for each response to its prompt; the response ends with the end-of-text token if it ended
    /// by itself. Higher is better; 0 should be about as good as a demonstration.
    fn scores(&mut self, prompts: &[&[u32]], responses: &[&[u32]]) -> Vec<f32>;
}

impl RewardFunction for Frozen {
    fn scores(&mut self, prompts: &[&[u32]], responses: &[&[u32]]) -> Vec<f32> {
        assert_eq!(self.model.head, Head::Scalar, "a language model is no reward model");
        let whole: Vec<Vec<u32>> = prompts.iter().zip(responses).map(|(x, y)| [*x, *y].concat()).collect();
        Frozen::scores(self, whole.iter().map(Vec::as_slice))
    }
}

impl<F: FnMut(&[u32], &[u32]) -> f32> RewardFunction for F {
    fn scores(&mut self, prompts: &[&[u32]], responses: &[&[u32]]) -> Vec<f32> {
        prompts.iter().zip(responses).map(|(prompt, response)| self(prompt, response)).collect()
    }
}

/// The networks PPO starts from.
pub struct Networks<'a> {
    /// The policy's first weights: the RLHF init.
    pub policy: Model,
    /// What KL is measured against: the RLHF init as well.
    pub reference: Model,
    /// The value function's first weights, with a scalar head: the reward model.
    pub value: Model,
    /// What is to be maximised.
    pub reward: &'a mut dyn RewardFunction,
}

/// One prompt and what was sampled, and everything computed from it. Per response token unless said. Where
/// the score is placed after the end, `rewards`, `values` and `returns` have one entry more.
pub struct Episode {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Prompt and response.
    pub tokens: Vec<u32>,
    /// The sampler's log-probs.
    pub old_log_probs: Vec<f32>,
    /// The reference's log-probs of the same tokens.
    pub reference_log_probs: Vec<f32>,
    /// Of the whole response; higher is better.
    pub score: f32,
    /// KL penalties and the score.
    pub rewards: Vec<f32>,
    /// What was expected before each token.
    pub values: Vec<f32>,
    /// What should have been expected.
    pub returns: Vec<f32>,
    /// How much better each token was than expected.
    pub advantages: Vec<f32>,
}

impl Episode {
    /// What sampler and reward model say; the rest is for [`estimate`] to fill in.
    pub fn new(prompt: &[u32], response: &[u32], old_log_probs: Vec<f32>, score: f32) -> Self {
        Episode {
            prompt: prompt.len(),
            tokens: [prompt, response].concat(),
            old_log_probs,
            reference_log_probs: vec![],
            score,
            rewards: vec![],
            values: vec![],
            returns: vec![],
            advantages: vec![],
        }
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, from: self.prompt }
    }
}

/// What an iteration's updates add up to.
#[derive(Default)]
pub struct Sums {
    /// Of the clipped policy loss.
    pub policy: PolicySums,
    /// Of the clipped value loss.
    pub value: ValueSums,
    /// Of the pretraining loss, in nats, without its coefficient.
    pub ptx: f64,
    /// Tokens in that sum.
    pub ptx_tokens: usize,
    first_ratio_max: f32,
    gradient_norm: f32,
}

/// Trains the policy as `s` says, under the name `stage`; returns its averaged weights.
///
/// # Errors
/// [`Error::Usage`] without prompts, or without text where `ptx_coef` is not 0; [`Error::Numeric`] if a number
/// is not finite or leaves the bounds of section `limits`; those of [`Run`].
pub fn train(
    run: &mut Run,
    data: &Dataset,
    networks: Networks,
    s: &PpoSettings,
    stage: &str,
) -> Result<Finished> {
    let seed = run.settings.seed;
    let micro = run.settings.micro_batch_tokens;
    let ptx = s.ptx_coef > 0.0 && s.ptx_examples_per_episode > 0;
    check_data(data, &networks, ptx)?;
    let optimizer = Optimizer::new(&run.settings.adam, s.adam_style, s.weight_decay, s.gradient_clip);
    let mut reference = Frozen::new(networks.reference, micro);
    let mut policy = Learner::new(networks.policy, optimizer, micro, true);
    let mut value = Learner::new(networks.value, optimizer, micro, false);
    let reward = networks.reward;

    let context = policy.model.config.context.min(value.model.config.context);
    let prompts = fitting(&data.prompts.train, context);
    let minibatch = s.batch / s.minibatches;
    let updates_per_iteration = (s.minibatches * s.inner_epochs) as u64;
    let iterations = s.episodes / s.batch as u64;
    let schedule =
        schedule(Decay::Constant, 1.0, s.warmup_iterations * updates_per_iteration, s.warmup_start);
    let mut kl_coef = s.kl_coef;

    let mut clock = run.begin(stage, iterations);
    let mut first = 0;
    if let Some((step, mut state)) = run.resume(stage)? {
        let origin = run.origin(stage);
        policy.restore("policy", &mut state, step * updates_per_iteration, &origin)?;
        value.restore("value", &mut state, step * updates_per_iteration, &origin)?;
        kl_coef = state.strings.get("kl_coef").and_then(|text| text.parse().ok()).unwrap_or(kl_coef);
        first = step;
    }
    for iteration in first..iterations {
        // 1. Rollouts: the batch's prompts, in an order drawn anew for each pass over all prompts.
        let mut asked: Vec<&[u32]> = Vec::with_capacity(s.batch);
        let (mut number, end) = (iteration * s.batch as u64, (iteration + 1) * s.batch as u64);
        while number < end {
            let (pass, place) = (number / prompts.len() as u64, (number % prompts.len() as u64) as usize);
            let order = Rng::at(seed, Stage::Ppo, Purpose::Prompt, pass, 0, 0).permutation(prompts.len());
            let chosen = order[place..].iter().take((end - number) as usize);
            asked.extend(chosen.map(|&i| prompts[i]));
            number += (prompts.len() - place).min((end - number) as usize) as u64;
        }
        let how = Rollout {
            temperature: s.temperature,
            max_response_tokens: s.max_response_tokens,
            end_of_text: data.tokenizer.end_of_text(),
            seed,
            stage: Stage::Ppo,
            step: iteration,
        };
        let responses = respond(&policy.model, &policy.parameters, &asked, &how, &|_| true);

        // 2. Scores.
        let answers: Vec<&[u32]> = responses.iter().map(|response| response.tokens.as_slice()).collect();
        let scores = reward.scores(&asked, &answers);
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            let hint = "a reward is a finite number for every response";
            let (what, found) = ("a response's score".into(), score.to_string());
            return Err(Error::Numeric {
                stage: stage.into(),
                step: iteration + 1,
                what,
                found,
                hint: hint.into(),
            });
        }
        let entropy = mean(responses.iter().flat_map(|response| &response.entropies));
        let mut episodes: Vec<Episode> = Vec::with_capacity(s.batch);
        for ((prompt, response), raw) in asked.iter().zip(&responses).zip(&scores) {
            let score = s.missing_eos.apply(s.missing_eos_value, *raw, response.ended);
            episodes.push(Episode::new(prompt, &response.tokens, response.log_probs.clone(), score));
        }

        // 3. What they are worth.
        let kl = estimate(&mut episodes, &mut reference, &mut value, s, kl_coef);
        if let Some(&found) = episodes.iter().flat_map(|e| &e.values).find(|value| !value.is_finite()) {
            let what = value.pass.blame("a value of the value function").into_owned();
            bound(stage, iteration + 1, &what, found.into(), 0.0, true)?;
        }
        let mean_kl = kl.k1 / episodes.len() as f64;
        bound(stage, iteration + 1, "the mean KL to the reference", mean_kl, run.settings.limits.kl, true)?;
        let least = run.settings.limits.min_entropy;
        bound(stage, iteration + 1, "the mean entropy", entropy, least, false)?;

        // 4. Updates: random minibatches, each one step of policy and value function.
        let mut sums = Sums::default();
        let mut learning_rate = 0.0;
        for epoch in 0..s.inner_epochs as u64 {
            let order =
                Rng::at(seed, Stage::Ppo, Purpose::Shuffle, iteration, epoch, 0).permutation(episodes.len());
            for (number, chosen) in order.chunks(minibatch).enumerate() {
                let update = iteration * updates_per_iteration + epoch * s.minibatches as u64 + number as u64;
                let batch = minibatch_of(&episodes, chosen, s);
                policy_gradient(&mut policy, &batch, s, &mut sums);
                if epoch == 0 && number == 0 {
                    sums.first_ratio_max = sums.policy.ratio_max;
                }
                if ptx {
                    let count = (minibatch * s.ptx_examples_per_episode) as u64;
                    let (text, context) = (&data.text.train, policy.model.config.context);
                    let windows: Vec<Sequence> =
                        (0..count).map(|i| window(text, context, seed, Stage::Ppo, update, i)).collect();
                    let before = sums.ptx;
                    let tokens = policy.cross_entropy_gradient(&windows, s.ptx_coef, None, &mut sums.ptx);
                    sums.ptx_tokens += tokens;
                    let loss = (sums.ptx - before) / tokens as f64;
                    run.check_loss(stage, iteration + 1, &policy.pass, "the ptx loss", loss)?;
                }
                let ratio = f64::from(sums.policy.ratio_max);
                bound(stage, iteration + 1, "the largest ratio", ratio, run.settings.limits.ratio, true)?;
                learning_rate = schedule.learning_rate(s.learning_rate, update, u64::MAX);
                let norm = policy
                    .update(stage, learning_rate, s.ema)
                    .map_err(|error| in_iteration(error, iteration + 1, "policy"))?;
                sums.gradient_norm = sums.gradient_norm.max(norm);

                let before = sums.value;
                value_gradient(&mut value, &batch, s, &mut sums);
                let tokens = (sums.value.tokens - before.tokens).max(1);
                let loss = (sums.value.loss - before.loss) / tokens as f64;
                run.check_loss(stage, iteration + 1, &value.pass, "the value loss", loss)?;
                let rate = schedule.learning_rate(s.value_learning_rate, update, u64::MAX);
                value
                    .update(stage, rate, 0.0)
                    .map_err(|error| in_iteration(error, iteration + 1, "value function"))?;
            }
        }

        // 5. What happened.
        let done = iteration + 1;
        clock.count(episodes.iter().map(|episode| episode.tokens.len()).sum());
        let score = mean(&scores);
        let watched = monitors(&answers, data.tokenizer.end_of_text());
        let tokens = sums.policy.tokens.max(1) as f64;
        let mut fields: Vec<(&str, Value)> = vec![
            ("reward", score.into()),
            ("kl", mean_kl.into()),
            ("kl_k3", (kl.k3 / episodes.len() as f64).into()),
            ("kl_coef", kl_coef.into()),
            ("entropy", entropy.into()),
            ("response_length", watched.mean_length.into()),
            ("ended", watched.ended.into()),
            ("repetition", watched.repetition.into()),
            ("policy_loss", (sums.policy.loss / tokens).into()),
            ("approx_kl", (sums.policy.approx_kl / tokens).into()),
            ("clip_fraction", (sums.policy.clipped as f64 / tokens).into()),
            ("ratio_max", sums.policy.ratio_max.into()),
            ("first_ratio_max", sums.first_ratio_max.into()),
            ("value_loss", (sums.value.loss / sums.value.tokens.max(1) as f64).into()),
            ("value_clip_fraction", (sums.value.clipped as f64 / sums.value.tokens.max(1) as f64).into()),
            ("gradient_norm", sums.gradient_norm.into()),
            ("learning_rate", learning_rate.into()),
        ];
        if ptx {
            fields.push(("ptx_loss", (sums.ptx / sums.ptx_tokens.max(1) as f64).into()));
        }
        if s.eval_every > 0 && done.is_multiple_of(s.eval_every) {
            if let Some(loss) =
                validate(&mut policy, &data.text.validation, run.settings.pretrain.eval_tokens)
            {
                fields.push(("validation_pretraining_loss", loss.into()));
            }
            let held_out = fitting(&data.prompts.validation, context);
            let asked = &held_out[..held_out.len().min(s.eval_prompts)];
            if !asked.is_empty() {
                let how = Rollout { stage: Stage::Eval, ..how };
                let responses = respond(&policy.model, &policy.parameters, asked, &how, &|_| true);
                let answers: Vec<&[u32]> =
                    responses.iter().map(|response| response.tokens.as_slice()).collect();
                fields.push(("validation_reward", mean(&reward.scores(asked, &answers)).into()));
            }
        }
        if s.adaptive_kl {
            let control = AdaptiveKl { target: s.kl_target, horizon: s.kl_horizon };
            kl_coef = control.next(kl_coef, mean_kl, episodes.len());
        }
        run.record(stage, done, &fields)?;
        run.progress.step(done, &format!("reward {score:.3} KL {mean_kl:.2}"));
        run.after_step(stage, done, iterations, &[("kl_coef", kl_coef.to_string())], || {
            let mut buffers = Vec::new();
            policy.buffers("policy", &mut buffers);
            value.buffers("value", &mut buffers);
            buffers
        })?;
    }
    let results = json!({ "iterations": iterations, "episodes": iterations * s.batch as u64,
        "updates": policy.updates, "kl_coef": kl_coef, "ptx_coef": s.ptx_coef, "prompts": prompts.len() });
    Ok(Finished { model: policy.averaged_model(), stage: stage.into(), clock, results })
}

/// Fills in what the samples are worth: reference log-probs, values, rewards, advantages (not yet whitened)
/// and returns of every episode. Returns how far the policy is from its reference.
pub fn estimate(
    episodes: &mut [Episode],
    reference: &mut Frozen,
    value: &mut Learner,
    s: &PpoSettings,
    kl_coef: f32,
) -> KlSums {
    // 1. The reference's log-probs of the same tokens.
    let sequences: Vec<Sequence> = episodes.iter().map(Episode::sequence).collect();
    let mut log_probs = Vec::new();
    let (model, parameters) = (&reference.model, &reference.parameters);
    reference
        .pass
        .log_probs(model, parameters, &sequences, s.temperature, |_, log_prob, _| log_probs.push(log_prob));

    // 2. Values: what is expected before each token is emitted.
    let mut values = Vec::new();
    let positions = |sequence: &Sequence| value_positions(sequence, s);
    value.pass.values(&value.model, &value.parameters, &sequences, positions, |_, value| values.push(value));
    let counts: Vec<usize> = sequences.iter().map(|sequence| positions(sequence).len()).collect();

    // 3. Rewards with the KL penalty.
    let mut kl = KlSums::default();
    let (mut log_probs, mut values) = (log_probs.into_iter(), values.into_iter());
    for (episode, count) in episodes.iter_mut().zip(counts) {
        episode.reference_log_probs.extend(log_probs.by_ref().take(episode.old_log_probs.len()));
        episode.values.extend(values.by_ref().take(count));
        episode.rewards.resize(count, 0.0);
        let (old, reference) = (&episode.old_log_probs, &episode.reference_log_probs);
        kl_shaped_rewards(&mut episode.rewards, old, reference, kl_coef, episode.score);
        kl_estimates(old, reference, &mut kl);
    }
    if s.whiten_rewards {
        let how = Whitening { shift_mean: false, unbiased: s.unbiased_whitening };
        whiten_all(episodes, |episode| &mut episode.rewards, how);
    }

    // 4. Advantages and returns.
    for Episode { advantages, returns, rewards, values, old_log_probs, .. } in episodes {
        advantages.resize(rewards.len(), 0.0);
        returns.resize(rewards.len(), 0.0);
        gae(advantages, returns, rewards, values, s.gamma, s.lambda);
        advantages.truncate(old_log_probs.len());
    }
    kl
}

/// Where the value function is read: before each token of the response, and after the last if the score
/// goes there.
fn value_positions(sequence: &Sequence, s: &PpoSettings) -> Range<usize> {
    let placement =
        if s.score_after_eos { ScorePlacement::AfterEndOfText } else { ScorePlacement::LastToken };
    let tokens = sequence.tokens.len() - sequence.from;
    sequence.from - 1..sequence.from - 1 + placement.positions(tokens, s.max_response_tokens)
}

/// The chosen episodes, their advantages whitened together.
pub fn minibatch_of(episodes: &[Episode], chosen: &[usize], s: &PpoSettings) -> Vec<Episode> {
    let mut batch: Vec<Episode> = chosen.iter().map(|&i| episodes[i].for_minibatch()).collect();
    if s.whiten_advantages {
        let how = Whitening { shift_mean: true, unbiased: s.unbiased_whitening };
        whiten_all(&mut batch, |episode| &mut episode.advantages, how);
    }
    batch
}

impl Episode {
    /// A copy whose advantages may be whitened.
    fn for_minibatch(&self) -> Episode {
        Episode {
            prompt: self.prompt,
            tokens: self.tokens.clone(),
            old_log_probs: self.old_log_probs.clone(),
            reference_log_probs: vec![],
            score: self.score,
            rewards: vec![],
            values: self.values.clone(),
            returns: self.returns.clone(),
            advantages: self.advantages.clone(),
        }
    }
}

/// Adds the gradient of the clipped policy loss, a mean over the minibatch's response tokens.
pub fn policy_gradient(policy: &mut Learner, batch: &[Episode], s: &PpoSettings, sums: &mut Sums) {
    let sequences: Vec<Sequence> = batch.iter().map(Episode::sequence).collect();
    let old: Vec<f32> = batch.iter().flat_map(|episode| &episode.old_log_probs).copied().collect();
    let advantages: Vec<f32> = batch.iter().flat_map(|episode| &episode.advantages).copied().collect();
    let weight = 1.0 / old.len().max(1) as f32;
    let one = |t: usize, new: f32, sums: &mut PolicySums| {
        let mut slope = [0.0];
        policy_loss(&mut slope, &[new], &old[t..=t], &advantages[t..=t], s.clip, weight, sums);
        slope[0]
    };
    let slope = |t: usize, new: f32| one(t, new, &mut PolicySums::default());
    policy.log_probs_gradient(&sequences, s.temperature, None, slope, |t, new, _| {
        one(t, new, &mut sums.policy);
    });
}

/// Adds the gradient of the clipped value loss, a mean over the minibatch's positions.
pub fn value_gradient(value: &mut Learner, batch: &[Episode], s: &PpoSettings, sums: &mut Sums) {
    let sequences: Vec<Sequence> = batch.iter().map(Episode::sequence).collect();
    let groups: Vec<_> = (0..sequences.len()).map(|i| i..i + 1).collect();
    let old: Vec<f32> = batch.iter().flat_map(|episode| &episode.values).copied().collect();
    let returns: Vec<f32> = batch.iter().flat_map(|episode| &episode.returns).copied().collect();
    let weight = 1.0 / old.len().max(1) as f32;
    let positions = |sequence: &Sequence| value_positions(sequence, s);
    let mut at = 0;
    value.values_gradient(&groups, &sequences, positions, |_, values, d_values| {
        let range = at..at + values.len();
        let (old, returns) = (&old[range.clone()], &returns[range.clone()]);
        value_loss(d_values, values, old, returns, s.value_clip, s.value_coef, weight, &mut sums.value);
        at = range.end;
    });
}

/// Whitens one field of all episodes together, in their order.
fn whiten_all(episodes: &mut [Episode], field: impl Fn(&mut Episode) -> &mut Vec<f32>, how: Whitening) {
    let mut all: Vec<f32> = Vec::new();
    for episode in episodes.iter_mut() {
        all.extend_from_slice(field(episode));
    }
    whiten(&mut all, how);
    let mut rest = all.as_slice();
    for episode in episodes.iter_mut() {
        let values = field(episode);
        let (head, tail) = rest.split_at(values.len());
        values.copy_from_slice(head);
        rest = tail;
    }
}

/// Prompts that leave room for at least one token.
fn fitting(prompts: &[Vec<u32>], context: usize) -> Vec<&[u32]> {
    prompts.iter().map(Vec::as_slice).filter(|prompt| prompt.len() < context).collect()
}

fn mean<'a>(values: impl IntoIterator<Item = &'a f32>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0usize), |(sum, n), &x| (sum + f64::from(x), n + 1));
    sum / count.max(1) as f64
}

/// Stops the run where a measure is not finite, or beyond its bound (0: none).
fn bound(stage: &str, step: u64, what: &str, value: f64, limit: f32, above: bool) -> Result<()> {
    let bound = f64::from(limit);
    let beyond = bound > 0.0 && if above { value > bound } else { value < bound };
    if value.is_finite() && !beyond {
        return Ok(());
    }
    let found = if beyond {
        format!("{value:.4}, past the bound {limit} of section limits")
    } else {
        value.to_string()
    };
    let hint = "the last saved state stands: lower ppo.learning_rate or raise ppo.kl_coef";
    Err(Error::Numeric { stage: stage.into(), step, what: what.into(), found, hint: hint.into() })
}

/// An update's error, with the iteration as its step and the network's name.
fn in_iteration(error: Error, iteration: u64, network: &str) -> Error {
    match error {
        Error::Numeric { stage, what, found, hint, .. } => {
            Error::Numeric { stage, step: iteration, what: format!("{what} ({network})"), found, hint }
        }
        other => other,
    }
}

fn check_data(data: &Dataset, networks: &Networks, ptx: bool) -> Result<()> {
    let context = networks.policy.config.context.min(networks.value.config.context);
    if fitting(&data.prompts.train, context).is_empty() {
        return Err(Error::usage("data.prompts", "prompts shorter than the context", "none", ""));
    }
    if ptx && data.text.train.len() < 2 {
        let hint = "set ppo.ptx_coef = 0 for plain PPO";
        return Err(Error::usage("data.pretraining", "text for the pretraining gradient", "none", hint));
    }
    let vocabulary = data.tokenizer.vocab_size();
    for (name, config) in
        [("value function", &networks.value.config), ("reference", &networks.reference.config)]
    {
        if config.vocab_size != networks.policy.config.vocab_size {
            return Err(Error::usage(
                format!("the {name}'s vocabulary"),
                format!(
                    "{} tokens, as the policy has ({vocabulary} in the tokenizer)",
                    networks.policy.config.vocab_size
                ),
                config.vocab_size,
                "all models of a run share one tokenizer",
            ));
        }
    }
    Ok(())
}
