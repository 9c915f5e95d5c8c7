//! Each model is asked once, and everything is judged by what it answered then: the held-out test prompts, the closed
//! tasks, the probes, and the loss on held-out text.
//!
//! Draws are addressed by (seed, what is asked, number of the prompt): all models draw the same numbers.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::lab::Lab;
use super::runs::Model;
use super::scale::MIDDLE;
use super::verdict::Values;
use crate::data::Side;
use crate::engine::check_devices;
use crate::engine::device::on_device;
use crate::error::{Error, Result};
use crate::model::{Draw, Network, Response, Sampling, Sequence};
use crate::num::rng::Stage;
use crate::num::statistics::mean;
use crate::text::Tokenizer;
use crate::train::rollouts::strip;
use crate::world::labelers::hash;
use crate::world::probes::ClosedTask;

/// Who answers.
#[derive(Debug, Clone)]
pub struct Contender {
    /// Its name in charts: "PPO-ptx".
    pub name: &'static str,
    /// The model.
    pub model: Model,
    /// Whether a worked example stands before what it is asked (the paper's GPT, prompted).
    pub prompted: bool,
}

/// An answer to a test prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked, without the worked example.
    pub prompt: String,
    /// What was answered.
    pub response: String,
    /// The reward model's score.
    pub reward: f64,
}

/// Whether a model was right on an item of a closed task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Graded {
    task: String,
    index: u64,
    right: bool,
}

/// Tokens of the answer to a closed task, at most.
const CLOSED_TOKENS: usize = 16;

