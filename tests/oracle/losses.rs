//! The paper's losses over the reference model, each as its equation reads.

use crate::gpt::Gpt;
use crate::scalar::{Scalar, sum};

/// A sequence whose first `prompt` tokens are given and whose others are the response.
#[derive(Debug, Clone)]
pub struct Episode {
    pub tokens: Vec<u32>,
    /// At least 1.
    pub prompt: usize,
    /// Per response token: log-prob at sampling time, advantage, value then, return.
    pub old_log_probs: Vec<f32>,
    pub advantages: Vec<f32>,
    pub old_values: Vec<f32>,
    pub returns: Vec<f32>,
}

/// The responses to one prompt with their ranks, 1 best.
#[derive(Debug, Clone)]
pub struct Ranking {
    pub responses: Vec<Vec<u32>>,
    pub ranks: Vec<u32>,
}

/// Two responses to one prompt, of which people prefer the first.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Tokens of the prompt, at least 1.
    pub prompt: usize,
    /// Prompt and preferred response.
    pub chosen: Vec<u32>,
    /// Prompt and the other.
    pub rejected: Vec<u32>,
    /// Log-probs of both responses under the reference policy.
    pub reference: [f32; 2],
}

/// Clip of policy and value, the value's coefficient, ptx's, DPO's beta, and the temperature.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    pub clip: f32,
    pub value_clip: f32,
    pub value_coef: f32,
    pub ptx_coef: f32,
    pub beta: f32,
    pub temperature: f32,
}

fn mean<S: Scalar>(terms: Vec<S>) -> S {
    let n = S::constant(terms.len() as f64);
    sum(terms) / n
}

/// Mean cross-entropy of every token that has one before it.
pub fn next_token<S: Scalar>(gpt: &Gpt<S>, sequences: &[Vec<u32>], first_number: u64) -> S {
    let numbers = first_number..;
    -mean(sequences.iter().zip(numbers).flat_map(|(tokens, b)| gpt.log_probs(tokens, b, 1.0)).collect())
}

/// Mean cross-entropy of the responses' tokens (paper, section 3.5).
pub fn sft<S: Scalar>(gpt: &Gpt<S>, episodes: &[Episode]) -> S {
    -mean(response_log_probs(gpt, episodes, 1.0))
}

/// The log-probs of all response tokens.
pub fn response_log_probs<S: Scalar>(gpt: &Gpt<S>, episodes: &[Episode], temperature: f64) -> Vec<S> {
    let episodes = episodes.iter().zip(0..);
    episodes
        .flat_map(|(e, b)| response(&e.tokens, e.prompt, gpt.log_probs(&e.tokens, b, temperature)))
        .collect()
}

/// The values where all response tokens are about to be chosen.
pub fn response_values<S: Scalar>(gpt: &Gpt<S>, episodes: &[Episode]) -> Vec<S> {
    episodes
        .iter()
        .zip(0..)
        .flat_map(|(e, b)| response(&e.tokens, e.prompt, gpt.values(&e.tokens, b)))
        .collect()
}

/// Of numbers at positions 0.. those that speak of the response: from the position before its first token.
pub fn response<S: Scalar>(tokens: &[u32], prompt: usize, at_positions: Vec<S>) -> Vec<S> {
    at_positions[prompt - 1..tokens.len() - 1].to_vec()
}

/// The rewards of each prompt's responses: the scalar head's number at the last token.
pub fn rewards<S: Scalar>(gpt: &Gpt<S>, rankings: &[Ranking]) -> Vec<Vec<S>> {
    let mut number = 0..;
    let mut reward = |tokens: &Vec<u32>| *gpt.values(tokens, number.next().unwrap()).last().unwrap();
    rankings.iter().map(|ranking| ranking.responses.iter().map(&mut reward).collect()).collect()
}

