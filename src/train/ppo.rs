//! PPO and PPO-ptx (paper, section 3.5 and C.4): maximise equation 2,
//!
//! ```text
//! E_(x,y)~pi [ r(x, y) - beta ln(pi(y|x) / pi_ref(y|x)) ]  +  gamma E_x~pretrain [ ln pi(x) ]
//! ```
//!
//! An episode is a prompt `x` and a sampled response `y`. Each iteration samples a batch of episodes, scores them,
//! and makes one update per minibatch on the clipped objective of the first term, with the gradient of the second
//! added into the same buffers. The value function is a network of its own that starts as the reward model.
//!
//! The sampler's log-probs are the old log-probs: decoding gives the trainer's bits, so the ratio on the first
//! minibatch is exactly 1.

use serde_json::json;

use super::dataset::fitting;
use super::episode_record;
use super::episodes::{Episodes, estimate};
use super::inputs::Inputs;
use super::ppo_metrics::{Sampled, Sums, fields};
use super::pretrain::window;
use super::reward::{RewardFunction, scores};
use super::rollouts::{Rollouts, strip};
use crate::data::Side;
use crate::engine::{Cpu, Engine};
use crate::error::{Error, Result};
use crate::loss::advantage::{Whitening, whiten};
use crate::loss::clipped::{policy_loss, value_loss};
use crate::loss::cross_entropy::CrossEntropy;
use crate::loss::kl_reward::AdaptiveKl;
use crate::model::{Draw, Network, Response, Sampling, Sequence, singly};
use crate::num::rng::{Purpose, Rng, Stage as Address};
use crate::num::statistics::mean;
use crate::optim::learner::Learner;
use crate::optim::schedule::{Decay, Schedule};
use crate::run::metrics::Value;
use crate::run::{Finished, Saved, Stage, StageState, Step, Watch, hints};
use crate::settings::PpoSettings;

/// Adds to the policy's gradient that of a loss, the negative of equation 2: a mean over the response tokens of a
/// minibatch of episodes, whose advantages hold reward and KL penalty, and a mean over the tokens of some text.
///
/// ```text
/// - E_(x,y) [ min(rho A, clip(rho, 1 - c, 1 + c) A) ]  -  gamma E_x [ ln pi(x) ],   rho = pi(y|x) / pi_old(y|x)
/// ```
pub fn policy_gradient<E: Engine>(
    policy: &mut Learner<E>,
    episodes: &Episodes,
    text: &[Sequence],
    s: &PpoSettings,
    sums: &mut Sums,
) {
    let weight = 1.0 / episodes.old_log_probs.len().max(1) as f32;
    let mut clipped = |episode: usize, log_probs: &[f32], slopes: &mut [f32]| {
        let at = episodes.response(episode);
        let (old, advantages) = (&episodes.old_log_probs[at.clone()], &episodes.advantages[at]);
        policy_loss(slopes, log_probs, old, advantages, s.clip, weight, &mut sums.policy);
    };
    let responses = episodes.rollouts.sequences();
    policy.accumulate(&responses, &singly(responses.len()), s.temperature, None, &mut clipped);

    let mut pretraining = CrossEntropy::of(text, s.ptx_coef);
    pretraining.sum = sums.ptx;
    policy.accumulate(text, &singly(text.len()), 1.0, None, &mut pretraining);
    sums.ptx = pretraining.sum;
    sums.ptx_tokens += pretraining.tokens;
}

/// Adds the gradient of the clipped value loss, a mean over the minibatch's positions.
pub fn value_gradient<E: Engine>(
    value: &mut Learner<E>,
    episodes: &Episodes,
    s: &PpoSettings,
    sums: &mut Sums,
) {
    let weight = 1.0 / episodes.values.len().max(1) as f32;
    let mut clipped = |episode: usize, values: &[f32], slopes: &mut [f32]| {
        let at = episodes.positions(episode);
        let (old, returns) = (&episodes.values[at.clone()], &episodes.returns[at]);
        value_loss(slopes, values, old, returns, s.value_clip, s.value_coef, weight, &mut sums.value);
    };
    let sequences = episodes.value_sequences();
    value.accumulate(&sequences, &singly(sequences.len()), 1.0, None, &mut clipped);
}

/// The networks PPO starts from.
pub struct Networks<'a, E: Engine = Cpu> {
    /// The policy's first weights: the RLHF init.
    pub policy: Network<E>,
    /// What KL is measured against: the RLHF init as well.
    pub reference: Network<E>,
    /// The value function's first weights, with a scalar head: the reward model.
    pub value: Network<E>,
    /// What is to be maximised.
    pub reward: &'a mut dyn RewardFunction,
}

