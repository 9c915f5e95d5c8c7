//! Sampling responses: prompts in, tokens with their log-probs out.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::config::ModelConfig;
use super::decode::Decoder;
use super::network::Network;
use super::shared_out::join_responses;
use crate::engine::Engine;
use crate::engine::sampling::{Choice, Choosing};
use crate::num::par;
use crate::num::rng::{Purpose, Rng, Stage};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most probable token. PPO samples at 1 (paper, appendix C.4).
    pub temperature: f32,
    /// Only the k most probable tokens may be drawn; 0: all.
    pub top_k: usize,
    /// Only the smallest set of most probable tokens whose probabilities reach p may be drawn, the one that reaches it
    /// included; 1: all. With top-k these are probabilities among the k tokens, as Hugging Face has it: top-k first,
    /// then top-p of what is left, renormalised.
    pub top_p: f32,
    /// Most tokens of a response, the end-of-text token included.
    pub max_new_tokens: usize,
    /// Ends a response.
    pub end_of_text: Option<u32>,
}

/// A sampled response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// Its tokens, the end-of-text token included if it ended by itself.
    pub tokens: Vec<u32>,
    /// Log-prob of each under the full distribution at the sampling temperature (at 1 where that is 0).
    pub log_probs: Vec<f32>,
    /// Entropy of each step's full distribution, in nats.
    pub entropies: Vec<f32>,
    /// Whether it ended with the end-of-text token.
    pub ended: bool,
}

/// Addresses a response's draws: token `t` is drawn at (seed, stage, step, episode, t).
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Seed of the run.
    pub seed: u64,
    /// Stage of the run.
    pub stage: Stage,
    /// Step or iteration.
    pub step: u64,
    /// Number of the response within the step.
    pub episode: u64,
}

impl Sampling {
    /// From the full distribution, as training does.
    pub fn full(temperature: f32, max_new_tokens: usize, end_of_text: u32) -> Self {
        Sampling { temperature, top_k: 0, top_p: 1.0, max_new_tokens, end_of_text: Some(end_of_text) }
    }

    /// What of it concerns a single token.
    fn choosing(&self) -> Choosing {
        Choosing { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p }
    }
}

impl Draw {
    /// Where in the cumulative distribution the token at a position of the response is drawn, in [0, 1).
    fn uniform(&self, position: usize) -> f32 {
        Rng::at(self.seed, self.stage, Purpose::Sample, self.step, self.episode, position as u64).uniform()
    }

    /// The addresses of `n` responses, numbered from this one.
    pub fn consecutive(self, n: usize) -> Vec<Draw> {
        (0..n as u64).map(|i| Draw { episode: self.episode + i, ..self }).collect()
    }
}

/// Samples one response to each prompt. Responses end at `end_of_text`, at `max_new_tokens` or where the
/// context ends. Neither the company of other prompts nor threads change a response. Where the network has several
/// ranks, each samples its share of the responses, and all are given all of them.
///
/// `progress` is called with the number of tokens just sampled, and returns whether to go on; if not, the
/// responses are left unfinished.
pub fn generate<E: Engine>(
    network: &Network<E>,
    prompts: &[&[u32]],
    sampling: &Sampling,
    draws: &[Draw],
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Vec<Response> {
    assert_eq!(prompts.len(), draws.len(), "one draw address per prompt");
    let own = network.ranks().share(prompts.len());
    let (prompts, draws) = (&prompts[own.clone()], &draws[own]);
    let responses = generate_with(network, &network.packed_weights(), prompts, sampling, draws, progress);
    join_responses(network.ranks(), responses)
}

/// [`generate`] with weights that were [packed](Network::packed_weights) before.
pub fn generate_with<E: Engine>(
    network: &Network<E>,
    weights: &E::Weights<'_>,
    prompts: &[&[u32]],
    sampling: &Sampling,
    draws: &[Draw],
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Vec<Response> {
    let asked = Asked { prompts, draws, first: 0, stop: &|_, _| false };
    generate_asked(network, weights, asked, sampling, progress)
}

/// [`generate_with`], where a response also ends as soon as `stop` says so of the number of its prompt and of its tokens
/// so far, the last of them included.
pub fn generate_until<E: Engine>(
    network: &Network<E>,
    weights: &E::Weights<'_>,
    prompts: &[&[u32]],
    sampling: &Sampling,
    draws: &[Draw],
    stop: &Stop,
) -> Vec<Response> {
    generate_asked(network, weights, Asked { prompts, draws, first: 0, stop }, sampling, &|_| true)
}

/// Whether the response to the prompt of a number ends with these tokens.
pub type Stop<'a> = dyn Fn(usize, &[u32]) -> bool + Sync + 'a;

/// What is to be answered.
#[derive(Clone, Copy)]
struct Asked<'a> {
    prompts: &'a [&'a [u32]],
    /// One for each prompt.
    draws: &'a [Draw],
    /// The number of the first prompt.
    first: usize,
    stop: &'a Stop<'a>,
}