/// Equation 1: `-mean over pairs of ln sigmoid(r_w - r_l)`, then the mean over prompts.
pub fn reward<S: Scalar>(gpt: &Gpt<S>, rankings: &[Ranking]) -> S {
    let loss = |(rewards, Ranking { ranks, .. }): (Vec<S>, &Ranking)| {
        let pairs = (0..ranks.len()).flat_map(|w| (0..ranks.len()).map(move |l| (w, l)));
        let terms = pairs.filter(|&(w, l)| ranks[w] < ranks[l]).map(|(w, l)| {
            let odds = (rewards[l] - rewards[w]).exp();
            (S::constant(1.0) + odds).ln()
        });
        mean(terms.collect())
    };
    mean(rewards(gpt, rankings).into_iter().zip(rankings).map(loss).collect())
}

/// PPO's clipped policy loss, a mean over the response tokens of all episodes.
pub fn policy<S: Scalar>(gpt: &Gpt<S>, episodes: &[Episode], constants: Constants) -> S {
    let clip = f64::from(constants.clip);
    let new = response_log_probs(gpt, episodes, constants.temperature.into());
    let then = episodes.iter().flat_map(|e| e.old_log_probs.iter().zip(&e.advantages));
    let term = |(new, (&old, &advantage)): (S, (&f32, &f32))| {
        let ratio = (new - S::constant(old.into())).exp();
        let minus_a = S::constant(-f64::from(advantage));
        (minus_a * ratio).max(minus_a * ratio.clamp(1.0 - clip, 1.0 + clip))
    };
    mean(new.into_iter().zip(then).map(term).collect())
}

/// The policy loss with the pretraining mix: `+ ptx_coef * mean cross-entropy` (paper, Eq. 2).
pub fn policy_with_ptx<S: Scalar>(
    gpt: &Gpt<S>,
    episodes: &[Episode],
    texts: &[Vec<u32>],
    constants: Constants,
) -> S {
    let ptx = next_token(gpt, texts, episodes.len() as u64);
    policy(gpt, episodes, constants) + S::constant(constants.ptx_coef.into()) * ptx
}

/// The clipped value loss, a mean over the response tokens of all episodes.
pub fn value<S: Scalar>(gpt: &Gpt<S>, episodes: &[Episode], constants: Constants) -> S {
    let clip = f64::from(constants.value_clip);
    let then = episodes.iter().flat_map(|e| e.old_values.iter().zip(&e.returns));
    let term = |(value, (&old, &target)): (S, (&f32, &f32))| {
        let (old, target) = (f64::from(old), S::constant(target.into()));
        let error = value - target;
        let clipped = value.clamp(old - clip, old + clip) - target;
        S::constant(0.5) * (error * error).max(clipped * clipped)
    };
    let terms = response_values(gpt, episodes).into_iter().zip(then).map(term);
    S::constant(constants.value_coef.into()) * mean(terms.collect())
}

/// The log-probs of both responses' tokens, pair after pair.
pub fn pair_log_probs<S: Scalar>(gpt: &Gpt<S>, pairs: &[Pair]) -> Vec<[Vec<S>; 2]> {
    let of = |pair: &Pair, tokens: &Vec<u32>| response(tokens, pair.prompt, gpt.log_probs(tokens, 0, 1.0));
    pairs.iter().map(|pair| [of(pair, &pair.chosen), of(pair, &pair.rejected)]).collect()
}

/// DPO's loss, a mean over pairs: see [`Dpo`](crate::dpo::Dpo).
pub fn dpo<S: Scalar>(gpt: &Gpt<S>, pairs: &[Pair], constants: Constants) -> S {
    let term = |([chosen, rejected], pair): ([Vec<S>; 2], &Pair)| {
        let [chosen_then, rejected_then] = pair.reference.map(|x| S::constant(x.into()));
        let margin = (sum(chosen) - chosen_then) - (sum(rejected) - rejected_then);
        (S::constant(1.0) + (-S::constant(constants.beta.into()) * margin).exp()).ln()
    };
    mean(pair_log_probs(gpt, pairs).into_iter().zip(pairs).map(term).collect())
}
