//! PPO and PPO-ptx by hand: rollouts, what they are worth, the clipped losses, and the updates.

use instructgpt::model::{Draw, Head, Network, Sampling, Sequence};
use instructgpt::num::rng::{Purpose, Rng, Stage as Address};
use instructgpt::settings::Settings;

use crate::hand::{Hand, Rule, moments, windows};
use crate::{DATA, Keys, network};

/// What is maximised: any function of the tokens that varies.
pub fn score(prompt: &[u32], response: &[u32]) -> f32 {
    let sum: u32 = prompt.iter().chain(response).sum();
    (sum % 13) as f32 / 4.0 - 0.3 * response.len() as f32
}

/// A policy that ends some of its responses before the limit and not others.
pub fn policy() -> Network {
    let mut network = network(Head::LanguageModel, 1);
    let (layout, width) = (network.layout.clone(), network.config.width);
    let end = DATA.tokenizer.end_of_text() as usize;
    let mut parameters = network.parameters().into_owned();
    parameters[layout.ln_f.bias.clone()].iter_mut().for_each(|b| *b += 0.7);
    parameters[layout.wte.clone()][end * width..][..width].iter_mut().for_each(|w| *w += 0.7);
    network.set_parameters(parameters);
    network
}

/// The learners after an iteration.
pub struct Outcome {
    pub policy: Vec<f32>,
    pub average: Vec<f32>,
    pub value: Vec<f32>,
    pub kl_coef: f64,
    /// Mean KL to the reference, in nats per response.
    pub kl: f64,
}

/// One episode, with everything that is computed from it.
struct Episode {
    tokens: Vec<u32>,
    prompt: usize,
    old: Vec<f64>,
    values: Vec<f64>,
    advantages: Vec<f64>,
    returns: Vec<f64>,
}

impl Episode {
    fn response(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, from: self.prompt - 1, to: self.tokens.len() - 1 }
    }

    fn positions(&self, count: usize) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, from: self.prompt - 1, to: self.prompt - 1 + count }
    }
}

/// Splits numbers into runs of these lengths.
fn split(numbers: Vec<f32>, lengths: impl Iterator<Item = usize>) -> Vec<Vec<f64>> {
    let mut numbers = numbers.into_iter().map(f64::from);
    lengths.map(|length| numbers.by_ref().take(length).collect()).collect()
}

/// The prompts of an iteration: passes over all of them, each in an order of its own.
fn prompts(seed: u64, iteration: usize, batch: usize) -> Vec<&'static [u32]> {
    let all = &DATA.prompts.train;
    let order = |pass: usize| Rng::at(seed, Address::Ppo, Purpose::Prompt, pass as u64, 0, 0);
    let number = |i: usize| order(i / all.len()).permutation(all.len())[i % all.len()];
    (iteration * batch..(iteration + 1) * batch).map(|i| all[number(i)].as_slice()).collect()
}

