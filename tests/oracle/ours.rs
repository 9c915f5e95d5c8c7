//! The same losses through the crate: each says its slopes, and the network does the rest.

use instructgpt::engine::Cpu;
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::loss::{CrossEntropy, PolicySums, ValueSums, policy_loss, value_loss};
use instructgpt::model::{Sequence, singly};

use crate::accumulation::Accumulation;
use crate::cases::Case;
use crate::dpo::{self, Dpo};
use crate::losses::Episode;

/// What a loss comes to.
pub struct Outcome {
    pub loss: f64,
    /// Log-probs or values, in the order of the batch.
    pub outputs: Vec<f32>,
    /// As the layout has it.
    pub gradient: Vec<f32>,
    /// Tokens on the flat side of a clip.
    pub clipped: u64,
}

/// Accumulates losses into a zero gradient of the case's network; `add` returns what they come to, and the clipped
/// tokens.
fn outcome(case: &Case, add: impl FnOnce(&mut Accumulation<Cpu>) -> (f64, u64)) -> Outcome {
    let mut network = case.network.clone();
    // Room for the largest ranking.
    network.plan(5 * network.config.context, true);
    let mut accumulation = Accumulation::new(&mut network);
    let (loss, clipped) = add(&mut accumulation);
    let (outputs, gradient) = accumulation.finish();
    Outcome { loss, outputs, gradient, clipped }
}

fn texts(case: &Case) -> Vec<Sequence<'_>> {
    case.texts.iter().map(|tokens| Sequence::text(tokens)).collect()
}

fn responses(case: &Case) -> Vec<Sequence<'_>> {
    case.episodes.iter().map(|e| Sequence::continuation(&e.tokens, e.prompt)).collect()
}

/// `1 / response tokens`.
fn weight(episodes: &[Episode]) -> f32 {
    1.0 / episodes.iter().map(|e| e.advantages.len()).sum::<usize>() as f32
}

pub fn next_token(case: &Case) -> Outcome {
    let batch = texts(case);
    outcome(case, |gradient| {
        let mut loss = CrossEntropy::of(&batch, 1.0);
        gradient.add(&batch, &singly(batch.len()), 1.0, None, &mut loss);
        (loss.mean(), 0)
    })
}

pub fn sft(case: &Case) -> Outcome {
    let batch = responses(case);
    outcome(case, |gradient| {
        let mut loss = CrossEntropy::of(&batch, 1.0);
        gradient.add(&batch, &singly(batch.len()), 1.0, case.dropout, &mut loss);
        (loss.mean(), 0)
    })
}

pub fn reward(case: &Case) -> Outcome {
    let rankings = &case.rankings;
    let (mut batch, mut groups) = (vec![], vec![0]);
    for ranking in rankings {
        batch.extend(ranking.responses.iter().map(|tokens| Sequence::last(tokens)));
        groups.push(batch.len());
    }
    let weight = 1.0 / rankings.len() as f32;
    outcome(case, |gradient| {
        let mut sum = 0.0;
        let mut loss = |group: usize, rewards: &[f32], slopes: &mut [f32]| {
            sum += reward_loss(rewards, &rankings[group].ranks, slopes, weight).unwrap();
        };
        gradient.add(&batch, &groups, 1.0, None, &mut loss);
        (f64::from(sum * weight), 0)
    })
}

pub fn policy(case: &Case, with_ptx: bool) -> Outcome {
    let (batch, constants, weight) = (responses(case), case.constants, weight(&case.episodes));
    outcome(case, |gradient| {
        let mut sums = PolicySums::default();
        let mut loss = |group: usize, new: &[f32], slopes: &mut [f32]| {
            let Episode { old_log_probs, advantages, .. } = &case.episodes[group];
            policy_loss(slopes, new, old_log_probs, advantages, constants.clip, weight, &mut sums);
        };
        gradient.add(&batch, &singly(batch.len()), constants.temperature, None, &mut loss);
        let mut loss = sums.loss / sums.tokens as f64;
        if with_ptx {
            let batch = texts(case);
            let mut ptx = CrossEntropy::of(&batch, constants.ptx_coef);
            gradient.add(&batch, &singly(batch.len()), 1.0, None, &mut ptx);
            loss += f64::from(constants.ptx_coef) * ptx.mean();
        }
        (loss, sums.clipped)
    })
}

pub fn value(case: &Case) -> Outcome {
    let (batch, constants, weight) = (responses(case), case.constants, weight(&case.episodes));
    outcome(case, |gradient| {
        let mut sums = ValueSums::default();
        let mut loss = |group: usize, values: &[f32], slopes: &mut [f32]| {
            let Episode { old_values, returns, .. } = &case.episodes[group];
            let (clip, value_coef) = (constants.value_clip, constants.value_coef);
            value_loss(slopes, values, old_values, returns, clip, value_coef, weight, &mut sums);
        };
        gradient.add(&batch, &singly(batch.len()), 1.0, None, &mut loss);
        (f64::from(constants.value_coef) * sums.loss / sums.tokens as f64, sums.clipped)
    })
}

pub fn dpo(case: &Case) -> Outcome {
    let (batch, groups) = dpo::sequences(&case.pairs);
    outcome(case, |gradient| {
        let mut loss = Dpo { pairs: &case.pairs, beta: case.constants.beta, sum: 0.0 };
        gradient.add(&batch, &groups, 1.0, None, &mut loss);
        (loss.sum / case.pairs.len() as f64, 0)
    })
}