/// The stage.
pub struct Ppo<'a, E: Engine = Cpu> {
    s: &'a PpoSettings,
    inputs: Inputs<'a>,
    prompts: Vec<&'a [u32]>,
    policy: Learner<E>,
    value: Learner<E>,
    reference: Network<E>,
    reward: &'a mut dyn RewardFunction,
    schedule: Schedule,
    kl_coef: f32,
    /// Reused by every update.
    minibatch: Episodes,
}

impl<E: Engine> Stage for Ppo<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        self.s.iterations()
    }

    fn step(&mut self, iteration: u64, watch: &mut Watch) -> Result<Step> {
        let (s, seed) = (self.s, self.inputs.seed);
        // 1. Rollouts, and their scores.
        let prompts = self.batch(iteration);
        let responses = respond(&self.policy.network, &prompts, s, &self.inputs, (Address::Ppo, iteration));
        let rollouts = Rollouts::new(&prompts, &responses);
        let scores = scores(self.policy.network.ranks(), self.reward, &rollouts);
        watch.scores(&scores, rollouts.len())?;

        // 2. What they are worth: KL penalties, values, advantages, returns.
        let (log_probs, entropies) = packed(&responses);
        let mut episodes = Episodes::new(rollouts, log_probs, without_eos(&scores, &responses, s), s);
        let kl = estimate(&mut episodes, &mut self.reference, &mut self.value.network, s, self.kl_coef);
        watch.values(&self.value.network, &episodes.values)?;
        let mean_kl = kl.k1 / episodes.len() as f64;
        let entropy = mean(&entropies).expect("every response has a token");
        watch.kl(mean_kl)?;
        watch.entropy(entropy)?;

        // 3. Updates: random minibatches, each one step of policy and value function.
        let mut sums = Sums::default();
        for epoch in 0..s.inner_epochs as u64 {
            let mut rng = Rng::at(seed, Address::Ppo, Purpose::Shuffle, iteration, epoch, 0);
            for chosen in rng.permutation(episodes.len()).chunks(s.batch / s.minibatches) {
                self.minibatch.gather(&episodes, chosen);
                self.update(&mut sums, watch)?;
            }
        }

        // 4. What happened.
        let reward = mean(&scores).expect("a batch has episodes");
        let gold = gold(&self.inputs, &episodes);
        let sampled = Sampled { reward, gold, entropy, kl, kl_coef: self.kl_coef };
        let mut fields = fields(&episodes, self.inputs.data.tokenizer.end_of_text(), sampled, &sums);
        let done = iteration + 1;
        if (s.eval_every > 0 && done.is_multiple_of(s.eval_every)) || done == self.steps() {
            self.validate(iteration, &mut fields, watch)?;
        }
        if s.adaptive_kl {
            let control = AdaptiveKl { target: s.kl_target, horizon: s.kl_horizon };
            self.kl_coef = control.next(self.kl_coef, mean_kl, episodes.len());
        }
        let line = format!("reward {reward:.3} KL {mean_kl:.2}");
        Ok(Step { fields, line, tokens: episodes.rollouts.tokens.len() })
    }

    fn state(&self) -> Option<StageState<'_>> {
        let mut buffers = self.policy.state("policy");
        buffers.extend(self.value.state("value"));
        Some(StageState { buffers, strings: vec![("kl_coef", self.kl_coef.to_string())] })
    }

    fn restore(&mut self, saved: &mut Saved) -> Result<()> {
        let updates = saved.step * (self.s.minibatches * self.s.inner_epochs) as u64;
        self.kl_coef = saved.parse("kl_coef").unwrap_or(self.kl_coef);
        self.policy.restore("policy", updates, |name, length| saved.take(name, length))?;
        self.value.restore("value", updates, |name, length| saved.take(name, length))
    }

    fn finish(mut self) -> Result<Finished<E>> {
        let episode = self.one_episode();
        let (s, iterations) = (self.s, self.steps());
        let results = json!({ "iterations": iterations, "episodes": iterations * s.batch as u64,
            "episodes_left_over": s.episodes_left_over(), "updates": self.policy.updates, "kl_coef": self.kl_coef, "ptx_coef": s.ptx_coef,
            "prompts": self.prompts.len() });
        let width = self.policy.network.config.width;
        let slow = hints::slow("ppo.learning_rate", s.learning_rate, width, hints::POLICY);
        let notes = hints::some([slow, hints::holds_start(s.average_decay(), self.policy.updates)]);
        let finished = Finished::network(self.policy.averaged(), results);
        Ok(Finished { notes, files: episode.into_iter().collect(), ..finished })
    }
}