/// Samples the episodes of an iteration, and says what they are worth.
fn rollouts(
    s: Keys,
    seed: u64,
    iteration: usize,
    policy: &Network,
    reference: &mut Network,
    value: &mut Network,
    kl_coef: f64,
) -> (Vec<Episode>, f64) {
    let (temperature, limit) = (s.number("temperature") as f32, s.count("max_response_tokens"));
    let end = DATA.tokenizer.end_of_text();
    let prompts = prompts(seed, iteration, s.count("batch"));
    let sampling =
        Sampling { temperature, top_k: 0, top_p: 1.0, max_new_tokens: limit, end_of_text: Some(end) };
    let draw = |episode| Draw { seed, stage: Address::Ppo, step: iteration as u64, episode };
    let draws: Vec<Draw> = (0..prompts.len() as u64).map(draw).collect();
    let responses = policy.generate(&prompts, &sampling, &draws, &|_| true);

    let mut episodes: Vec<Episode> = Vec::new();
    let mut scores = Vec::new();
    for (prompt, response) in prompts.iter().zip(&responses) {
        let mut score = f64::from(score(prompt, &response.tokens));
        if response.tokens.last() != Some(&end) {
            match s.text("missing_eos").as_deref() {
                Some("replace") => score = s.number("missing_eos_value"),
                Some("subtract") => score -= s.number("missing_eos_value"),
                _ => {}
            }
        }
        scores.push(score);
        episodes.push(Episode {
            tokens: [prompt, response.tokens.as_slice()].concat(),
            prompt: prompt.len(),
            old: response.log_probs.iter().map(|&x| x.into()).collect(),
            values: vec![],
            advantages: vec![],
            returns: vec![],
        });
    }

    // The score stands at the last token, or one behind it where the response has not filled its limit.
    let after = |episode: &Episode| s.is("score_after_eos", "true") && episode.old.len() < limit;
    let positions: Vec<usize> = episodes.iter().map(|e| e.old.len() + usize::from(after(e))).collect();
    let of_responses: Vec<Sequence> = episodes.iter().map(Episode::response).collect();
    let of_values: Vec<Sequence> = episodes.iter().zip(&positions).map(|(e, &n)| e.positions(n)).collect();
    let lengths = episodes.iter().map(|e| e.old.len());
    let references = split(reference.log_probs(&of_responses, temperature), lengths);
    let values = split(value.values(&of_values), positions.iter().copied());

    // Rewards: the KL penalty everywhere, the score once.
    let (mut rewards, mut kl) = (Vec::new(), 0.0);
    for (b, episode) in episodes.iter().enumerate() {
        let mut of_episode = vec![0.0; positions[b]];
        for t in 0..episode.old.len() {
            let difference = episode.old[t] - references[b][t];
            of_episode[t] = -kl_coef * difference;
            kl += difference;
        }
        *of_episode.last_mut().unwrap() += scores[b];
        rewards.push(of_episode);
    }
    if s.is("whiten_rewards", "true") {
        let (mean, variance) = moments(&rewards.concat(), s.is("unbiased_whitening", "true"));
        rewards.iter_mut().flatten().for_each(|r| *r = (*r - mean) / variance.sqrt() + mean);
    }

    // Generalised advantage estimation, from the end.
    let (gamma, lambda) = (s.number("gamma"), s.number("lambda"));
    for (b, episode) in episodes.iter_mut().enumerate() {
        let n = positions[b];
        let mut advantages = vec![0.0; n + 1];
        for t in (0..n).rev() {
            let next = if t + 1 < n { values[b][t + 1] } else { 0.0 };
            advantages[t] = rewards[b][t] + gamma * next - values[b][t] + gamma * lambda * advantages[t + 1];
        }
        episode.returns = (0..n).map(|t| advantages[t] + values[b][t]).collect();
        episode.advantages = advantages[..episode.old.len()].to_vec();
        episode.values = values[b].clone();
    }
    let kl = kl / episodes.len() as f64;
    (episodes, kl)
}

/// The gradient of the clipped policy loss and of the pretraining loss.
fn add_policy(policy: &mut Hand, s: Keys, seed: u64, minibatch: &[&Episode], advantages: &[Vec<f64>]) {
    let responses: Vec<Sequence> = minibatch.iter().map(|episode| episode.response()).collect();
    let tokens: usize = responses.iter().map(Sequence::outputs).sum();
    let clip = s.number("clip");
    policy.add(&responses, s.number("temperature"), None, |b, new, slopes| {
        for t in 0..new.len() {
            let (ratio, a) = ((f64::from(new[t]) - minibatch[b].old[t]).exp(), advantages[b][t]);
            let clipped = ratio.clamp(1.0 - clip, 1.0 + clip);
            let slope = if ratio * a <= clipped * a { -a * ratio } else { 0.0 };
            slopes[t] = (slope / tokens as f64) as f32;
        }
    });
    let count = minibatch.len() * s.count("ptx_examples_per_episode");
    if count > 0 && s.number("ptx_coef") > 0.0 {
        let context = policy.network.config.context;
        let text = windows(DATA.text.train.tokens(), context, seed, Address::Ppo, policy.updates, count);
        policy.add_cross_entropy(&text, s.number("ptx_coef"), None);
    }
}

