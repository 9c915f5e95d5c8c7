//! Where a reward model is blind: text that is worse than a demonstration and must score below it. PPO finds such text
//! if it does not.

use super::dataset::Example;
use super::rollouts::Rollouts;
use crate::data::Split;
use crate::engine::Engine;
use crate::model::{Draw, Network, Sampling};
use crate::num::rng::{Purpose, Rng, Stage as Address};

/// Most demonstrations that are looked at.
pub const MOST: usize = 64;

/// Who writes text that is worse: a model that has learned to write on, but not to answer.
pub struct Writer<E: Engine> {
    /// The pretrained model.
    pub network: Network<E>,
    /// How it answers.
    pub sampling: Sampling,
}

/// Some demonstrations that the reward model can read: held-out ones where there are any.
fn some<'a>(demonstrations: &'a Split<Vec<Example>>, context: usize) -> impl Iterator<Item = &'a Example> {
    let Split { train, validation, test } = demonstrations;
    let side = [test, validation, train].into_iter().find(|side| !side.is_empty());
    side.into_iter().flatten().filter(move |example| example.tokens.len() <= context)
}

/// Scores of demonstrations, each with that of its own response's tokens in random order. The end-of-text token stays
/// where it is.
pub fn shuffled<E: Engine>(
    reward: &mut Network<E>,
    demonstrations: &Split<Vec<Example>>,
    seed: u64,
) -> Vec<(f32, f32)> {
    let some: Vec<&Example> = some(demonstrations, reward.config.context).take(MOST).collect();
    let shuffled: Vec<Vec<u32>> = (0..).zip(&some).map(|(i, example)| shuffle(example, seed, i)).collect();
    let right = reward.scores(some.iter().map(|example| example.tokens.as_slice()));
    let wrong = reward.scores(shuffled.iter().map(Vec::as_slice));
    right.into_iter().zip(wrong).collect()
}

fn shuffle(example: &Example, seed: u64, index: u64) -> Vec<u32> {
    // An address of its own: a shuffle of training data counts its epochs from 0.
    let mut rng = Rng::at(seed, Address::RewardModel, Purpose::Noise, 0, index, 0);
    let mut tokens = example.tokens.clone();
    let words = example.response().len().saturating_sub(1);
    let order = rng.permutation(words);
    for (place, from) in order.into_iter().enumerate() {
        tokens[example.prompt + place] = example.response()[from];
    }
    tokens
}

/// Scores of demonstrations, each with that of the writer's answer to the same prompt.
pub fn written<E: Engine>(
    reward: &mut Network<E>,
    writer: &Writer<E>,
    demonstrations: &Split<Vec<Example>>,
    seed: u64,
) -> Vec<(f32, f32)> {
    let Writer { network, sampling } = writer;
    let context = reward.config.context;
    // The answer, which ends with the writer's context at the latest, must fit as well.
    let fits = |example: &&Example| {
        let longest = network.config.context.min(example.prompt + sampling.max_new_tokens);
        example.prompt < network.config.context && longest <= context
    };
    let some: Vec<&Example> = some(demonstrations, context).filter(fits).take(MOST).collect();
    let prompts: Vec<&[u32]> = some.iter().map(|example| &example.tokens[..example.prompt]).collect();
    // The stage `collect` samples at the steps from 0 on.
    let draw = Draw { seed, stage: Address::RewardModel, step: u64::MAX, episode: 0 };
    let answers = network.generate(&prompts, sampling, &draw.consecutive(prompts.len()), &|_| true);
    let right = reward.scores(some.iter().map(|example| example.tokens.as_slice()));
    let wrong = reward.scores(Rollouts::new(&prompts, &answers).iter());
    right.into_iter().zip(wrong).collect()
}