impl<'a, E: Engine> Ppo<'a, E> {
    /// Trains the policy as `s` says.
    ///
    /// # Errors
    /// [`Error::Usage`] without prompts, without text where `ptx_coef` is not 0, or if the networks' vocabularies
    /// differ.
    pub fn new(inputs: Inputs<'a>, s: &'a PpoSettings, networks: Networks<'a, E>) -> Result<Self> {
        let Networks { policy, mut reference, value, reward } = networks;
        let prompts = fitting(&inputs.data.prompts.train, policy.config.context.min(value.config.context));
        if prompts.is_empty() {
            return Err(Error::usage("data.prompts", "prompts shorter than the context", "none", ""));
        }
        if s.has_ptx() && inputs.data.text.train.predictions() == 0 {
            let hint = "set ppo.ptx_coef = 0 for plain PPO";
            return Err(Error::usage("data.pretraining", "text for the pretraining gradient", "none", hint));
        }
        check_vocabulary(&policy, &value, "value function")?;
        check_vocabulary(&policy, &reference, "reference")?;
        reference.plan(inputs.micro_batch_tokens, false);
        let optimizer = inputs.optimizer(s.adam_style, s.weight_decay, s.gradient_clip);
        Ok(Ppo {
            s,
            inputs,
            prompts,
            policy: Learner::new(policy, optimizer, inputs.micro_batch_tokens, true),
            value: inputs.learner(value, optimizer),
            reference,
            reward,
            schedule: Schedule {
                decay: Decay::Constant,
                final_fraction: 1.0,
                warmup_steps: s.warmup_iterations * (s.minibatches * s.inner_epochs) as u64,
                warmup_start_fraction: s.warmup_start,
            },
            kl_coef: s.kl_coef,
            minibatch: Episodes::default(),
        })
    }

    /// An iteration's prompts, in an order that each pass over all prompts has of its own.
    fn batch(&self, iteration: u64) -> Vec<&'a [u32]> {
        let (s, count) = (self.s, self.prompts.len() as u64);
        let mut batch: Vec<&[u32]> = Vec::with_capacity(s.batch);
        let first = iteration * s.batch as u64;
        while batch.len() < s.batch {
            let number = first + batch.len() as u64;
            let (pass, place) = (number / count, (number % count) as usize);
            let mut rng = Rng::at(self.inputs.seed, Address::Ppo, Purpose::Prompt, pass, 0, 0);
            let order = rng.permutation(self.prompts.len());
            let chosen = order[place..].iter().take(s.batch - batch.len());
            batch.extend(chosen.map(|&i| self.prompts[i]));
        }
        batch
    }

    /// One update of policy and value function on the minibatch.
    fn update(&mut self, sums: &mut Sums, watch: &mut Watch) -> Result<()> {
        let Ppo { s, policy, value, minibatch, .. } = self;
        if s.whiten_advantages {
            let whitening = Whitening { shift_mean: true, unbiased: s.unbiased_whitening };
            whiten(&mut minibatch.advantages, whitening);
        }
        let update = policy.updates;
        let rate = |peak| self.schedule.learning_rate(peak, update, u64::MAX);
        let value_rate = if s.value_warmup { rate(s.value_learning_rate) } else { s.value_learning_rate };

        let text = text(&self.inputs, s, policy.network.config.context, update);
        let (ptx, ptx_tokens) = (sums.ptx, sums.ptx_tokens);
        policy_gradient(policy, minibatch, &text, s, sums);
        sums.first_ratio_max.get_or_insert(sums.policy.ratio_max);
        if !text.is_empty() {
            let loss = (sums.ptx - ptx) / (sums.ptx_tokens - ptx_tokens) as f64;
            watch.loss("the ptx loss", &policy.network, loss)?;
        }
        watch.ratio(sums.policy.ratio_max)?;
        (sums.learning_rate, sums.value_learning_rate) = (rate(s.learning_rate), value_rate);
        let norm = watch.update(policy.update(sums.learning_rate, s.average_decay()), " (policy)")?;
        sums.gradient_norm = sums.gradient_norm.max(norm);

        let before = sums.value;
        value_gradient(value, minibatch, s, sums);
        let loss = (sums.value.loss - before.loss) / (sums.value.tokens - before.tokens).max(1) as f64;
        watch.loss("the value loss", &value.network, loss)?;
        watch.update(value.update(value_rate, 0.0), " (value function)")?;
        Ok(())
    }

    /// An episode of the exported policy to be looked at, as a file: the first validation prompt (or without any, the
    /// first that was trained on). It depends on nothing but the weights, and is made once, at the end.
    fn one_episode(&mut self) -> Option<(&'static str, String)> {
        let Ppo { s, inputs, policy, value, reward, reference, kl_coef, .. } = self;
        let context = policy.network.config.context.min(value.network.config.context);
        let prompts = fitting(&inputs.data.prompts.validation, context);
        let prompt = &[*prompts.first().or(self.prompts.first())?];
        let address = (Address::Eval, s.iterations());
        let responses = policy.measure_average(|network| respond(network, prompt, s, inputs, address));
        let rollouts = Rollouts::new(prompt, &responses);
        let scores = without_eos(&scores(policy.network.ranks(), *reward, &rollouts), &responses, s);
        let mut episodes = Episodes::new(rollouts, packed(&responses).0, scores, s);
        // What one episode is whitened by says nothing.
        let plain = PpoSettings { whiten_rewards: false, ..(*s).clone() };
        estimate(&mut episodes, reference, &mut value.network, &plain, *kl_coef);
        let name = if s.has_ptx() { "episode_ppo_ptx.jsonl" } else { "episode_ppo.jsonl" };
        Some((name, episode_record::lines(&episodes, 0, *kl_coef, &inputs.data.tokenizer)))
    }

    /// On text and prompts for validation: the policy with its averaged weights, which is the one that is exported.
    fn validate(
        &mut self,
        iteration: u64,
        fields: &mut Vec<(&'static str, Value)>,
        watch: &Watch,
    ) -> Result<()> {
        let Ppo { s, inputs, policy, value, reward, .. } = self;
        let context = policy.network.config.context.min(value.network.config.context);
        let mut prompts = fitting(&inputs.data.prompts.validation, context);
        prompts.truncate(s.eval_prompts);
        let (loss, responses) = policy.measure_average(|network| {
            let responses = respond(network, &prompts, s, inputs, (Address::Eval, iteration));
            (inputs.text_loss(network, Side::Validation), responses)
        });
        fields.extend(loss.map(|loss| ("validation_pretraining_loss", loss.into())));
        if !prompts.is_empty() {
            let rollouts = Rollouts::new(&prompts, &responses);
            let scores = scores(policy.network.ranks(), *reward, &rollouts);
            watch.scores(&scores, prompts.len())?;
            fields.extend(mean(&scores).map(|reward| ("validation_reward", reward.into())));
        }
        Ok(())
    }
}