/// The gradient of the clipped value loss.
fn add_value(value: &mut Hand, s: Keys, minibatch: &[&Episode]) {
    let sequences: Vec<Sequence> = minibatch.iter().map(|e| e.positions(e.values.len())).collect();
    let positions: usize = sequences.iter().map(Sequence::outputs).sum();
    let (clip, coefficient) = (s.number("value_clip"), s.number("value_coef"));
    value.add(&sequences, 1.0, None, |b, values, slopes| {
        for t in 0..values.len() {
            let (now, old, target) = (f64::from(values[t]), minibatch[b].values[t], minibatch[b].returns[t]);
            let clipped = now.clamp(old - clip, old + clip);
            let binds = (clipped - target).powi(2) > (now - target).powi(2);
            let slope = if binds { 0.0 } else { coefficient * (now - target) };
            slopes[t] = (slope / positions as f64) as f32;
        }
    });
}

/// The whole stage by hand.
pub fn by_hand(settings: &Settings) -> Vec<Outcome> {
    let (s, seed) = (Keys(&settings.ppo), settings.seed);
    let (batch, minibatches, passes) = (s.count("batch"), s.count("minibatches"), s.count("inner_epochs"));
    let mut rule = Rule::new(Keys(&settings.adam), s);
    if let Some(style) = s.text("adam_style") {
        rule.tensorflow = style == "tensorflow";
    }
    let (mut policy, mut value) = (Hand::new(policy()), Hand::new(network(Head::Scalar, 3)));
    let mut reference = network(Head::LanguageModel, 2);
    let mut kl_coef = s.number("kl_coef");
    let mut outcomes = Vec::new();
    for iteration in 0..s.count("episodes") / batch {
        let (episodes, kl) =
            rollouts(s, seed, iteration, &policy.network, &mut reference, &mut value.network, kl_coef);
        for pass in 0..passes as u64 {
            let mut order = Rng::at(seed, Address::Ppo, Purpose::Shuffle, iteration as u64, pass, 0);
            for chosen in order.permutation(batch).chunks(batch / minibatches) {
                let minibatch: Vec<&Episode> = chosen.iter().map(|&b| &episodes[b]).collect();
                let mut advantages: Vec<Vec<f64>> = minibatch.iter().map(|e| e.advantages.clone()).collect();
                if s.is("whiten_advantages", "true") {
                    let unbiased = s.is("unbiased_whitening", "true");
                    let (mean, variance) = moments(&advantages.concat(), unbiased);
                    advantages.iter_mut().flatten().for_each(|a| *a = (*a - mean) / variance.sqrt());
                }
                let warmup = s.count("warmup_iterations") * minibatches * passes;
                let warm = (policy.updates as f64 / warmup as f64).min(1.0);
                let start = s.number("warmup_start");
                let share = if warmup == 0 { 1.0 } else { start + (1.0 - start) * warm };
                add_policy(&mut policy, s, seed, &minibatch, &advantages);
                policy.update(share * s.number("learning_rate"), rule, s.number("ema"));
                add_value(&mut value, s, &minibatch);
                value.update(s.number("value_learning_rate"), rule, 0.0);
            }
        }
        if s.is("adaptive_kl", "true") {
            let error = (kl / s.number("kl_target") - 1.0).clamp(-0.2, 0.2);
            kl_coef *= 1.0 + error * batch as f64 / s.number("kl_horizon");
        }
        outcomes.push(Outcome {
            policy: policy.network.parameters().into_owned(),
            average: policy.average.iter().map(|&x| x as f32).collect(),
            value: value.network.parameters().into_owned(),
            kl_coef,
            kl,
        });
    }
    outcomes
}