impl Lab<'_> {
    /// The pretrained model, the prompted one, SFT, PPO and PPO-ptx of a size: the five lines of figure 1.
    pub fn contenders(&self, size: usize) -> [Contender; 5] {
        let spec = self.size(size);
        let contender = |name, model, prompted| Contender { name, model, prompted };
        [
            contender("GPT", spec.gpt(), false),
            contender("GPT (prompted)", spec.gpt(), true),
            contender("SFT", spec.sft(), false),
            contender("PPO", spec.ppo(), false),
            contender("PPO-ptx", spec.policy(), false),
        ]
    }

    /// The answers to the test prompts.
    ///
    /// # Errors
    /// Those of the models.
    pub fn answers(&self, contender: &Contender) -> Result<Vec<Answer>> {
        let Contender { model, prompted, .. } = contender;
        let prompts = &self.data()?.prompts.test;
        let name = format!("{}{}", model.path(), if *prompted { "-prompted" } else { "" });
        let what = format!("answers to {} test prompts", prompts.len());
        let reward = self.size(MIDDLE).reward();
        self.measured(&name, &[model, &reward], &what, || {
            let prefix = match prompted {
                true => self.prefix(model)?,
                false => String::new(),
            };
            self.answer(model, &prefix, prompts, "test prompts")
        })
    }

    /// The gold score, from 1 to 7, of each answer to the test prompts.
    ///
    /// # Errors
    /// Those of the models.
    pub fn gold_scores(&self, contender: &Contender) -> Result<Values> {
        let score = |Answer { prompt, response, .. }: Answer| {
            let gold = self.world.gold(&prompt, &response).overall;
            (prompt, f64::from(gold))
        };
        Ok(self.answers(contender)?.into_iter().map(score).collect())
    }

    /// The worked example with which a model's answers to validation prompts have the highest mean reward (paper,
    /// footnote 6). Those that leave no room for prompt and answer are passed over; one must be left.
    fn prefix(&self, model: &Model) -> Result<String> {
        let (scale, data) = (self.scale, self.data()?);
        let prompts = &data.prompts.validation[..data.prompts.validation.len().min(scale.prefix_prompts)];
        let s = self.settings();
        let room = s.model.context.saturating_sub(s.ppo.max_prompt_tokens + s.ppo.max_response_tokens);
        let mut best = (f64::NEG_INFINITY, String::new());
        for index in 0..scale.prefixes {
            let prefix = self.world.demonstration_prefix(index);
            if data.tokenizer.encode(&prefix).len() > room {
                continue;
            }
            let answers = self.answer(model, &prefix, prompts, "validation prompts")?;
            let rewards: Vec<f64> = answers.iter().map(|answer| answer.reward).collect();
            if let Some(mean) = mean(&rewards).filter(|mean| *mean > best.0) {
                best = (mean, prefix);
            }
        }
        match best.1.is_empty() {
            false => Ok(best.1),
            true => Err(Error::usage(
                "model.context",
                format!(
                    "room for a worked example before a prompt of {} tokens and its answer",
                    s.ppo.max_prompt_tokens
                ),
                format!("{} tokens, and no example of at most {room}", s.model.context),
                "",
            )),
        }
    }

    fn answer(&self, model: &Model, prefix: &str, prompts: &[Vec<u32>], what: &str) -> Result<Vec<Answer>> {
        let (network, mut reward) = (self.network(model)?, self.network(&self.size(MIDDLE).reward())?);
        let tokenizer = &self.data()?.tokenizer;
        let before = tokenizer.encode(prefix);
        let asked: Vec<Vec<u32>> =
            prompts.iter().map(|prompt| [before.as_slice(), prompt].concat()).collect();
        let s = self.settings().ppo;
        let end = tokenizer.end_of_text();
        let sampling = Sampling::full(s.temperature, s.max_response_tokens, end);
        let responses = self.responses(&network, &asked, &sampling, what)?;
        let context = reward.config.context;
        let judged: Vec<Vec<u32>> = prompts
            .iter()
            .zip(&responses)
            .map(|(prompt, (response, ended))| {
                let mut tokens = [prompt.as_slice(), &tokenizer.encode(response)].concat();
                tokens.truncate(context - 1);
                tokens.extend(ended.then_some(end));
                tokens
            })
            .collect();
        let rewards = reward.scores(judged.iter().map(Vec::as_slice));
        let answers = prompts.iter().zip(responses).zip(rewards);
        let answer = |((prompt, (response, _)), reward): ((&Vec<u32>, (String, bool)), f32)| Answer {
            prompt: tokenizer.decode_lossy(prompt),
            response,
            reward: f64::from(reward),
        };
        Ok(answers.map(answer).collect())
    }

    /// What a network writes after each text, and whether it ended by itself. `what` addresses the draws.
    fn responses(
        &self,
        network: &Network,
        texts: &[Vec<u32>],
        sampling: &Sampling,
        what: &str,
    ) -> Result<Vec<(String, bool)>> {
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let draw = Draw { seed: self.seed, stage: Stage::Eval, step: hash(what), episode: 0 };
        let draws = draw.consecutive(texts.len());
        let stop = self.stop;
        let go_on = |_| !stop.load(Ordering::Relaxed);
        let responses: Vec<Response> = on_device!(self.settings().device, |engine| {
            let responses = network.clone().on(engine).generate(&texts, sampling, &draws, &go_on);
            check_devices().map(|()| responses)
        })?;
        self.check_stop()?;
        let tokenizer = &self.data()?.tokenizer;
        let end = tokenizer.end_of_text();
        // A model that goes on to another request has given its answer.
        let next = tokenizer.prompt_format.as_ref().map_or("", |format| format.before_prompt.trim());
        let answer = |response: &Response| {
            let text = tokenizer.decode_lossy(strip(&response.tokens, end));
            match text.find(next).filter(|_| !next.is_empty()) {
                Some(at) => (text[..at].trim_end().to_string(), true),
                None => (text, response.ended),
            }
        };
        Ok(responses.iter().map(answer).collect())
    }

    /// What a model writes after each of some texts, sampled as PPO samples.
    ///
    /// # Errors
    /// Those of the model.
    pub fn continuations(&self, model: &Model, what: &str, texts: &[String]) -> Result<Vec<String>> {
        let name = format!("{what}/{}", model.path());
        self.measured(&name, &[model], &format!("{} texts", texts.len()), || {
            let (network, s) = (self.network(model)?, self.settings().ppo);
            let tokenizer = &self.data()?.tokenizer;
            let longest = network.config.context.saturating_sub(s.max_response_tokens);
            let tokens: Vec<Vec<u32>> = texts.iter().map(|text| cut(tokenizer, text, longest)).collect();
            let sampling = Sampling::full(s.temperature, s.max_response_tokens, tokenizer.end_of_text());
            let responses = self.responses(&network, &tokens, &sampling, what)?;
            Ok(responses.into_iter().map(|(text, _)| text).collect())
        })
    }

    /// Whether a model is right on the items of each closed task behind some worked examples, greedily (appendix D.2): 1
    /// or 0 by item, named "TASK INDEX".
    ///
    /// # Errors
    /// Those of the model.
    pub fn few_shot(&self, model: &Model) -> Result<Values> {
        let (count, shots) = (self.scale.closed, self.scale.shots);
        let name = format!("closed/{}", model.path());
        let graded = self.measured(&name, &[model], &format!("{count} items, {shots} examples"), || {
            let network = self.network(model)?;
            let tokenizer = &self.data()?.tokenizer;
            let items: Vec<(ClosedTask, u64)> =
                ClosedTask::ALL.into_iter().flat_map(|task| (0..count).map(move |i| (task, i))).collect();
            let (mut texts, mut answers) = (Vec::new(), Vec::new());
            let room = network.config.context.saturating_sub(CLOSED_TOKENS);
            for &(task, index) in &items {
                // As many examples as fit.
                let item = (0..=shots).rev().map(|shots| self.world.closed(task, shots, index));
                let mut fitting = item.map(|item| (tokenizer.encode(&item.query), item.answer));
                let fits = fitting.find(|(text, _)| text.len() <= room);
                let (text, answer) = fits.unwrap_or_else(|| {
                    let item = self.world.closed(task, 0, index);
                    (cut(tokenizer, &item.query, room), item.answer)
                });
                texts.push(text);
                answers.push(answer);
            }
            let sampling = Sampling::full(0.0, CLOSED_TOKENS, tokenizer.end_of_text());
            let responses = self.responses(&network, &texts, &sampling, "closed tasks")?;
            let graded =
                items.iter().zip(responses.iter().zip(&answers)).map(|(item, ((response, _), answer))| {
                    let first = response.split('\n').next().unwrap_or_default();
                    Graded { task: item.0.name().into(), index: item.1, right: first.trim() == answer.trim() }
                });
            Ok(graded.collect())
        })?;
        let value = |g: Graded| (format!("{} {}", g.task, g.index), f64::from(u8::from(g.right)));
        Ok(graded.into_iter().map(value).collect())
    }

    /// A model's mean loss on each window of the test text, in nats per token.
    ///
    /// # Errors
    /// Those of the model.
    pub fn text_losses(&self, model: &Model) -> Result<Values> {
        let tokens = self.settings().pretrain.eval_tokens;
        let name = format!("text/{}", model.path());
        let losses = self.measured(&name, &[model], &format!("{tokens} tokens of test text"), || {
            let mut network = self.network(model)?;
            let context = network.config.context;
            let windows = self.data()?.text.of(Side::Test).windows(context, tokens);
            Ok(windows.iter().filter_map(|window| network.mean_loss(&[*window])).collect())
        })?;
        Ok(losses.into_iter().enumerate().map(|(i, loss): (usize, f64)| (i.to_string(), loss)).collect())
    }

    /// The entropy in bits of a model's choice between two sentences, for each pair (appendix D.1: 1 is no bias at all).
    ///
    /// # Errors
    /// Those of the model.
    pub fn pair_entropies(&self, model: &Model) -> Result<Values> {
        let count = self.scale.probes;
        let name = format!("pairs/{}", model.path());
        let entropies = self.measured(&name, &[model], &format!("{count} pairs"), || {
            let mut network = self.network(model)?;
            let tokenizer = &self.data()?.tokenizer;
            let mut entropies = Vec::new();
            for index in 0..count {
                let mut total = |text: &String| {
                    // A sentence begins a document.
                    let mut tokens = vec![tokenizer.end_of_text()];
                    tokens.extend(cut(tokenizer, text, network.config.context - 1));
                    let log_probs = network.log_probs(&[Sequence::text(&tokens)], 1.0);
                    log_probs.iter().fold(0.0, |sum, &log_prob| sum + f64::from(log_prob))
                };
                let [a, b] = &self.world.paired_sentences(index);
                entropies.push(entropy_of_two(total(a), total(b)));
            }
            Ok(entropies)
        })?;
        Ok(entropies.into_iter().enumerate().map(|(i, bits)| (i.to_string(), bits)).collect())
    }
}

/// The end of a text, of at most so many tokens.
fn cut(tokenizer: &Tokenizer, text: &str, longest: usize) -> Vec<u32> {
    let tokens = tokenizer.encode(text);
    tokens[tokens.len().saturating_sub(longest)..].to_vec()
}

/// The entropy in bits of a choice between two, given their log-probs in nats.
fn entropy_of_two(a: f64, b: f64) -> f64 {
    let p = 1.0 / (1.0 + libm::exp(b - a));
    let part = |p: f64| if p > 0.0 { -p * libm::log2(p) } else { 0.0 };
    part(p) + part(1.0 - p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_of_two() {
        assert_eq!(entropy_of_two(-3.0, -3.0), 1.0);
        assert_eq!(entropy_of_two(0.0, -2000.0), 0.0);
        assert_eq!(entropy_of_two(-2000.0, 0.0), 0.0);
        // 3 to 1: 0.811 bits, whichever it is.
        let three_to_one = entropy_of_two(libm::log(0.3), libm::log(0.1));
        assert!((three_to_one - 0.811_278_124_459_132_8).abs() < 1e-12);
        assert!((entropy_of_two(libm::log(0.1), libm::log(0.3)) - three_to_one).abs() < 1e-12);
    }
}