/// Responses to `prompts`; their draws are those of a stage and its step.
fn respond<E: Engine>(
    network: &Network<E>,
    prompts: &[&[u32]],
    s: &PpoSettings,
    inputs: &Inputs,
    (stage, step): (Address, u64),
) -> Vec<Response> {
    let end_of_text = inputs.data.tokenizer.end_of_text();
    let sampling = Sampling::full(s.temperature, s.max_response_tokens, end_of_text);
    let draw = Draw { seed: inputs.seed, stage, step, episode: 0 };
    network.generate(prompts, &sampling, &draw.consecutive(prompts.len()), &|_| true)
}

/// The miniature's own judgement of the episodes, by which nothing is chosen: it shows where the reward model is
/// over-optimised.
fn gold(inputs: &Inputs, episodes: &Episodes) -> Option<f64> {
    let (world, tokenizer) = (inputs.data.world.as_ref()?, &inputs.data.tokenizer);
    let text = |tokens: &[u32]| tokenizer.decode_lossy(strip(tokens, tokenizer.end_of_text()));
    let rollouts = &episodes.rollouts;
    let judge = |i| world.gold(&text(rollouts.prompt(i)), &text(rollouts.response(i))).overall;
    mean(&(0..rollouts.len()).map(judge).collect::<Vec<f32>>())
}

/// An update's windows of pretraining text.
fn text<'a>(inputs: &Inputs<'a>, s: &PpoSettings, context: usize, update: u64) -> Vec<Sequence<'a>> {
    let count = if s.has_ptx() { s.batch / s.minibatches * s.ptx_examples_per_episode } else { 0 };
    let window = |i| window(&inputs.data.text.train, context, inputs.seed, Address::Ppo, update, i);
    (0..count as u64).map(window).collect()
}

/// Log-probs and entropies of all responses.
fn packed(responses: &[Response]) -> (Vec<f32>, Vec<f32>) {
    let log_probs = responses.iter().flat_map(|response| &response.log_probs);
    let entropies = responses.iter().flat_map(|response| &response.entropies);
    (log_probs.copied().collect(), entropies.copied().collect())
}

/// Scores of responses, of which those that did not end by themselves may have lost something.
fn without_eos(scores: &[f32], responses: &[Response], s: &PpoSettings) -> Vec<f32> {
    let apply = |(&score, response): (&f32, &Response)| s.score(score, response.ended);
    scores.iter().zip(responses).map(apply).collect()
}

fn check_vocabulary<E: Engine>(policy: &Network<E>, other: &Network<E>, name: &str) -> Result<()> {
    let (expected, found) = (policy.config.vocab_size, other.config.vocab_size);
    if found == expected {
        return Ok(());
    }
    Err(Error::usage(
        format!("the {name}'s vocabulary"),
        format!("{expected} tokens, as the policy has"),
        found,
        "all models of a run share one tokenizer",
    ))
}