fn generate_asked<E: Engine>(
    network: &Network<E>,
    weights: &E::Weights<'_>,
    asked: Asked,
    sampling: &Sampling,
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Vec<Response> {
    let Asked { prompts, draws, .. } = asked;
    assert_eq!(prompts.len(), draws.len(), "one draw address per prompt");
    let mut responses = vec![Response::default(); prompts.len()];
    let threads = if E::ON_HOST { par::threads() } else { 1 };
    let config = &network.config;
    let capacity = prompts.iter().map(|prompt| prompt.len() + limit(config, prompt.len(), sampling)).max();
    let of_sequence = 2 * size_of::<f32>() * config.layers * config.width * capacity.unwrap_or(0);
    let wave = E::DECODED * threads;
    for (number, responses) in responses.chunks_mut(wave).enumerate() {
        let first = number * wave;
        let size = if E::ON_HOST {
            group_size(responses.len(), threads, network.matrix_bytes(), of_sequence)
        } else {
            responses.len()
        };
        // Split over groups of whole sequences.
        par::for_each(par::rows(responses, 1), size, |start, responses| {
            let at = first + start..first + start + responses.data.len();
            let group =
                Asked { prompts: &prompts[at.clone()], draws: &draws[at.clone()], first: at.start, ..asked };
            generate_group(network, weights, group, sampling, responses.data, progress);
        });
    }
    responses
}

/// Of `count` sequences on the host, how many are decoded together: all by all threads, each thread on its columns, or
/// groups of them by a thread each, without any hand-over in a step. The weights have `weights` bytes, and keys and values
/// of a sequence will have `of_sequence`.
fn group_size(count: usize, threads: usize, weights: usize, of_sequence: usize) -> usize {
    if count < threads || count < APART * threads && weights > CACHED {
        return count;
    }
    let of_thread = count.div_ceil(threads);
    if weights > CACHED {
        return of_thread;
    }
    // One group after the other, if the keys and values of all would drive each other out of the caches.
    let room = (CACHED - weights) / threads;
    let most = room.checked_div(of_sequence).unwrap_or(of_thread).max(APART);
    of_thread.div_ceil(of_thread.div_ceil(most))
}

/// Bytes of packed weights, with the keys and values that all threads decode with, that stay in the caches. Up to them
/// each thread decodes a group of its own. With 3 MB of weights and 12 MB for 64 sequences, two threads were 1.08 to 1.24
/// times as fast when each decoded 16 of its 32 sequences at a time; with 1 MB and 9 MB, .94 times.
pub const CACHED: usize = 12 << 20;

/// Sequences of a thread from which on it decodes a group of its own whatever the weights: multiplying takes longer
/// than reading them once more. With fewer and larger weights all threads work on one group, each on its columns.
/// Two threads, apart beside together: 0.9 times as fast for 16 sequences and 43 MB, 1.1 for 32, 1.2 for 64; 1.0 for
/// 16 sequences and 500 MB, 1.1 for 64.
const APART: usize = 16;

/// Tokens of prompts that are read together, if there are several: their rows share a reading of the weights.
/// More would only cost memory.
pub const PREFILL: usize = 256;

fn generate_group<E: Engine>(
    network: &Network<E>,
    weights: &E::Weights<'_>,
    asked: Asked,
    sampling: &Sampling,
    responses: &mut [Response],
    progress: &(dyn Fn(usize) -> bool + Sync),
) {
    let Asked { prompts, draws, first, stop } = asked;
    let config = &network.config;
    let limit = |slot: usize| limit(config, prompts[slot].len(), sampling);
    let capacity = (0..prompts.len()).map(|slot| prompts[slot].len() + limit(slot)).max().unwrap_or(0);
    let mut decoder = Decoder::new(network, weights, prompts.len(), capacity.min(config.context));
    let mut advance = |sequences: &[(usize, &[u32])], responses: &mut [Response]| {
        let uniforms: Vec<f32> =
            sequences.iter().map(|&(slot, _)| draws[slot].uniform(responses[slot].tokens.len())).collect();
        let choices = decoder.draw(sequences, sampling.choosing(), &uniforms);
        for (choice, &(slot, _)) in choices.into_iter().zip(sequences) {
            responses[slot].push(choice, sampling);
        }
        progress(sequences.len())
    };
    let active: Vec<(usize, &[u32])> =
        (0..prompts.len()).filter(|&slot| limit(slot) > 0).map(|slot| (slot, prompts[slot])).collect();
    let mut waiting = &active[..];
    while !waiting.is_empty() {
        let mut tokens = 0;
        let fits = waiting.iter().take_while(|(_, prompt)| {
            tokens += prompt.len();
            tokens <= PREFILL
        });
        let (together, rest) = waiting.split_at(fits.count().max(1));
        if !advance(together, responses) {
            return;
        }
        waiting = rest;
    }
    let mut active: Vec<usize> = active.into_iter().map(|(slot, _)| slot).collect();
    let mut last: Vec<[u32; 1]> = Vec::new();
    loop {
        active.retain(|&slot| {
            let Response { tokens, ended, .. } = &responses[slot];
            !ended && tokens.len() < limit(slot) && !stop(first + slot, tokens)
        });
        last.clear();
        last.extend(active.iter().map(|&slot| [responses[slot].tokens[responses[slot].tokens.len() - 1]]));
        let sequences: Vec<(usize, &[u32])> =
            active.iter().zip(&last).map(|(&slot, token)| (slot, token.as_slice())).collect();
        if sequences.is_empty() || !advance(&sequences, responses) {
            return;
        }
    }
}

/// Most tokens of a response to a prompt of `prompt` tokens. It may fill the context, not overflow it: reward
/// model and trainer read it whole.
fn limit(config: &ModelConfig, prompt: usize, sampling: &Sampling) -> usize {
    sampling.max_new_tokens.min(config.context.saturating_sub(prompt))
}

/// [`generate`] for a single prompt, handing on each token as it is drawn; `each` returns whether to go on. The weights
/// are packed when there is to be a second token.
pub fn generate_one<E: Engine>(
    network: &Network<E>,
    prompt: &[u32],
    sampling: &Sampling,
    draw: Draw,
    mut each: impl FnMut(u32) -> bool,
) -> Response {
    let limit = limit(&network.config, prompt.len(), sampling);
    let mut response = Response::default();
    if limit == 0 {
        return response;
    }
    let packed = OnceCell::new();
    let plain = network.weights();
    let mut decoder = Decoder::new(network, &plain, 1, prompt.len() + limit);
    let mut latest;
    let mut next = prompt;
    loop {
        let uniform = draw.uniform(response.tokens.len());
        let [choice] = decoder.draw(&[(0, next)], sampling.choosing(), &[uniform])[..] else {
            unreachable!("a choice for each")
        };
        response.push(choice, sampling);
        let token = response.tokens[response.tokens.len() - 1];
        if !each(token) || response.ended || response.tokens.len() == limit {
            return response;
        }
        decoder.go_on_with(packed.get_or_init(|| network.packed_weights()));
        latest = [token];
        next = &latest;
    }
}

impl Response {
    fn push(&mut self, choice: Choice, sampling: &Sampling) {
        self.tokens.push(choice.token);
        self.log_probs.push(choice.log_prob);
        self.entropies.push(choice.entropy);
        self.ended = Some(choice.token) == sampling.end_of_text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_equal_and_keep_to_the_caches() {
        let (small, large) = (CACHED / 4, CACHED + 1);
        // (sequences, threads, weights, a sequence): decoded together.
        for (asked, size) in [
            ((1, 2, small, 1), 1),
            ((5, 2, small, 1), 3),
            ((64, 2, small, 1), 32),
            // 4.5 MiB for each of two threads: 18 sequences of a quarter, so 32 go in two groups.
            ((64, 2, small, 1 << 18), 16),
            ((64, 2, small, 1 << 17), 32),
            ((64, 1, small, 1 << 17), 64),
            ((80, 2, small, 1 << 18), 14),
            // Never fewer than make a reading of the weights worth while.
            ((64, 2, CACHED, 1 << 30), 16),
            ((20, 2, small, 1 << 30), 10),
            ((64, 2, small, 0), 32),
            // Weights that are too large: all threads together, or one large group each.
            ((31, 2, large, 1 << 18), 31),
            ((64, 2, large, 1 << 18), 32),
            ((3, 4, small, 1), 3),
        ] {
            let (count, threads, weights, of_sequence) = asked;
            assert_eq!(group_size(count, threads, weights, of_sequence), size, "{asked:?}");
        }
    }
}
